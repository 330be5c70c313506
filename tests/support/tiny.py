"""Small untrained policies of real families, as if read from disk."""

from __future__ import annotations

from dataclasses import replace

import torch

from metarl.methods.families import recipe
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.runs.checkpoint import SavedPolicy
from metarl_envs import get_family


def tiny_policy(family_name: str, horizon: int = 12, seed: int = 0) -> SavedPolicy:
    default = recipe(family_name)
    network = MlpConfig(hidden_sizes=(8,), action_scale=default.policy.action_scale)
    config = replace(default, horizon=horizon, iterations=1, policy=network)
    policy = GaussianMlpPolicy.for_family(get_family(family_name), network)
    params = policy.init(torch.Generator().manual_seed(seed))
    return SavedPolicy(policy, params, config, {"iteration": 0})
