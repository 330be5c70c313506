"""Small trials of policies with a memory: one termination, one truncation, one diverged episode."""

from __future__ import annotations

import dataclasses

import torch
from torch import Generator

from metarl.policies.gaussian import log_prob
from metarl.policies.memory import MemoryConfig, MemoryPolicy
from metarl.policies.mlp import MlpConfig
from metarl.policies.params import expand
from metarl.policies.privileged import PrivilegedPolicy
from metarl.rollouts.trials import Trial

O, A, F, T, EPISODES = 3, 2, 4, 3, 3
"""Observation, action, task features, steps of an episode, episodes."""
LENGTHS = torch.tensor([[2, 3, 3], [3, 1, 3], [3, 0, 2], [3, 3, 3]])
"""Valid steps of each world's episodes; the 0 is a diverged episode."""
NUM_WORLDS = len(LENGTHS)
SPACES = (O, (-1.0,) * A, (1.0,) * A)


def memory_policy(**changes) -> MemoryPolicy:
    config = MemoryConfig(
        memory_size=5, hidden_sizes=(6,), action_scale=1.0, normalize_observations=True
    )
    return MemoryPolicy(dataclasses.replace(config, **changes), *SPACES)


def privileged_policy(latent_size: int = 0, **changes) -> PrivilegedPolicy:
    config = dataclasses.replace(MlpConfig(hidden_sizes=(6,), action_scale=1.0), **changes)
    return PrivilegedPolicy(config, *SPACES, num_features=F, latent_size=latent_size)


def random(seed: int, *shape: int):
    return torch.randn(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def double(params):
    """Parameters in double precision, none of them 0."""
    return {
        name: value.double() + 0.2 * random(i, *value.shape).abs()
        for i, (name, value) in enumerate(params.items())
    }


def some_trial(policy=None, params=None, seed: int = 0) -> Trial:
    """Random steps; a policy's own actions would have these log-probabilities."""
    valid = torch.arange(T) < LENGTHS.unsqueeze(-1)
    last = torch.arange(T) == LENGTHS.unsqueeze(-1) - 1
    full = (LENGTHS == T).unsqueeze(-1)
    steps = (1, NUM_WORLDS, EPISODES * T)
    policy = memory_policy() if policy is None else policy
    params = double(policy.init(Generator().manual_seed(1))) if params is None else params
    trial = Trial(
        observations=random(seed + 1, *steps, O),
        actions=random(seed + 2, *steps, A),
        log_probs=torch.zeros(steps, dtype=torch.float64),
        rewards=torch.where(valid.reshape(steps), random(seed + 3, *steps), 0.0),
        terminated=(last & ~full).reshape(steps),
        truncated=(last & full).reshape(steps),
        valid=valid.reshape(steps),
        final_observations=random(seed + 4, 1, NUM_WORLDS, EPISODES, O),
        features=random(seed + 5, *steps, F),
        clock=random(seed + 6, *steps, 2),
        start={n: v + 0.3 for n, v in policy.begin(expand(params, 1), NUM_WORLDS).items()},
    )
    dist = policy.distribution(expand(params, 1), trial)
    trial.log_probs.copy_(log_prob(dist, trial.actions).detach())
    return trial
