"""One gradient step on one robot, no larger than its limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from metarl.adaptation.inner_loop import InnerLoopConfig, inner_step
from metarl.adaptation.losses import mean_kl
from metarl.policies.base import Policy
from metarl.policies.params import Params
from metarl.rollouts.advantages import PolicyBatch
from metarl.rollouts.data import Rollouts

NOT_FINITE = (
    "adaptation step {step} is not finite, so the policy was not adapted: every episode diverged "
    "or sent a number that is not finite, or the rewards are far larger than in training"
)
HALVINGS = 30
"""Of the interval in which a step's scale is searched: to a relative 1e-9."""


@dataclass(frozen=True)
class Step:
    """A step of one task after the limit on its size."""

    params: Params
    """(1, ...)."""
    kl: float
    """KL(before || after) of the action noise, a mean over the episodes' states, nats."""
    scale: float
    """Share of the adaptation's own step that was taken, in (0, 1]."""


@torch.no_grad()
def robot_step(
    policy: Policy,
    config: InnerLoopConfig,
    params: Params,
    rollouts: Rollouts,
    k: int,
    names: Sequence[str],
    max_kl: float,
) -> Step | None:
    """The step of the inner loop for one task, within the limit; None if it is not finite.

    Args:
        policy: the policy function.
        config: of the inner loop.
        params: of the policy that acted, with the adaptation's memory, (1, ...).
        rollouts: its episodes, M = 1.
        k: 0 for the first.
        names: the entries that the policy acts by, without the adaptation's memory.
        max_kl: nats; math.inf for no limit.
    """
    batch = config.batch(rollouts)
    stepped, failed = inner_step(policy, config, params, batch, k)
    return None if bool(failed) else limited_step(policy, params, stepped, batch, names, max_kl)


def limited_step(
    policy: Policy,
    before: Params,
    after: Params,
    batch: PolicyBatch,
    names: Sequence[str],
    max_kl: float,
) -> Step:
    """The step, or the largest part of it on the straight line whose size is at most `max_kl`.

    Only the named entries are scaled; the adaptation's memory is taken from `after`.
    """
    old = policy.distribution(before, batch.rollouts)

    def part(scale: float) -> Params:
        return {**after, **{n: before[n] + scale * (after[n] - before[n]) for n in names}}

    def size(params: Params) -> float:
        return float(mean_kl(old, policy.distribution(params, batch.rollouts), batch))

    kl = size(after)
    if kl <= max_kl:
        return Step(after, kl, 1.0)
    low, high = 0.0, 1.0  # size(part(low)) <= max_kl < size(part(high))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if size(part(middle)) <= max_kl else (low, middle)
    return Step(part(low), size(part(low)), low)
