"""Adaptation on one `gymnasium.Env`, such as a real robot, within limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Generator

from metarl.advantages import PolicyBatch, policy_batch
from metarl.deploy.check import fell
from metarl.deploy.gym_rollouts import Collected, check_env, collect_from_env
from metarl.deploy.limits import Limits, Step, limited_step
from metarl.deploy.step_size import step_cap
from metarl.deploy.stops import stop_costs, time_limit
from metarl.errors import NonFiniteUpdateError
from metarl.inner_loop import InnerLoopConfig, keep_finite
from metarl.losses import InnerLoss, inner_loss
from metarl.params import Params, expand
from metarl.policies import GaussianMlpPolicy
from metarl.policy_folder import SavedPolicy
from metarl.rollouts import Rollouts
from metarl_envs import InputError
from metarl_envs.numbers import whole

NOT_FINITE = (
    "adaptation step {step} is not finite, so the policy was not adapted: every episode diverged "
    "or sent a number that is not finite, or the rewards are far larger than in training"
)


@dataclass(frozen=True)
class AdaptedOnEnv:
    """What an adaptation on an environment came to."""

    saved: SavedPolicy
    """The policy, with what happened as `metadata["adapted"]`."""
    error: BaseException | None
    """What cut it short; the policy was then made from the episodes before it."""

    def describe(self) -> str:
        """How it was cut short, in a line."""
        report = self.saved.metadata["adapted"]
        gathered = sum(one["episodes"] for one in report["collections"])
        checked = "check" in report["limits"] or "check_episodes" not in report["limits"]["given"]
        return (
            f"{report['interrupted']}; the policy is adapted from the {gathered} episodes before"
            f"{'' if checked else ', and not checked'}"
        )


def adapt_on_env(
    saved: SavedPolicy,
    env: gymnasium.Env[Any, Any],
    *,
    episodes: int,
    steps: int,
    seed: int,
    limits: Limits,
) -> AdaptedOnEnv:
    """Collect, step, collect again, one episode at a time: the arithmetic of `run_inner_loop`.

    Args:
        saved: the policy to start from.
        env: keeps its task over resets.
        episodes: per gradient step, >= 1; with a check >= 2.
        steps: gradient steps, >= 1.
        seed: fixes the action noise, and is given to the environment's first reset.
        limits: what it must not do, and when it ends early.

    Raises:
        InputError: for other spaces, sizes that are too small, or limits that do not fit the
            action space; for the environment's own error, which is its cause, before the first
            whole episode that did not diverge.
        NonFiniteUpdateError: if a step is not finite.
    """
    if limits.check_episodes and episodes < 2:
        raise InputError(
            f"episodes = {episodes}: must be at least 2 with limits.check_episodes, which takes "
            "the noise of a return from the episodes before adapting"
        )
    config, names = saved.config, list(saved.params)
    policy = limits.applied_to(saved.policy)
    check_env(policy, env)
    cap = step_cap(replace(saved, policy=policy), limits, episodes, steps)
    _, actions = adaptation_generators(seed)
    how, start = config.inner_loop(progress=1.0), expand(saved.params, 1)
    params: Params = how.adaptation.begin(start)
    met: list[Collected] = []
    taken: list[Step] = []
    reached, full = False, time_limit(env, config.horizon)

    def collect(params: Params, episodes: int) -> Collected:
        met.append(
            collect_from_env(
                env,
                policy,
                params,
                episodes=episodes,
                horizon=config.horizon,
                actions=actions,
                reset_seed=None if met else seed,
                limits=limits,
            )
        )
        return met[-1]

    def counted(index: int) -> Rollouts:
        """A collection, its stops at what they cost by all that was met so far."""
        return with_costs(met, full, limits)[index]

    for k in range(steps):
        collected = collect(params, episodes)
        if not collected.usable:
            if collected.error is None:
                raise NonFiniteUpdateError(NOT_FINITE.format(step=k + 1))
            if not taken:
                raise collected.error
            break
        rollouts = counted(-1)
        if limits.good_return is not None and float(rollouts.task_returns()) >= limits.good_return:
            reached = True
            break
        batch = policy_batch(rollouts, how.discount, how.gae_lambda)
        step = adaptation_step(policy, params, batch, how, k, names, cap)
        if step is None:
            raise NonFiniteUpdateError(NOT_FINITE.format(step=k + 1))
        params = step.params
        taken.append(step)
        if collected.error is not None:
            break
    seen = [collected.describe() for collected in met]
    did: dict[str, Any] = {
        "given": limits.describe(),
        "max_step_kl": cap if math.isfinite(cap) else None,
        "steps_taken": len(taken),
        "reached_good_return": reached,
        "step_scale": [step.scale for step in taken],
    }
    if limits.check_episodes and taken and met[-1].error is None:
        checked = collect(params, limits.check_episodes)
        did["check"] = check(met[0], checked, counted(0), counted(-1))
        if did["check"]["rolled_back"]:
            params = start
    report: dict[str, Any] = {
        "episodes": episodes,
        "steps": steps,
        "seed": seed,
        "returns": [one["return"] for one in seen],
        "collections": seen,
        "step_kl": [step.kl for step in taken],
        "limits": did,
    }
    if (error := met[-1].error) is not None:
        report["interrupted"] = f"{type(error).__name__}: {error}"
    return AdaptedOnEnv(adapted_policy(replace(saved, policy=policy), params, report), error)


def with_costs(met: Sequence[Collected], full: int, limits: Limits) -> list[Rollouts]:
    """Collections of one adaptation with what being stopped costs, by the worst in all of them.

    Args:
        met: all that were made; a later one may have seen a worse reward, so costs are not kept.
        full: steps of an episode that goes on.
        limits: of which `stop_penalty` counts here.
    """
    costs = stop_costs(
        [rewards for one in met for rewards in one.earned()],
        [stopped for one in met for stopped in one.stopped],
        full,
        limits.stop_penalty,
    )
    ends = np.cumsum([len(one.stopped) for one in met])[:-1]
    return [one.counted(own) for one, own in zip(met, np.split(costs, ends), strict=True)]


def check(
    before: Collected, after: Collected, counted_before: Rollouts, counted_after: Rollouts
) -> dict[str, Any]:
    """Whether the adapted policy is worse, stops and divergence first, as JSON values.

    An unsafe start or an error in the check counts as a bad end: the adapted policy led there.
    """
    unfinished = after.error is not None
    bad = [before.bad_share(), after.bad_share()]
    if unfinished:
        ends = len(after.stopped)
        bad[1] = ((0.0 if ends == 0 else bad[1] * ends) + 1) / (ends + 1)
    worse, margin = fell(sound_returns(counted_before), sound_returns(counted_after))
    return {
        "collection": after.describe(),
        "bad_share_before": bad[0],
        "bad_share_after": bad[1],
        "counted_return_before": float(counted_before.task_returns()),
        "counted_return_after": float(counted_after.task_returns()),
        "noise_margin": margin,
        "rolled_back": bad[1] > bad[0] or worse,
    }


@torch.no_grad()
def adaptation_step(
    policy: GaussianMlpPolicy,
    params: Params,
    batch: PolicyBatch,
    how: InnerLoopConfig,
    k: int,
    names: list[str],
    max_kl: float,
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
        max_kl: the most that it may move the policy, nats.
        form: of the loss; None for that of meta-training.
    """
    loss = inner_loss(policy, batch, form or how.inner_loss)
    stepped, failed = keep_finite(params, how.adaptation.step(params, loss, k))
    if bool(failed.any()):
        return None
    return limited_step(policy, params, stepped, batch, names, max_kl)


