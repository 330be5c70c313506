"""Adam steps on the same data within a bound on the divergence, for clipped surrogates.

ProMP, E-MAML, MAML++ and PPO are final subclasses of `ClippedSteps`, each with its own loss.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from metarl.adaptation.adam import adam_step, init_adam
from metarl.distributed import mean_over_tasks, sums_over_tasks
from metarl.outer.learner import Update
from metarl.outer.meta_gradient import Iteration, OuterUpdate
from metarl.outer.minibatches import AdaptedPolicies, Minibatch, adapted_policies, minibatches
from metarl.outer.trail import Trail
from metarl.policies.gaussian import entropy
from metarl.policies.params import Params, expand, flatten, learned
from metarl_envs.inputs.numbers import Count, Positive, Range, Share

STEP_SCALE = "step_scale"
GROWTH = 1.25
"""Growth of the steps' length per iteration without a step beyond the bound."""
MetaLoss = Callable[[AdaptedPolicies], Tensor]
"""Loss of the meta-parameters, (), from the policies of a minibatch."""


@dataclass(frozen=True)
class ClippedSteps(OuterUpdate):
    """Several steps of Adam per meta-iteration on a clipped surrogate."""

    learning_rate: Positive = 1e-3
    """Adam's step size for the policy's weights, > 0."""
    adaptation_lr: Positive = 1e-3
    """Adam's step size for the adaptation's own meta-parameters, > 0."""
    final_rate: Share = 1.0
    """Factor on both step sizes at the end of meta-training, in [0, 1]; until then they follow
    half a cosine (Loshchilov and Hutter 2017, Eq. 5; MAML++, section 4)."""
    epochs: Count = 1
    """Passes over the data of a meta-iteration, >= 1."""
    minibatches: Count = 5
    """Adam steps per pass, >= 1, each on its share of every task's episodes. ProMP's own choice is
    5 passes over 1 minibatch, at five times the cost."""
    clip: Annotated[float, Range(gt=0, lt=1)] = 0.3
    """Bound on |ratio - 1| of likelihood ratios, in (0, 1)."""
    max_kl: Positive = 0.5
    """Bound on the divergence of the adapted policies in an iteration, nats, > 0. A step beyond it
    is taken back, and steps are half as long until iterations without one let them grow again. The
    clip alone bounds no policy: one step through an adaptation with large learned rates moved the
    policies by 200 nats, and training did not recover."""

    def init(self, learned: Params) -> Params:
        return init_steps(learned)

    def update(
        self, params: Params, optimizer: Mapping[str, Tensor], iteration: Iteration
    ) -> Update:
        parts = minibatches(iteration, self.minibatches) * self.epochs
        rates, pace = (self.learning_rate, self.adaptation_lr), self.pace(iteration.progress)
        return bounded_steps(
            params, optimizer, iteration, parts, self.loss, rates, self.max_kl, pace
        )

    @abstractmethod
    def loss(self, policies: AdaptedPolicies) -> Tensor:
        """The meta-loss: (), differentiable in the policies."""

    def pace(self, progress: float) -> float:
        """Factor on the step sizes at this share of meta-training, in [0, 1]."""
        cosine = (1 + math.cos(math.pi * progress)) / 2
        return self.final_rate + (1 - self.final_rate) * cosine


def init_steps(learned: Params) -> Params:
    """Fresh state of `bounded_steps`."""
    return init_adam(learned) | {STEP_SCALE: torch.ones(())}


def bounded_steps(
    params: Params,
    optimizer: Mapping[str, Tensor],
    iteration: Iteration,
    parts: Sequence[Minibatch],
    loss: MetaLoss,
    rates: tuple[float, float],
    max_kl: float,
    pace: float = 1.0,
) -> Update:
    """Adam steps down a meta-loss, one per minibatch; steps beyond the bound are taken back.

    Args:
        params: the meta-parameters that collected the data.
        optimizer: state from `init_steps` or an earlier iteration.
        iteration: the collected data.
        parts: a minibatch for each step.
        loss: of the adapted policies.
        rates: Adam's step sizes for the policy's weights and the adaptation's own entries.
        max_kl: bound on the divergence of phi_K, nats.
        pace: factor on the step sizes.
    """
    trail = Trail(params, optimizer, room=len(parts))
    scale, taken_back = optimizer[STEP_SCALE].double(), torch.zeros_like(trail.steps)
    norms = []
    for part in parts:
        here, moments = trail.last()
        kl, gradient = differentiate(loss, here, iteration, part)
        norms.append(flatten(gradient).norm())
        too_far = leads_too_far(kl, max_kl, trail)
        weight_rate, adaptation_rate = (pace * scale * rate for rate in rates)
        moved, state = adam_step(learned(here), gradient, moments, weight_rate, adaptation_rate)
        trail.step(here | moved, state, unless=too_far)
        scale = torch.where(too_far, scale / 2, scale)
        taken_back = taken_back + too_far
    before, _ = measure(loss, params, iteration, parts[0])
    after, kl = measure(loss, trail.last()[0], iteration, parts[0])
    if bool(leads_too_far(kl, max_kl, trail)):  # no step of the loop above waits for the device
        trail.back()
        scale, taken_back = scale / 2, taken_back + 1
        after, kl = measure(loss, trail.last()[0], iteration, parts[0])
    params, state = trail.last()
    scale = torch.where(taken_back > 0, scale, (GROWTH * scale).clamp(max=1.0))
    state[STEP_SCALE] = scale.to(state[STEP_SCALE])
    metrics = {
        "train/policy_loss": float(before),
        "train/improvement": float(before - after),
        "train/approx_kl": float(kl),
        "train/grad_norm": float(norms[0]),
        "train/step_scale": float(scale),
        "train/steps_taken_back": float(taken_back),
        "train/entropy": float(mean_over_tasks(entropy(parts[0].old[-1]), iteration.inner.failed)),
        "train/std": float(iteration.policy.log_std(params).exp().mean()),
    }
    return Update(params, state, metrics)


def leads_too_far(kl: Tensor, max_kl: float, trail: Trail) -> Tensor:
    """True if the newest point is beyond the bound and there is an older one: ()."""
    return ~(kl <= max_kl) & (trail.steps > 0)  # also where kl is not a number


def differentiate(
    loss: MetaLoss, params: Params, iteration: Iteration, data: Minibatch
) -> tuple[Tensor, Params]:
    """Divergence of phi_K, and the gradient of the meta-loss at the learned entries."""
    start = task_params(params, iteration)
    theta = {name: start[name].requires_grad_() for name in learned(params)}
    policies = adapted_policies(iteration, data, start)
    gradients = torch.autograd.grad(loss(policies), list(theta.values()), materialize_grads=True)
    failed = iteration.inner.failed  # whose gradients are NaN where a step overflows
    summed = sums_over_tasks(dict(zip(theta, gradients, strict=True)), failed)
    return policies.kl(-1).detach(), summed


@torch.no_grad()
def measure(
    loss: MetaLoss, params: Params, iteration: Iteration, data: Minibatch
) -> tuple[Tensor, Tensor]:
    """Meta-loss and divergence of phi_K at meta-parameters without axis M."""
    policies = adapted_policies(iteration, data, task_params(params, iteration))
    return loss(policies), policies.kl(-1)


def task_params(params: Params, iteration: Iteration) -> Params:
    """The same parameters for every task, as copies: each (...) -> (M, ...)."""
    expanded = expand(params, len(iteration.inner.failed))
    return {name: value.contiguous() for name, value in expanded.items()}
