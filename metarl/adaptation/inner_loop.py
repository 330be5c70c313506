"""The inner loop for M tasks at once: collect, adapt, collect again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.adaptation.base import Adaptation, Batch
from metarl.adaptation.losses import InnerLoss, inner_loss
from metarl.policies.base import Policy
from metarl.policies.params import Params
from metarl.rollouts.advantages import PolicyBatch, policy_batch
from metarl.rollouts.data import Rollouts

Collect = Callable[[Params], Rollouts]
"""Collects fresh episodes of the same M tasks with per-task parameters, each (M, ...)."""


@dataclass(frozen=True)
class InnerLoop:
    """Result of an inner loop of K steps."""

    rollouts: list[Rollouts]
    """K + 1 collections: before adaptation, then after each step; K if the last was left out."""
    batches: list[PolicyBatch]
    """The same with advantages, on the device of the parameters."""
    policies: list[Params]
    """The per-task parameters before adaptation, then after each step, each (M, ...)."""
    failed: Tensor  # (M,) tasks that kept their last finite parameters
    collect_s: float
    """Wall-clock seconds spent in the collections."""

    @property
    def adapted(self) -> Params:
        """Per-task parameters after K steps, each (M, ...)."""
        return self.policies[-1]

    def known_returns(self) -> Tensor:
        """Mean return of each adapted policy, (M,): NaN if it failed or has no valid episode."""
        returns = self.rollouts[-1].task_returns().to(self.failed.device)
        return torch.where(self.failed, torch.nan, returns)


@dataclass(frozen=True)
class InnerLoopConfig:
    """Settings of an inner loop with any adaptation."""

    adaptation: Adaptation
    inner_loss: InnerLoss
    """Form of the loss that the adaptation descends."""
    discount: float
    """gamma."""
    gae_lambda: float
    """lambda of GAE."""

    def batch(self, rollouts: Rollouts) -> PolicyBatch:
        """The rollouts with their advantages."""
        return policy_batch(rollouts, self.discount, self.gae_lambda)


@torch.no_grad()
def inner_step(
    policy: Policy,
    config: InnerLoopConfig,
    task_params: Params,
    batch: PolicyBatch,
    k: int,
) -> tuple[Params, Tensor]:
    """The k-th step of every task; a task whose step is not finite keeps its parameters.

    Args:
        policy: the policy function.
        config: of the inner loop.
        task_params: (M, ...), from `Adaptation.begin` or the step before.
        batch: episodes that they collected.
        k: 0 for the first.

    Returns:
        Parameters (M, ...), and the tasks that kept theirs (M,).
    """
    loss = inner_loss(policy, batch, config.inner_loss)
    stepped = config.adaptation.step(task_params, Batch(loss, batch), k)
    return keep_finite(task_params, stepped)


def run_inner_loop(
    policy: Policy,
    config: InnerLoopConfig,
    start: Mapping[str, Tensor],
    num_steps: int,
    collect: Collect,
    *,
    collect_last: bool = True,
) -> InnerLoop:
    """Adapt to each of M tasks, with fresh rollouts after each step.

    Args:
        policy: the policy function.
        config: of the inner loop.
        start: the parameters that each task starts from, (M, ...), on the device of the gradients.
        num_steps: K; evaluation may take more than meta-training.
        collect: called with the parameters before each step, and after the last.
        collect_last: collect after the last step too, as an outer loop needs.
    """
    task_params = config.adaptation.begin(start)
    one = next(iter(start.values()))
    failed = torch.zeros(len(one), dtype=torch.bool, device=one.device)
    rollouts, batches, policies, collect_s = [], [], [dict(start)], 0.0
    for k in range(num_steps + collect_last):
        began = time.perf_counter()
        rollouts.append(collect(policies[-1]))
        collect_s += time.perf_counter() - began
        batches.append(config.batch(rollouts[-1].to(one.device)))
        if k < num_steps:
            task_params, kept = inner_step(policy, config, task_params, batches[-1], k)
            policies.append({name: task_params[name] for name in start})
            failed |= kept
    return InnerLoop(rollouts, batches, policies, failed, collect_s)


def keep_finite(before: Params, after: Params) -> tuple[Params, Tensor]:
    """`after`, but a task with a non-finite entry keeps its parameters from `before`.

    Returns:
        Parameters (M, ...), and the tasks that kept theirs (M,).
    """
    finite = torch.stack(
        [torch.isfinite(value).reshape(len(value), -1).all(dim=1) for value in after.values()]
    ).all(dim=0)
    kept = {
        name: torch.where(finite.view(-1, *[1] * (value.dim() - 1)), value, before[name])
        for name, value in after.items()
    }
    return kept, ~finite
