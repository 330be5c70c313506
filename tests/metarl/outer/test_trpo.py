"""TRPO: meta-gradient and curvature against finite differences, and against single tasks."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from support.meta_problem import finite_difference, meta_problem, off_policy_problem

from metarl.adaptation.base import linearise
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_rates import MetaSgd
from metarl.adaptation.subset import ContextStep
from metarl.distributed import sums_over_tasks
from metarl.outer.trpo import Trpo, evaluate, fisher_vector_product, surrogate_gradient
from metarl.policies.gaussian import Gaussian, log_prob
from metarl.policies.params import (
    acting,
    detach,
    expand,
    fixed,
    flatten,
    learned,
    statistics,
    unflatten,
)

M = 3
FORMS = ("log_prob", "ratio")


def problem(form, num_steps, num_tasks=M):
    return off_policy_problem(GradientStep(0.3, 0.5), form, num_steps, num_tasks=num_tasks)


def linear(given):
    return linearise(given.adaptation, expand(given.theta, given.num_tasks), given.steps)


def outer_objective(given, theta, old=None):
    """Surrogate and divergence at theta, from the policies `old`; from its own without them."""
    adapted, post = given.adapted(theta), given.batches[-1]
    old = given.policy.distribution(adapted, post.rollouts) if old is None else old
    return evaluate(given.policy, adapted, post, old, given.failed)


def sampling_policies(given):
    found = given.policy.distribution(given.adapted(given.theta), given.batches[-1].rollouts)
    return Gaussian(*(x.detach() for x in found))


def gradient_at(given, adapted):
    """Gradient of the surrogate at adapted entries of every task, and its value."""
    normaliser = statistics(expand(given.theta, given.num_tasks))
    gradient, value, _ = surrogate_gradient(
        given.policy, adapted, normaliser, given.batches[-1], given.failed
    )
    return gradient, value


def meta_gradient(given):
    at = linear(given)
    gradient, _ = gradient_at(given, at.adapted)
    return flatten(sums_over_tasks(at.transpose_product(gradient), given.failed))


def curvature_product(given):
    at, normaliser = linear(given), statistics(expand(given.theta, given.num_tasks))
    return fisher_vector_product(
        given.policy, at, at.adapted, normaliser, given.batches[-1], given.failed
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_steps", [1, 2])
def test_meta_gradient_equals_central_finite_differences(form, num_steps):
    given = problem(form, num_steps)
    theta = learned(given.theta)

    def value(vector):
        return outer_objective(given, unflatten(vector, theta) | fixed(given.theta)).surrogate

    exact, numeric = meta_gradient(given), finite_difference(value, flatten(theta))
    assert (exact - numeric).norm() / numeric.norm() <= 1e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_steps", [1, 2])
@pytest.mark.parametrize(
    "adaptation",
    [GradientStep(0.3, 0.5), MetaSgd(0.3), ContextStep()],  # the last two: J is not symmetric
    ids=lambda adaptation: type(adaptation).__name__,
)
def test_fisher_vector_product_equals_finite_differences_of_the_kl_gradient(
    adaptation, form, num_steps
):
    given = meta_problem(adaptation, form, num_steps, context_size=2)
    theta, product = learned(given.theta), curvature_product(given)
    old = sampling_policies(given)
    direction = torch.randn(
        len(flatten(theta)), generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )

    def kl_gradient(vector):
        vector = vector.clone().requires_grad_()
        point = unflatten(vector, theta) | fixed(given.theta)
        return torch.autograd.grad(outer_objective(given, point, old).kl, vector)[0]

    eps, middle = 1e-5, flatten(theta)
    numeric = kl_gradient(middle + eps * direction) - kl_gradient(middle - eps * direction)
    numeric /= 2 * eps
    exact = flatten(product(unflatten(direction, theta)))
    assert (exact - numeric).norm() / numeric.norm() <= 1e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_steps", [1, 2])
def test_batched_over_tasks_equals_one_task_at_a_time(form, num_steps):
    given = problem(form, num_steps)
    theta = learned(given.theta)
    direction = unflatten(torch.linspace(-1, 1, len(flatten(theta))).double(), theta)
    together, alone = linear(given).adapted, [given.of_tasks(m) for m in range(M)]
    for m in range(M):
        for name, value in linear(alone[m]).adapted.items():
            torch.testing.assert_close(value[0], together[name][m], rtol=0, atol=1e-10)
    gradients = torch.stack([meta_gradient(one) for one in alone])
    products = torch.stack([flatten(curvature_product(one)(direction)) for one in alone])
    product = flatten(curvature_product(given)(direction))
    assert (gradients.mean(0) - meta_gradient(given)).abs().max() <= 1e-10
    assert (products.mean(0) - product).abs().max() <= 1e-10


def test_inner_loss_forms_share_first_but_not_second_derivatives():
    given = meta_problem(GradientStep(0.3), "log_prob", 1)
    ratio = dataclasses.replace(given, form="ratio")
    adapted, ratio_adapted = given.adapted(given.theta), ratio.adapted(given.theta)
    for name, value in adapted.items():
        torch.testing.assert_close(value, ratio_adapted[name], rtol=1e-10, atol=1e-12)
    log_prob_gradient, ratio_gradient = meta_gradient(given), meta_gradient(ratio)
    difference = (log_prob_gradient - ratio_gradient).norm() / ratio_gradient.norm()
    assert difference > 1e-2


def test_each_inner_step_is_its_gradient_times_a_decayed_rate():
    given = problem("log_prob", 2).of_tasks(0)
    by_hand = {name: value[None].clone() for name, value in learned(given.theta).items()}
    normaliser = statistics(expand(given.theta, 1))
    for step_size, batch in zip((0.3, 0.3 * 0.5), given.batches[:2], strict=True):
        leaves = {name: value.detach().requires_grad_() for name, value in by_hand.items()}
        dist = given.policy.distribution(leaves | normaliser, batch.rollouts)
        score = log_prob(dist, batch.rollouts.actions) * batch.advantages
        loss = -score[batch.weights > 0].mean()  # the mean over the valid steps
        grads = torch.autograd.grad(loss, list(leaves.values()))
        by_hand = {
            name: value - step_size * grad
            for (name, value), grad in zip(leaves.items(), grads, strict=True)
        }
    adapted = given.adapted(given.theta)
    for name, value in by_hand.items():
        torch.testing.assert_close(adapted[name], value.detach(), rtol=0, atol=1e-12)


def test_first_order_drops_the_jacobian_and_nothing_else():
    second_order = problem("log_prob", 2)
    given = dataclasses.replace(
        second_order, adaptation=dataclasses.replace(second_order.adaptation, first_order=True)
    )
    adapted = given.adapted(given.theta)
    for name, value in adapted.items():
        other = second_order.adapted(given.theta)[name]
        torch.testing.assert_close(value, other, rtol=0, atol=0)
    gradient, full = meta_gradient(given), meta_gradient(second_order)
    at_adapted, _ = gradient_at(given, detach(acting(adapted)))
    expected = flatten(sums_over_tasks(at_adapted, given.failed))
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-14)
    assert (gradient - full).norm() / full.norm() > 1e-2


def test_a_tasks_adaptation_does_not_depend_on_the_size_of_the_meta_batch():
    given = problem("log_prob", 1, num_tasks=5)
    five = given.adapted(given.theta)
    for name, value in given.of_tasks(2).adapted(given.theta).items():
        torch.testing.assert_close(value[0], five[name][2], rtol=0, atol=1e-12)


def test_the_sampling_policy_has_zero_divergence_from_itself_and_unit_ratio():
    given = problem("log_prob", 1)
    found = outer_objective(given, given.theta)
    post = given.batches[-1]
    weighted = (post.advantages * post.weights).sum((1, 2)).mean()
    assert abs(float(found.kl)) < 1e-12
    torch.testing.assert_close(found.surrogate, weighted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("adaptation", "context_size"),
    [(GradientStep(0.3), 0), (GradientStep(0.3, first_order=True), 0), (ContextStep(), 2)],
    ids=["MAML", "FOMAML", "CAVIA"],
)
def test_update_improves_the_surrogate_inside_the_trust_region(adaptation, context_size):
    given = meta_problem(adaptation, "log_prob", 1, context_size=context_size)
    outer = Trpo(curvature_fraction=1.0)
    old = sampling_policies(given)
    before = outer_objective(given, given.theta)
    new, optimizer, metrics = outer.update(
        given.theta, outer.init(learned(given.theta)), given.iteration()
    )
    after = outer_objective(given, new, old)
    assert after.surrogate > before.surrogate
    assert 0.2 * 0.01 < float(after.kl) <= 0.01
    assert metrics["train/approx_kl"] == pytest.approx(float(after.kl), rel=1e-9)
    moved = {name for name, value in given.theta.items() if not torch.equal(new[name], value)}
    assert moved == set(learned(given.theta))
    assert list(new) == list(given.theta)  # sums over all of them depend on the order
    assert optimizer == {}


def test_no_advantage_anywhere_is_no_step_and_not_a_diverged_update():
    given = problem("log_prob", 1)
    flat = [
        dataclasses.replace(b, advantages=torch.zeros_like(b.advantages)) for b in given.batches
    ]
    given = dataclasses.replace(given, batches=flat)
    new, _, metrics = Trpo().update(given.theta, {}, given.iteration())
    assert all(torch.equal(new[name], value) for name, value in given.theta.items())
    assert metrics["train/step_share"] == 0.0
    assert all(math.isfinite(value) for value in metrics.values())
