"""Losses and objectives of policies on a batch, as pure functions of per-task parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from metarl.adaptation.base import Loss
from metarl.policies.base import Policy
from metarl.policies.gaussian import Gaussian, kl_divergence, log_prob
from metarl.rollouts.advantages import PolicyBatch

InnerLoss = Literal["log_prob", "ratio", "clipped"]
CLIP = 0.2
"""How far a ratio counts in the inner loss `clipped` (Schulman et al. 2017, section 6.1)."""


def inner_loss(policy: Policy, batch: PolicyBatch, form: InnerLoss) -> Loss:
    """Policy-gradient loss of each task on its own valid steps: parameters (M, ...) -> (M,).

    `log_prob` is -log pi A (MAML), `ratio` -pi/pi_old A (ProMP's low-variance curvature): equal
    first derivatives at the behaviour policy, unequal second ones. `clipped` is PPO's pessimistic
    bound, for an adaptation that takes several steps on the same episodes.
    """

    def loss(params: Mapping[str, Tensor]) -> Tensor:
        log_probs = log_prob(policy.distribution(params, batch.observations), batch.actions)
        if form == "log_prob":
            gain = log_probs * batch.advantages
        else:
            # pi_old is the policy that acted: data, also when params are differentiated twice.
            ratio = torch.exp(log_probs - batch.log_probs)
            gain = ratio * batch.advantages
            if form == "clipped":
                gain = torch.minimum(gain, ratio.clamp(1 - CLIP, 1 + CLIP) * batch.advantages)
        return -(gain * batch.weights).sum(-1)

    return loss


def plus_linear(loss: Loss, slope: Mapping[str, Tensor]) -> Loss:
    """The loss plus `slope` times the parameters, task by task.

    A loss on few episodes then steps as the loss on all of them does, if the slope is the
    difference of their gradients, and only the derivative of the step is estimated on the few.

    Args:
        loss: of each task.
        slope: what is added to its gradient, for the entries that it names, (M, ...).
    """

    def shifted(params: Mapping[str, Tensor]) -> Tensor:
        linear = [(params[name] * value).flatten(1).sum(1) for name, value in slope.items()]
        return loss(params) + torch.stack(linear).sum(0)

    return shifted


def inner_losses(policy: Policy, batches: Sequence[PolicyBatch], form: InnerLoss) -> list[Loss]:
    """The loss of each adaptation step, from the batch collected before it."""
    return [inner_loss(policy, batch, form) for batch in batches]


def surrogate(dist: Gaussian, batch: PolicyBatch, clip: float | None = None) -> Tensor:
    """Importance-weighted advantage of each task's policy, a mean over its valid steps: (M,).

    With `clip`, the pessimistic bound of Schulman et al. 2017, Eq. 7.
    """
    ratio = torch.exp(log_prob(dist, batch.actions) - batch.log_probs)
    gain = ratio * batch.advantages
    if clip is not None:
        gain = torch.minimum(gain, ratio.clamp(1 - clip, 1 + clip) * batch.advantages)
    return (gain * batch.weights).sum(-1)


def mean_kl(old: Gaussian, new: Gaussian, batch: PolicyBatch) -> Tensor:
    """KL(old || new) of each task's policies, a mean over its valid steps: (M,), nats."""
    return (kl_divergence(old, new) * batch.weights).sum(-1)
