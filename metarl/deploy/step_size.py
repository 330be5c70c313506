"""The size of a policy's steps in simulation, which caps those on a robot."""

from __future__ import annotations

import itertools
from functools import partial

import torch

from metarl.adaptation.inner_loop import run_inner_loop
from metarl.adaptation.losses import mean_kl
from metarl.deploy.limits import Limits
from metarl.methods.setup import env_of, family_of, inner_loop_of
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.runs.policy_folder import SavedPolicy
from metarl_envs import InputError

TASKS = 20
"""Training tasks whose steps are measured."""
EPISODES = 5
"""Of each, at most: more of them hardly change a step's size."""


def step_cap(saved: SavedPolicy, limits: Limits, episodes: int, steps: int) -> float:
    """The most that a step on a robot may move the policy, nats.

    What the limits say, or `training_step_kl`.

    Raises:
        InputError: if neither is to be had.
    """
    if limits.max_step_kl is not None:
        return limits.max_step_kl
    try:
        return training_step_kl(saved, min(episodes, EPISODES), steps)
    except InputError as error:
        raise InputError(
            f"limits.max_step_kl is not given, and what it is by default, the size of steps in "
            f"simulation, cannot be measured: {error}; or give nats (math.inf: no cap)"
        ) from error


@torch.no_grad()
def training_step_kl(saved: SavedPolicy, episodes: int, steps: int) -> float:
    """The largest KL(before || after) of any step on 20 training tasks, nats.

    A policy is trained to take steps of some size, so that no number of nats suits all: the largest
    is 283 for the bundled half-cheetah-direction, 0.07 for a hopper of 20 iterations. Capped at a
    tenth of it the former gains 275 of its 416 in return, at 0.3 of it 348, at all of it 416 (5
    episodes, 20 tasks, by the mean action; `python -m experiments.step_sizes`): the smallest cap
    that costs nothing. A step larger than that was not made by what the policy was trained on.

    Args:
        saved: the policy.
        episodes: per gradient step.
        steps: K.

    Raises:
        InputError: if its family is not at hand.
    """
    family, env = family_of(saved.config), env_of(saved.config, TASKS, episodes)
    tasks, resets, actions = (torch.Generator().manual_seed(i) for i in range(3))
    env.set_tasks(family.sample_tasks(TASKS, tasks, "train"))
    inner = run_inner_loop(
        saved.policy,
        inner_loop_of(saved.config, 1.0),
        expand(saved.params, TASKS),
        steps,
        partial(Collector(env, saved.policy).collect, resets=resets, actions=actions),
        collect_last=False,
    )
    largest = 0.0
    for batch, policies in zip(inner.batches, itertools.pairwise(inner.policies), strict=True):
        old, new = (saved.policy.distribution(params, batch.rollouts) for params in policies)
        sizes = mean_kl(old, new, batch)
        largest = max([largest, *sizes[torch.isfinite(sizes)].tolist()])
    return largest
