"""Losses and objectives of policies on a batch, as pure functions of per-task parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from metarl.adaptation.base import Batch, Loss
from metarl.policies.base import Policy
from metarl.policies.gaussian import Gaussian, kl_divergence, log_prob
from metarl.rollouts.advantages import PolicyBatch

InnerLoss = Literal["log_prob", "ratio", "clipped"]
CLIP = 0.2
"""Distance from 1 within which a ratio counts in the inner loss `clipped` (Schulman et al. 2017,
section 6.1)."""


def inner_loss(policy: Policy, batch: PolicyBatch, form: InnerLoss) -> Loss:
    """Policy-gradient loss of each task on its own valid steps: parameters (M, ...) -> (M,).

    `log_prob` is -log pi A (MAML), `ratio` -pi/pi_old A (ProMP's low-variance curvature): equal
    first derivatives at the behaviour policy, unequal second ones. `clipped` is PPO's pessimistic
    bound, for an adaptation that takes several steps on the same episodes.
    """

    def loss(params: Mapping[str, Tensor]) -> Tensor:
        dist = policy.distribution(params, batch.rollouts)
        if form == "log_prob":
            return -batch.mean(log_prob(dist, batch.rollouts.actions) * batch.advantages)
        return -surrogate(dist, batch, CLIP if form == "clipped" else None)

    return loss


def plus_linear(batch: Batch, slope: Mapping[str, Tensor]) -> Batch:
    """The batch with `slope` times the parameters added to its loss, task by task.

    If the slope is the difference of two gradients, a loss on few episodes steps as that on all of
    them, and only the derivative of the step is estimated on the few.

    Args:
        batch: with the loss of each task.
        slope: added to the loss's gradient, for the entries that it names, (M, ...).
    """
    slopes = torch.cat([value.flatten(1) for value in slope.values()], dim=1)  # (M, D)

    def loss(params: Mapping[str, Tensor]) -> Tensor:
        moving = torch.cat([params[name].flatten(1) for name in slope], dim=1)
        return batch.loss(params) + (moving * slopes).sum(1)

    return replace(batch, loss=loss)


def inner_batches(policy: Policy, batches: Sequence[PolicyBatch], form: InnerLoss) -> list[Batch]:
    """Batches of the adaptation steps, in order, each with its loss."""
    return [Batch(inner_loss(policy, batch, form), batch) for batch in batches]


def surrogate(dist: Gaussian, batch: PolicyBatch, clip: float | None = None) -> Tensor:
    """Importance-weighted advantage of each task's policy, a mean over its valid steps: (M,).

    The behaviour policy is data, also when parameters are differentiated twice. With `clip`, the
    pessimistic bound of Schulman et al. 2017, Eq. 7.
    """
    ratio = torch.exp(log_prob(dist, batch.rollouts.actions) - batch.rollouts.log_probs)
    gain = ratio * batch.advantages
    if clip is not None:
        gain = torch.minimum(gain, ratio.clamp(1 - clip, 1 + clip) * batch.advantages)
    return batch.mean(gain)


def mean_kl(old: Gaussian, new: Gaussian, batch: PolicyBatch) -> Tensor:
    """KL(old || new) of each task's policies, a mean over its valid steps: (M,), nats."""
    return batch.mean(kl_divergence(old, new))
