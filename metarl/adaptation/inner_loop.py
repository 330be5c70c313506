"""The inner loop: collect, adapt, collect again, for all tasks of an environment at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl.adaptation.base import Adaptation
from metarl.adaptation.losses import InnerLoss, inner_loss
from metarl.policies.params import Params, to
from metarl.rollouts.advantages import PolicyBatch, policy_batch
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts


@dataclass(frozen=True)
class InnerLoop:
    """What an inner loop of K steps leaves behind."""

    rollouts: list[Rollouts]
    """K + 1 collections: before adaptation, then after each step; K if the last was left out."""
    batches: list[PolicyBatch]
    """The same as losses read them, on the update's device."""
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
        """Mean return of each adapted policy, (M,): NaN without sound episodes, or if it failed."""
        returns = self.rollouts[-1].task_returns().to(self.failed.device)
        return torch.where(self.failed, torch.nan, returns)


@dataclass(frozen=True)
class InnerLoopConfig:
    """How episodes become adapted policies, whatever the adaptation."""

    adaptation: Adaptation
    inner_loss: InnerLoss
    """Form of the loss that the adaptation descends."""
    discount: float
    """gamma."""
    gae_lambda: float
    """lambda of GAE."""


def run_inner_loop(
    collector: Collector,
    start: Mapping[str, Tensor],
    config: InnerLoopConfig,
    num_steps: int,
    resets: Generator,
    actions: Generator,
    device: torch.device,
    learn_from: int | None = None,
    first: Rollouts | None = None,
    collect_last: bool = True,
) -> InnerLoop:
    """Adapt to each of the environment's M tasks, with fresh rollouts after each step.

    Args:
        collector: of M tasks, E episodes per task and collection; its tasks must be set.
        start: the parameters that each task starts from, (M, ...).
        config: how they adapt.
        num_steps: K; as many as in meta-training, or any other number in evaluation.
        resets: source of reset noise.
        actions: source of action noise.
        device: where the inner gradients are computed.
        learn_from: how many of each collection's episodes they see (None: all of them).
        first: the collection before adaptation, where another loop from the same `start` on the
            same tasks has made it; `resets` and `actions` must stand where they stood after it.
        collect_last: whether to collect after the last step too, where nothing learns from it but
            the outer loop.
    """
    env, policy = collector.env, collector.policy
    state = config.adaptation.begin(to(start, device))
    failed = torch.zeros(env.num_tasks, dtype=torch.bool, device=device)
    rollouts, batches, policies, collect_s = [], [], [], 0.0
    for k in range(num_steps + 1):
        policies.append({name: state[name] for name in start})
        if k == num_steps and not collect_last:
            break
        began = time.perf_counter()
        if first is None or k > 0:
            rollouts.append(collector.collect(policies[-1], resets, actions))
        else:
            rollouts.append(first)
        collect_s += time.perf_counter() - began
        seen = rollouts[-1].first_episodes(learn_from or env.episodes_per_task).to(device)
        batches.append(policy_batch(seen, config.discount, config.gae_lambda))
        if k < num_steps:
            with torch.no_grad():
                loss = inner_loss(policy, batches[-1], config.inner_loss)
                stepped = config.adaptation.step(state, loss, k)
            state, broken = keep_finite(state, stepped)
            failed |= broken
    return InnerLoop(rollouts, batches, policies, failed, collect_s)


def keep_finite(before: Params, after: Params) -> tuple[Params, Tensor]:
    """`after`, but a task with a non-finite entry keeps its parameters from `before`.

    Returns:
        Parameters (M, ...) and which tasks fell back (M,).
    """
    finite = torch.stack(
        [torch.isfinite(value).reshape(len(value), -1).all(dim=1) for value in after.values()]
    ).all(dim=0)
    kept = {
        name: torch.where(finite.view(-1, *[1] * (value.dim() - 1)), value, before[name])
        for name, value in after.items()
    }
    return kept, ~finite
