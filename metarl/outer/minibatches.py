"""Minibatches of whole episodes, on which the adaptation steps as on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metarl.adaptation.base import Batch, loss_gradient
from metarl.adaptation.losses import inner_batches, mean_kl, plus_linear, surrogate
from metarl.distributed import mean_over_tasks
from metarl.outer.meta_gradient import Iteration
from metarl.policies.gaussian import Gaussian
from metarl.policies.params import Params, acting
from metarl.rollouts.advantages import PolicyBatch, some_episodes


@dataclass(frozen=True)
class Minibatch:
    """Some episodes of every task, from each of the K + 1 collections."""

    batches: Sequence[PolicyBatch]
    steps: Sequence[Batch]
    """The batch of each of the K adaptation steps."""
    old: Sequence[Gaussian]
    """The policies that acted, on the batches."""


def minibatches(iteration: Iteration, count: int) -> list[Minibatch]:
    """The data of an iteration in `count` parts of whole episodes; fewer if there are fewer."""
    inner, policy = iteration.inner, iteration.policy
    count = min(count, inner.batches[0].weights.shape[1])
    parts = [
        [one_part(b, slice(first, None, count), count) for b in inner.batches]
        for first in range(count)
    ]
    with torch.no_grad():
        old = [
            [
                policy.distribution(phi, batch.rollouts)
                for phi, batch in zip(inner.policies, part, strict=True)
            ]
            for part in parts
        ]
    return list(map(Minibatch, parts, adaptation_batches(iteration, parts), old))


def adaptation_batches(
    iteration: Iteration, parts: Sequence[Sequence[PolicyBatch]]
) -> list[list[Batch]]:
    """The batch of each adaptation step on each part, with the loss's gradient on all parts.

    At the meta-parameters that collected, the adaptation then steps as it did, and only the
    derivative of the step is estimated on the part. ProMP has no minibatches and needs no such
    term. With one episode in each (half-cheetah-payload-velocity, first iteration, seed 0), steps
    on the part alone lead 0.24 to 0.33 nats away from the policies that collected, and the mean
    gradient has a cosine of 0.43 with the gradient on all episodes; with this term, 0 nats and 0.86
    (`python -m experiments.minibatch_gradients`).
    """
    steps = [inner_batches(iteration.policy, part[:-1], iteration.inner_loss) for part in parts]
    for k, phi in enumerate(iteration.inner.policies[:-1]):
        gradients = [loss_gradient(phi, list(acting(phi)), own[k].loss) for own in steps]
        whole = {name: torch.stack([g[name] for g in gradients]).mean(0) for name in gradients[0]}
        for own, gradient in zip(steps, gradients, strict=True):
            slope: Params = {name: whole[name] - value for name, value in gradient.items()}
            own[k] = plus_linear(own[k], slope)
    return steps


def one_part(batch: PolicyBatch, which: slice, count: int) -> PolicyBatch:
    """Some episodes, weighted so that the mean over the `count` parts is the whole batch."""
    part = some_episodes(batch, which)
    return replace(part, weights=count * part.weights)


@dataclass(frozen=True)
class AdaptedPolicies:
    """The policies phi_0, ..., phi_K of an adaptation on a minibatch, and terms of meta-losses."""

    iteration: Iteration
    data: Minibatch
    on_batches: Sequence[Gaussian]
    """phi_k on batch k."""

    @property
    def num_steps(self) -> int:
        """K."""
        return len(self.data.steps)

    def surrogate(self, k: int, clip: float | None = None) -> Tensor:
        """Importance-weighted advantage of phi_k, clipped if asked, a mean over tasks: ()."""
        gain = surrogate(self.on_batches[k], self.data.batches[k], clip)
        return mean_over_tasks(gain, self.iteration.inner.failed)

    def kl(self, k: int) -> Tensor:
        """KL(phi_k_old || phi_k) on batch k, a mean over tasks: (), nats."""
        kl = mean_kl(self.data.old[k], self.on_batches[k], self.data.batches[k])
        return mean_over_tasks(kl, self.iteration.inner.failed)


def adapted_policies(iteration: Iteration, data: Minibatch, start: Params) -> AdaptedPolicies:
    """Adapt on a minibatch, each task from its own parameters, (M, ...): differentiable."""
    params, on_batches = iteration.adaptation.begin(start), []
    for k, batch in enumerate(data.batches):
        on_batches.append(iteration.policy.distribution(params, batch.rollouts))
        if k < len(data.steps):
            params = iteration.adaptation.step(params, data.steps[k], k)
    return AdaptedPolicies(iteration, data, on_batches)
