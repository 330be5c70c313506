"""Adaptations: how rollouts turn a policy into an adapted policy."""
