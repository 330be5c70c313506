"""Stable-Baselines3 (the extra `sb3`): baselines trained by it, policies to and from it."""

from metarl.sb3.models import from_ppo, to_ppo

__all__ = ["from_ppo", "to_ppo"]
