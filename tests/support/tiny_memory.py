"""Small untrained policies with a memory, as if read from disk."""

from __future__ import annotations

from dataclasses import replace

import torch

from metarl.adaptation.none import Unadapted
from metarl.methods.families import recipe
from metarl.policies.base import Policy
from metarl.policies.memory import MemoryConfig
from metarl.runs.checkpoint import SavedPolicy
from metarl_envs import get_family


def tiny_memory(
    family_name: str = "navigation", horizon: int = 6, inner: object = None, **settings: object
) -> SavedPolicy:
    """All parameters random, so that one which is left out is missed."""
    network = MemoryConfig(
        **{"memory_size": 5, "hidden_sizes": (7,), "action_scale": 1.0, **settings}
    )
    config = replace(
        recipe(family_name), horizon=horizon, policy=network, inner=inner or Unadapted()
    )
    policy = Policy.for_family(get_family(family_name), network)
    generator = torch.Generator().manual_seed(3)
    params = {
        name: 0.5 + torch.rand(value.shape, generator=generator)
        if name in ("obs_var", "obs_count")
        else torch.randn(value.shape, generator=generator) / 2
        for name, value in policy.init(generator).items()
    }
    return SavedPolicy(
        policy,
        params | {"log_std": torch.full_like(params["log_std"], -1.0)},
        config,
        {"iteration": 0},
    )
