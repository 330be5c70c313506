"""TRPO: meta-gradient and curvature against finite differences, and against single tasks."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from support.helpers import collected_batches, double_params, one_task, random_batch, small_policy
from support.meta_problem import MetaProblem, finite_difference, meta_problem

from metarl.adaptation.base import adapt, linearise
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_rates import MetaSgd
from metarl.adaptation.losses import inner_batches
from metarl.adaptation.subset import ContextStep
from metarl.outer.trpo import Trpo, evaluate, fisher_vector_product, sum_tasks, surrogate_gradient
from metarl.policies.gaussian import Gaussian, log_prob
from metarl.policies.params import detach, expand, fixed, flatten, learned, statistics, unflatten

M = 3
FORMS = ("log_prob", "ratio")


def problem(form, num_steps, num_tasks=M, first_order=False, inner_lr=0.3):
    """A policy, theta, K inner batches and a post batch collected by the adapted policies.

    The inner batches are of the policy at theta, so that ratios are not 1 in the second step.
    """
    policy = small_policy()
    theta = double_params(policy)
    adaptation = GradientStep(inner_lr, inner_lr_decay=0.5, first_order=first_order)
    inner = collected_batches(policy, theta, num_tasks, num_steps)
    adapted = adapt(adaptation, expand(theta, num_tasks), inner_batches(policy, inner, form))
    post = random_batch(policy, adapted, num_tasks, seed=99)
    policies = [expand(theta, num_tasks)] * num_steps + [adapted]
    return MetaProblem(policy, adaptation, form, theta, [*inner, post], policies)


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


def meta_gradient(given):
    at = linear(given)
    gradient, value, _ = surrogate_gradient(
        given.policy, at.adapted, {}, given.batches[-1], given.failed
    )
    return flatten(sum_tasks(at.transpose_product(gradient), given.failed)), value


def without(given, *tasks):
    """The problem of these tasks alone."""
    batches = [one_task(batch, m) for batch in given.batches for m in tasks]
    return dataclasses.replace(given, batches=batches)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_steps", [1, 2])
def test_meta_gradient_equals_central_finite_differences(form, num_steps):
    given = problem(form, num_steps)
    exact, _ = meta_gradient(given)
    numeric = finite_difference(
        lambda v: outer_objective(given, unflatten(v, given.theta)).surrogate,
        flatten(given.theta),
    )
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
    theta, at = learned(given.theta), linear(given)
    product = fisher_vector_product(
        given.policy,
        at,
        at.adapted,
        statistics(expand(given.theta, M)),
        given.batches[-1],
        given.failed,
    )
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
    policy, post, together = given.policy, given.batches[-1], linear(given)
    batched_gradient, _ = meta_gradient(given)
    direction = unflatten(torch.linspace(-1, 1, len(flatten(given.theta))).double(), given.theta)
    batched_product = fisher_vector_product(
        policy, together, together.adapted, {}, post, given.failed
    )(direction)

    gradients, products = [], []
    for m in range(M):
        alone = without(given, m)
        single = linear(alone)
        for name, value in single.adapted.items():
            torch.testing.assert_close(value[0], together.adapted[name][m], rtol=0, atol=1e-10)
        gradients.append(meta_gradient(alone)[0])
        product = fisher_vector_product(
            policy, single, single.adapted, {}, alone.batches[-1], alone.failed
        )
        products.append(flatten(product(direction)))
    assert (torch.stack(gradients).mean(0) - batched_gradient).abs().max() <= 1e-10
    assert (torch.stack(products).mean(0) - flatten(batched_product)).abs().max() <= 1e-10


def test_inner_loss_forms_share_first_but_not_second_derivatives():
    given = problem("log_prob", 1)
    ratio = dataclasses.replace(given, form="ratio")
    adapted, ratio_adapted = given.adapted(given.theta), ratio.adapted(given.theta)
    for name, value in adapted.items():
        torch.testing.assert_close(value, ratio_adapted[name], rtol=1e-10, atol=1e-12)
    log_prob_gradient, _ = meta_gradient(given)
    ratio_gradient, _ = meta_gradient(ratio)
    difference = (log_prob_gradient - ratio_gradient).norm() / ratio_gradient.norm()
    assert difference > 1e-2


def test_each_inner_step_is_its_gradient_times_a_decayed_rate():
    given = without(problem("log_prob", 2), 0)
    by_hand = {name: value[None].clone() for name, value in given.theta.items()}
    for step_size, batch in zip((0.3, 0.3 * 0.5), given.batches[:2], strict=True):
        leaves = {name: value.detach().requires_grad_() for name, value in by_hand.items()}
        dist = given.policy.distribution(leaves, batch.rollouts)
        score = log_prob(dist, batch.rollouts.actions) * batch.advantages
        loss = -score[batch.weights > 0].mean()  # the mean over the valid steps
        grads = torch.autograd.grad(loss, list(leaves.values()))
        by_hand = {
            name: value - step_size * grad
            for (name, value), grad in zip(leaves.items(), grads, strict=True)
        }
    for name, value in given.adapted(given.theta).items():
        torch.testing.assert_close(value, by_hand[name].detach(), rtol=0, atol=1e-12)


def test_first_order_drops_the_jacobian_and_nothing_else():
    second_order = problem("log_prob", 2)
    given = dataclasses.replace(
        second_order, adaptation=dataclasses.replace(second_order.adaptation, first_order=True)
    )
    adapted = given.adapted(given.theta)
    for name, value in adapted.items():
        other = second_order.adapted(given.theta)[name]
        torch.testing.assert_close(value, other, rtol=0, atol=0)
    gradient, _ = meta_gradient(given)
    at_adapted, _, _ = surrogate_gradient(
        given.policy, detach(adapted), {}, given.batches[-1], given.failed
    )
    expected = flatten(sum_tasks(at_adapted, given.failed))
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-14)
    full, _ = meta_gradient(second_order)
    assert (gradient - full).norm() / full.norm() > 1e-2


def test_a_tasks_adaptation_does_not_depend_on_the_size_of_the_meta_batch():
    given = problem("log_prob", 1, num_tasks=5)
    five = given.adapted(given.theta)
    for name, value in without(given, 2).adapted(given.theta).items():
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
