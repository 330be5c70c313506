"""Reptile, MAML and FOMAML on quadratic tasks, where all of them have closed forms."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.helpers import random_batch
from support.meta_problem import rollouts_with
from torch import Tensor

from metarl.adaptation.base import Batch, adapt, linearise
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import InnerLoop
from metarl.outer.meta_gradient import Iteration
from metarl.outer.reptile import Reptile
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import Params, expand, flatten, unflatten, weights

M = 3
LR = 0.05
LINEAR = GaussianMlpPolicy(
    MlpConfig(hidden_sizes=(), normalize_observations=True), 2, (-1.0,), (1.0,)
)
"""D = 4 learned numbers: two weights, a bias, a logarithm of std."""


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def start() -> Params:
    params = LINEAR.init(torch.Generator().manual_seed(0))
    return {name: value.double() for name, value in params.items()}


CURVATURE = (lambda a: a @ a.mT + 0.1 * torch.eye(4, dtype=torch.float64))(randn(M, 4, 4, seed=1))
CENTRE = randn(M, 4, seed=2)


def vectors(params: Params) -> Tensor:
    """The weights of each task: (M, D)."""
    return torch.cat([value.flatten(1) for value in weights(params).values()], dim=1)


def quadratic(params: Params) -> Tensor:
    """1/2 (x - c)^T A (x - c) of each task: (M, ...) -> (M,)."""
    apart = vectors(params) - CENTRE
    return 0.5 * torch.einsum("md,mde,me->m", apart, CURVATURE, apart)


def closed_form(theta: Params, num_steps: int) -> Tensor:
    """c + (I - lr A)^K (theta - c) of each task: (M, D)."""
    shrink = torch.eye(4, dtype=torch.float64) - LR * CURVATURE
    apart = flatten(weights(theta)) - CENTRE
    return CENTRE + torch.einsum("mde,me->md", torch.linalg.matrix_power(shrink, num_steps), apart)


def iteration(theta: Params, num_steps: int, progress: float = 0.0) -> Iteration:
    """An inner loop of gradient steps on the quadratics."""
    adaptation, policies = GradientStep(LR), []
    for k in range(num_steps + 1):
        policies.append(adapt(adaptation, expand(theta, M), [Batch(quadratic)] * k))
    batches = [random_batch(LINEAR, phi, M, 10, seed=k) for k, phi in enumerate(policies)]
    failed = torch.zeros(M, dtype=torch.bool)
    rollouts = [rollouts_with(torch.zeros(M))] * (num_steps + 1)
    inner = InnerLoop(rollouts, batches, policies, failed, 0.0)
    return Iteration(LINEAR, adaptation, "log_prob", inner, progress=progress)


@pytest.mark.parametrize(("outer_lr", "progress"), [(1.0, 0.0), (0.3, 0.0), (2.0, 0.75)])
@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_reptile_moves_towards_the_mean_of_the_adapted_weights(num_steps, outer_lr, progress):
    theta = start()
    seen = iteration(theta, num_steps, progress)
    new, optimizer, metrics = Reptile(outer_lr).update(theta, {}, seen)
    rate = outer_lr * (1 - progress)
    step = rate * (closed_form(theta, num_steps) - flatten(weights(theta))).mean(0)
    expected = theta | unflatten(flatten(weights(theta)) + step, weights(theta))
    assert list(new) == list(theta)
    for name, value in expected.items():  # the normaliser's statistics stay
        torch.testing.assert_close(new[name], value, rtol=0, atol=1e-13)
    assert optimizer == {}
    assert metrics["train/step_norm"] == pytest.approx(float(step.norm()), rel=1e-9)
    assert metrics["train/std"] == pytest.approx(float(new["log_std"].exp()), rel=1e-9)


def test_reptile_with_one_step_is_a_gradient_step_on_the_mean_loss():
    theta = start()
    new, _, _ = Reptile().update(theta, {}, iteration(theta, 1))
    gradient = torch.func.grad(lambda t: quadratic(expand(t, M)).mean())(weights(theta))
    for name, g in gradient.items():
        torch.testing.assert_close(new[name], theta[name] - LR * g, rtol=0, atol=1e-13)


def test_reptile_leaves_what_it_was_given_as_it_was():
    theta = start()
    before = {name: value.clone() for name, value in theta.items()}
    seen = iteration(theta, 2)
    Reptile(0.5).update(theta, {}, seen)
    assert all(torch.equal(theta[name], value) for name, value in before.items())


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_meta_gradients_are_the_post_gradient_times_the_closed_forms_jacobian(num_steps):
    """The outer loss is another quadratic, as validation data would give."""
    theta, target = start(), randn(M, 4, seed=3)

    def outer(adapted: Params) -> Tensor:
        return 0.5 * (vectors(adapted) - target).square().sum()

    adaptation = GradientStep(LR)
    gradients = {}
    for first_order in (False, True):
        linear = linearise(
            dataclasses.replace(adaptation, first_order=first_order),
            expand(theta, M),
            [Batch(quadratic)] * num_steps,
        )
        torch.testing.assert_close(
            vectors(linear.adapted), closed_form(theta, num_steps), rtol=0, atol=1e-13
        )
        post = torch.func.grad(outer)(linear.adapted)
        gradients[first_order] = vectors(linear.transpose_product(post))
    at_adapted = closed_form(theta, num_steps) - target
    torch.testing.assert_close(gradients[True], at_adapted, rtol=0, atol=1e-13)
    shrink = torch.eye(4, dtype=torch.float64) - LR * CURVATURE
    power = torch.linalg.matrix_power(shrink, num_steps)
    expected = torch.einsum("mde,md->me", power, at_adapted)
    torch.testing.assert_close(gradients[False], expected, rtol=0, atol=1e-12)
    assert (gradients[False] - gradients[True]).norm() > 0.1
