"""Several steps of Adam on the same data, within a bound on the divergence of the policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from metarl.adaptation.adam import adam_step, init_adam
from metarl.distributed import mean_over_tasks, sum_over_tasks
from metarl.outer.learner import Update
from metarl.outer.meta_gradient import Iteration
from metarl.outer.minibatches import AdaptedPolicies, Minibatch, adapted_policies
from metarl.outer.trail import Trail
from metarl.policies.gaussian import entropy
from metarl.policies.params import Params, expand, flatten, learned

STEP_SCALE = "step_scale"
GROWTH = 1.25
"""Of the steps' length, per iteration in which none led too far."""
MetaLoss = Callable[[AdaptedPolicies], Tensor]
"""From the policies of a minibatch to the loss of the meta-parameters, ()."""


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
    """Steps of Adam down a meta-loss, one per minibatch; those that lead too far are taken back.

    Args:
        params: the meta-parameters that collected the data.
        optimizer: state from `init_steps` or an earlier iteration.
        iteration: what was collected.
        parts: a minibatch for each step.
        loss: of the adapted policies.
        rates: Adam's step sizes for the policy's weights and the adaptation's own entries.
        max_kl: bound on the divergence of phi_K, nats.
        pace: share of the step sizes.
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
    """Whether the newest point is to be left for the one before, where there is one: ()."""
    return ~(kl <= max_kl) & (trail.steps > 0)  # also where kl is not a number


def differentiate(
    loss: MetaLoss, params: Params, iteration: Iteration, data: Minibatch
) -> tuple[Tensor, Params]:
    """Divergence of phi_K, and the meta-loss's gradient for the learned entries."""
    start = task_params(params, iteration)
    theta = {name: start[name].requires_grad_() for name in learned(params)}
    value, kl = evaluate(loss, start, iteration, data)
    gradients = torch.autograd.grad(value, list(theta.values()), materialize_grads=True)
    failed = iteration.inner.failed  # whose gradients are NaN where a step overflows
    return kl.detach(), {
        name: sum_over_tasks(gradient, failed)
        for name, gradient in zip(theta, gradients, strict=True)
    }


@torch.no_grad()
def measure(
    loss: MetaLoss, params: Params, iteration: Iteration, data: Minibatch
) -> tuple[Tensor, Tensor]:
    """Meta-loss and divergence of phi_K at meta-parameters without axis M."""
    return evaluate(loss, task_params(params, iteration), iteration, data)


def evaluate(
    loss: MetaLoss, start: Params, iteration: Iteration, data: Minibatch
) -> tuple[Tensor, Tensor]:
    """Meta-loss and divergence of phi_K, each task adapting from its own parameters, (M, ...)."""
    policies = adapted_policies(iteration, data, start)
    return loss(policies), policies.kl(policies.num_steps)


def task_params(params: Params, iteration: Iteration) -> Params:
    """The same parameters for every task, as tensors of their own: each (...) -> (M, ...)."""
    expanded = expand(params, len(iteration.inner.failed))
    return {name: value.contiguous() for name, value in expanded.items()}
