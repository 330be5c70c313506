"""Adaptation on one `gymnasium.Env`, such as a real robot, within limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Generator

from metarl.advantages import PolicyBatch, policy_batch
from metarl.deploy.gym_rollouts import collect_from_env
from metarl.deploy.limits import Limits, Step, is_worse, limited_step
from metarl.errors import NonFiniteUpdateError
from metarl.inner_loop import InnerLoopConfig, keep_finite
from metarl.losses import InnerLoss, inner_loss
from metarl.params import Params, expand
from metarl.policies import GaussianMlpPolicy
from metarl.policy_folder import SavedPolicy
from metarl.rollouts import Rollouts
from metarl_envs import InputError

NOT_FINITE = (
    "adaptation step {step} is not finite, so the policy was not adapted: every episode diverged "
    "or sent a number that is not finite, or the rewards are far larger than in training"
)


def adapt_on_env(
    saved: SavedPolicy,
    env: gymnasium.Env[Any, Any],
    *,
    episodes: int,
    steps: int,
    seed: int,
    limits: Limits,
) -> SavedPolicy:
    """Collect, step, collect again, one episode at a time: the arithmetic of `run_inner_loop`.

    Args:
        saved: the policy to start from.
        env: keeps its task over resets.
        episodes: per gradient step, >= 1.
        steps: gradient steps, >= 1.
        seed: fixes the action noise, and is given to the environment's first reset.
        limits: what it must not do, and when it ends early.

    Returns:
        The policy, with what happened as `metadata["adapted"]`.

    Raises:
        InputError: for other spaces, sizes below 1, or limits that do not fit the action space.
        NonFiniteUpdateError: if a step is not finite.
    """
    check_sizes(episodes, steps)
    config = saved.config
    policy = limits.applied_to(saved.policy)
    _, actions = adaptation_generators(seed)
    how, start = config.inner_loop(progress=1.0), expand(saved.params, 1)
    params: Params = how.adaptation.begin(start)
    collections: list[Rollouts] = []
    taken: list[Step] = []
    stopped, reached = 0, False

    def collect(params: Params, episodes: int) -> Rollouts:
        nonlocal stopped
        rollouts, count = collect_from_env(
            env,
            policy,
            params,
            episodes=episodes,
            horizon=config.horizon,
            actions=actions,
            reset_seed=None if collections else seed,
            limits=limits,
        )
        stopped += count
        collections.append(rollouts)
        return rollouts

    for k in range(steps):
        rollouts = collect(params, episodes)
        returned = float(rollouts.task_returns())
        if limits.good_return is not None and returned >= limits.good_return:
            reached = True
            break
        batch = policy_batch(rollouts, how.discount, how.gae_lambda)
        step = adaptation_step(policy, params, batch, how, k, list(saved.params), limits)
        if step is None or bool(rollouts.faulted.all()):
            raise NonFiniteUpdateError(NOT_FINITE.format(step=k + 1))
        params = step.params
        taken.append(step)
    report: dict[str, Any] = {
        "episodes": episodes,
        "steps": steps,
        "seed": seed,
        "returns": [float(rollouts.task_returns()) for rollouts in collections],
        "step_kl": [step.kl for step in taken],
    }
    if limits != Limits():
        did: dict[str, Any] = {
            "given": limits.describe(),
            "steps_taken": len(taken),
            "reached_good_return": reached,
            "step_scale": [step.scale for step in taken],
        }
        if limits.check_episodes and taken:
            before = sound_returns(collections[0])
            after = sound_returns(collect(params, limits.check_episodes))
            worse, margin = is_worse(before, after)
            if worse:
                params = start
            did["check"] = {
                "before": float(before.mean()),
                "after": float(after.mean()),
                "two_standard_errors": margin,
                "rolled_back": worse,
            }
        report["limits"] = did | {"stopped_episodes": stopped}
    return adapted_policy(replace(saved, policy=policy), params, report)


@torch.no_grad()
def adaptation_step(
    policy: GaussianMlpPolicy,
    params: Params,
    batch: PolicyBatch,
    how: InnerLoopConfig,
    k: int,
    names: list[str],
    limits: Limits,
    form: InnerLoss | None = None,
) -> Step | None:
    """The k-th step of one task, (1, ...), within the limit on its size; None if not finite.

    Args:
        policy: the policy function.
        params: that the episodes were collected with.
        batch: the episodes.
        how: how the policy adapts.
        k: 0 for the first.
        names: the entries of a policy, without what `Adaptation.begin` adds.
        limits: of which `max_step_kl` counts here.
        form: of the loss; None for that of meta-training.
    """
    loss = inner_loss(policy, batch, form or how.inner_loss)
    stepped, failed = keep_finite(params, how.adaptation.step(params, loss, k))
    if bool(failed.any()):
        return None
    return limited_step(policy, params, stepped, batch, names, limits.max_step_kl)


def sound_returns(rollouts: Rollouts) -> torch.Tensor:
    """Returns of the episodes of one task without a fault: (<= E,)."""
    return rollouts.returns()[~rollouts.faulted]


def adaptation_generators(seed: int) -> tuple[Generator, Generator]:
    """Streams for resets and actions, from the seed alone."""
    if seed < 0:
        raise InputError(f"seed = {seed}: must be at least 0")
    resets, actions = np.random.SeedSequence([seed, 0xADA7]).generate_state(2, np.uint32)
    return Generator().manual_seed(int(resets)), Generator().manual_seed(int(actions))


def adapted_policy(saved: SavedPolicy, params: Params, report: dict[str, Any]) -> SavedPolicy:
    """The policy with the parameters, (1, ...), of the only task; its memory of it is dropped."""
    only = {name: params[name][0].detach().cpu() for name in saved.params}
    return replace(saved, params=only, metadata=saved.metadata | {"adapted": report})


def check_sizes(episodes: int, steps: int) -> None:
    """Raise `InputError` for sizes below 1."""
    for name, size in (("episodes", episodes), ("steps", steps)):
        if size < 1:
            raise InputError(f"{name} = {size}: must be at least 1")
