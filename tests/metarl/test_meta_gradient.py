"""The meta-gradient and its curvature against finite differences and single-task code."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from helpers import double_params, inner_batches, one_task, random_batch, small_policy

from metarl.adaptation.gradient import GradientAdaptationConfig, adapt, linearise
from metarl.algorithms.maml_trpo import (
    MamlTrpo,
    TrpoConfig,
    evaluate,
    fisher_vector_product,
    sum_tasks,
    surrogate_gradient,
)
from metarl.params import detach, expand, flatten, unflatten
from metarl.policies import log_prob

M = 3
FORMS = ("log_prob", "ratio")


def problem(form, num_steps, num_tasks=M, first_order=False, inner_lr=0.3):
    """A policy, theta, K inner batches and a post batch collected by the adapted policies.

    Behaviour log-probabilities are data: they stay what they were when theta moves.
    """
    policy = small_policy()
    theta = double_params(policy)
    config = GradientAdaptationConfig(
        inner_lr=inner_lr,
        inner_lr_decay=0.5,
        adaptation_steps=num_steps,
        inner_loss=form,
        first_order=first_order,
    )
    inner = inner_batches(policy, theta, num_tasks, num_steps)
    adapted = adapt(policy, expand(theta, num_tasks), inner, config)
    post = random_batch(policy, adapted, num_tasks, seed=99)
    return policy, theta, config, [*inner, post]


def outer_objective(policy, theta, config, batches, old=None):
    *inner, post = batches
    weights = adapt(policy, expand(theta, len(post.weights)), inner, config)
    old = policy.distribution(weights, post.observations) if old is None else old
    return evaluate(policy, weights, post, old)


def meta_gradient(policy, theta, config, batches):
    *inner, post = batches
    linear = linearise(policy, expand(theta, len(post.weights)), inner, config)
    gradient, value, _ = surrogate_gradient(policy, linear.adapted, {}, post)
    return flatten(sum_tasks(linear.transpose_product(gradient))), value


def finite_difference(function, vector, eps=1e-5):
    """Central differences of a scalar or vector function at every coordinate: rows d f / d x_i."""
    rows = []
    for i in range(len(vector)):
        shift = torch.zeros_like(vector)
        shift[i] = eps
        rows.append((function(vector + shift) - function(vector - shift)) / (2 * eps))
    return torch.stack(rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_steps", [1, 2])
def test_meta_gradient_equals_central_finite_differences(form, num_steps):
    policy, theta, config, batches = problem(form, num_steps)
    exact, _ = meta_gradient(policy, theta, config, batches)
    numeric = finite_difference(
        lambda v: outer_objective(policy, unflatten(v, theta), config, batches).surrogate,
        flatten(theta),
    )
    assert (exact - numeric).norm() / numeric.norm() <= 1e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_steps", [1, 2])
def test_fisher_vector_product_equals_finite_differences_of_the_kl_gradient(form, num_steps):
    policy, theta, config, batches = problem(form, num_steps)
    *inner, post = batches
    linear = linearise(policy, expand(theta, M), inner, config)
    old = type(policy.distribution(linear.adapted, post.observations))(
        *(x.detach() for x in policy.distribution(linear.adapted, post.observations))
    )
    product = fisher_vector_product(policy, linear, linear.adapted, {}, post)
    direction = torch.randn(
        len(flatten(theta)), generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )

    def kl_gradient(vector):
        vector = vector.clone().requires_grad_()
        kl = outer_objective(policy, unflatten(vector, theta), config, batches, old).kl
        return torch.autograd.grad(kl, vector)[0]

    eps, at = 1e-5, flatten(theta)
    numeric = (kl_gradient(at + eps * direction) - kl_gradient(at - eps * direction)) / (2 * eps)
    exact = flatten(product(unflatten(direction, theta)))
    assert (exact - numeric).norm() / numeric.norm() <= 1e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_steps", [1, 2])
def test_batched_over_tasks_equals_one_task_at_a_time(form, num_steps):
    policy, theta, config, batches = problem(form, num_steps)
    *inner, post = batches
    together = linearise(policy, expand(theta, M), inner, config)
    batched_gradient, _ = meta_gradient(policy, theta, config, batches)
    direction = unflatten(torch.linspace(-1, 1, len(flatten(theta))).double(), theta)
    batched_product = fisher_vector_product(policy, together, together.adapted, {}, post)(direction)

    gradients, products = [], []
    for m in range(M):
        alone = [one_task(batch, m) for batch in batches]
        single = linearise(policy, expand(theta, 1), alone[:-1], config)
        for name, value in single.adapted.items():
            torch.testing.assert_close(value[0], together.adapted[name][m], rtol=0, atol=1e-10)
        gradients.append(meta_gradient(policy, theta, config, alone)[0])
        products.append(
            flatten(fisher_vector_product(policy, single, single.adapted, {}, alone[-1])(direction))
        )
    assert (torch.stack(gradients).mean(0) - batched_gradient).abs().max() <= 1e-10
    assert (torch.stack(products).mean(0) - flatten(batched_product)).abs().max() <= 1e-10


def test_inner_loss_forms_share_first_but_not_second_derivatives():
    policy, theta, config, batches = problem("log_prob", 1)
    _, _, ratio_config, _ = problem("ratio", 1)
    adapted = adapt(policy, expand(theta, M), batches[:1], config)
    ratio_adapted = adapt(policy, expand(theta, M), batches[:1], ratio_config)
    for name, value in adapted.items():
        torch.testing.assert_close(value, ratio_adapted[name], rtol=1e-10, atol=1e-12)
    log_prob_gradient, _ = meta_gradient(policy, theta, config, batches)
    ratio_gradient, _ = meta_gradient(policy, theta, ratio_config, batches)
    difference = (log_prob_gradient - ratio_gradient).norm() / ratio_gradient.norm()
    assert difference > 1e-2


def test_each_inner_step_is_its_gradient_times_a_decayed_rate():
    policy, theta, config, batches = problem("log_prob", 2)
    by_hand = {name: value[None].clone() for name, value in theta.items()}
    alone = [one_task(batch, 0) for batch in batches[:2]]
    for step_size, batch in zip((0.3, 0.3 * 0.5), alone, strict=True):
        leaves = {name: value.detach().requires_grad_() for name, value in by_hand.items()}
        dist = policy.distribution(leaves, batch.observations)
        score = log_prob(dist, batch.actions) * batch.advantages
        loss = -score[batch.weights > 0].mean()  # the mean over the valid steps
        grads = torch.autograd.grad(loss, list(leaves.values()))
        by_hand = {
            name: value - step_size * grad
            for (name, value), grad in zip(leaves.items(), grads, strict=True)
        }
    adapted = adapt(policy, expand(theta, 1), alone, config)
    for name, value in adapted.items():
        torch.testing.assert_close(value, by_hand[name].detach(), rtol=0, atol=1e-12)


def test_first_order_drops_the_jacobian_and_nothing_else():
    policy, theta, config, batches = problem("log_prob", 2, first_order=True)
    *inner, post = batches
    adapted = adapt(policy, expand(theta, M), inner, config)
    second_order = adapt(policy, expand(theta, M), inner, problem("log_prob", 2)[2])
    for name, value in adapted.items():
        torch.testing.assert_close(value, second_order[name], rtol=0, atol=0)
    gradient, _ = meta_gradient(policy, theta, config, batches)
    at_adapted, _, _ = surrogate_gradient(policy, detach(adapted), {}, post)
    torch.testing.assert_close(gradient, flatten(sum_tasks(at_adapted)), rtol=0, atol=1e-14)
    full, _ = meta_gradient(policy, theta, problem("log_prob", 2)[2], batches)
    assert (gradient - full).norm() / full.norm() > 1e-2


def test_a_tasks_adaptation_does_not_depend_on_the_size_of_the_meta_batch():
    policy, theta, config, batches = problem("log_prob", 1, num_tasks=5)
    five = adapt(policy, expand(theta, 5), batches[:1], config)
    alone = adapt(policy, expand(theta, 1), [one_task(batches[0], 2)], config)
    for name, value in alone.items():
        torch.testing.assert_close(value[0], five[name][2], rtol=0, atol=1e-12)


def test_the_sampling_policy_has_zero_divergence_from_itself_and_unit_ratio():
    policy, theta, config, batches = problem("log_prob", 1)
    found = outer_objective(policy, theta, config, batches)
    post = batches[-1]
    weighted = (post.advantages * post.weights).sum(-1).mean()
    assert abs(float(found.kl)) < 1e-12
    torch.testing.assert_close(found.surrogate, weighted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("first_order", [False, True])
def test_update_improves_the_surrogate_inside_the_trust_region(first_order):
    policy, theta, config, batches = problem("log_prob", 1, first_order=first_order)
    algorithm = MamlTrpo(policy, config, TrpoConfig(curvature_fraction=1.0))
    old = policy.distribution(
        adapt(policy, expand(theta, M), batches[:1], config), batches[-1].observations
    )
    before = outer_objective(policy, theta, config, batches)
    new, metrics = algorithm.update(theta, batches, horizon=10)
    after = outer_objective(policy, new, config, batches, old)
    assert after.surrogate > before.surrogate
    assert 0.2 * 0.01 < float(after.kl) <= 0.01
    assert metrics["train/approx_kl"] == pytest.approx(float(after.kl), rel=1e-9)
    assert all(not torch.equal(new[name], value) for name, value in theta.items())


def test_no_advantage_anywhere_is_no_step_and_not_a_diverged_update():
    policy, theta, config, batches = problem("log_prob", 1)
    flat = [dataclasses.replace(b, advantages=torch.zeros_like(b.advantages)) for b in batches]
    new, metrics = MamlTrpo(policy, config, TrpoConfig()).update(theta, flat, horizon=10)
    assert all(torch.equal(new[name], value) for name, value in theta.items())
    assert metrics["train/step_share"] == 0.0
    assert all(math.isfinite(value) for value in metrics.values())