def sound_returns(rollouts: Rollouts) -> torch.Tensor:
    """Returns of the episodes of one task without a fault: (<= E,)."""
    return rollouts.returns()[~rollouts.faulted]


def adaptation_generators(seed: int) -> tuple[Generator, Generator]:
    """Streams for resets and actions, from the seed alone.

    Raises:
        InputError: for a seed below 0.
    """
    seed = whole("seed", seed, 0)
    resets, actions = np.random.SeedSequence([seed, 0xADA7]).generate_state(2, np.uint32)
    return Generator().manual_seed(int(resets)), Generator().manual_seed(int(actions))


def adapted_policy(saved: SavedPolicy, params: Params, report: dict[str, Any]) -> SavedPolicy:
    """The policy with the parameters, (1, ...), of the only task; its memory of it is dropped."""
    only = {name: params[name][0].detach().cpu() for name in saved.params}
    return replace(saved, params=only, metadata=saved.metadata | {"adapted": report})


def plain_sizes(saved: SavedPolicy, episodes: Any, steps: Any) -> tuple[int, int]:  # noqa: ANN401
    """Episodes per gradient step and gradient steps; None: as many as the policy was trained for.

    Raises:
        InputError: for sizes below 1, or no whole numbers.
    """
    trained = saved.config.adaptation_steps
    return whole("episodes", episodes, 1), trained if steps is None else whole("steps", steps, 1)


def check_limits(limits: Limits) -> None:
    """Raise `InputError` for anything else, such as a dict or None."""
    if not isinstance(limits, Limits):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"limits = {limits!r}: must be metarl.Limits(...)")
