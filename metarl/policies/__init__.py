"""Policies: pure functions of named parameters, with a belief about the task."""

from metarl.policies.base import PolicyConfig
from metarl.policies.mlp import MlpConfig

POLICIES: dict[str, type[PolicyConfig]] = {
    "mlp": MlpConfig,
}
"""Settings of every kind of policy, by the name that configurations use."""
