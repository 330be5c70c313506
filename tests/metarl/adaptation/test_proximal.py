"""The proximal step against closed forms, its own unrolled solver and finite differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from support.adaptation_checks import (
    check_jacobian_products,
    check_meta_gradient,
    check_tasks_never_mix,
)
from support.meta_problem import off_policy_problem
from torch import Tensor

from metarl.adaptation.base import Adaptation, Batch, Loss, adapt, linearise, loss_gradient
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.proximal import ProximalStep
from metarl.policies.params import Params, acting, expand, flatten, learned, weights
from metarl_envs import InputError

M, D = 3, 3
IDENTITY = torch.eye(D, dtype=torch.float64).expand(M, D, D)
CONVERGED = ProximalStep(20.0, iterations=8, solver_lr=0.05, cg_iterations=8)
FORMS = ["ratio", "log_prob"]


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def as_params(x: Tensor) -> Params:
    """(M, D) -> two entries."""
    return {"log_std": x[:, :1], "weight_0": x[:, 1:].unsqueeze(-1)}


def as_vectors(params: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([params["log_std"], params["weight_0"].squeeze(-1)], dim=-1)


def quadratic(A: Tensor, b: Tensor) -> Loss:
    """x^T A x / 2 - b^T x of every task, A (M, D, D), b (M, D)."""

    def loss(params: Mapping[str, Tensor]) -> Tensor:
        x = as_vectors(params)
        return (0.5 * torch.einsum("mi,mij,mj->m", x, A, x)) - (b * x).sum(-1)

    return loss


def convex(seed: int) -> Tensor:
    root = randn(M, D, D, seed=seed)
    return root @ root.mT / 4


def of(adaptation: Adaptation, *losses: Loss) -> Callable[[Tensor], Tensor]:
    """The adaptation as a function of vectors: (M, D) -> (M, D)."""
    return lambda x: as_vectors(adapt(adaptation, as_params(x), list(map(Batch, losses))))


def jacobian(function: Callable[[Tensor], Tensor], at: Tensor, how: str) -> Tensor:
    """Every task's own Jacobian, (M, D, D), column by column or row by row."""
    unit = torch.eye(D, dtype=torch.float64)
    if how == "jvp":
        columns = [torch.func.jvp(function, (at,), (e.expand(M, D),))[1] for e in unit]
        return torch.stack(columns, -1)
    if how == "vjp":
        _, pullback = torch.func.vjp(function, at)
        return torch.stack([pullback(e.expand(M, D))[0] for e in unit], -2)
    leaf = at.clone().requires_grad_()
    rows = [torch.autograd.grad(function(leaf), leaf, e.expand(M, D))[0] for e in unit]
    return torch.stack(rows, -2)


@pytest.mark.parametrize("how", ["jvp", "vjp", "autograd"])
@pytest.mark.parametrize("steps", [1, 2])
def test_on_quadratics_solution_and_jacobian_are_the_closed_forms(steps, how):
    strength = 6.0
    step = ProximalStep(strength, iterations=25, solver_lr=0.14, cg_iterations=2 * D)
    problems = [(convex(k), randn(M, D, seed=20 + k)) for k in range(steps)]
    theta = randn(M, D, seed=3)
    expected, expected_jacobian = theta, IDENTITY
    for A, b in problems:
        inverse = torch.linalg.inv(A + strength * IDENTITY)
        expected = torch.einsum("mij,mj->mi", inverse, b + strength * expected)
        expected_jacobian = strength * inverse @ expected_jacobian
    solve = of(step, *(quadratic(A, b) for A, b in problems))
    torch.testing.assert_close(solve(theta), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(jacobian(solve, theta, how), expected_jacobian, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_the_implicit_derivative_is_that_of_the_unrolled_solver(form):
    step = ProximalStep(8.0, iterations=40, solver_lr=0.12, cg_iterations=20)
    given = off_policy_problem(step, form, 1)
    (batch,) = given.steps
    start = {n: v.clone().requires_grad_() for n, v in learned(given.theta).items()}
    theta = expand(given.theta | start, given.num_tasks)

    phi = weights(theta)
    for _ in range(step.iterations):
        slope = loss_gradient(theta | phi, list(phi), batch.loss)
        phi = {
            n: v - step.solver_lr * (slope[n] + step.strength * (v - theta[n]))
            for n, v in phi.items()
        }
    unrolled = torch.autograd.grad(given.score(phi), list(start.values()))

    implicit = torch.autograd.grad(given.objective(start), list(start.values()))
    by_func = torch.func.grad(given.objective)(learned(given.theta))
    for name, a, b in zip(start, unrolled, implicit, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(by_func[name], b, rtol=1e-12, atol=1e-14)
    moved = flatten(weights(theta)) - flatten(phi)
    assert float(moved.detach().norm()) > 0.01


def test_the_meta_gradient_is_that_of_finite_differences():
    check_meta_gradient(CONVERGED, steps=2, form="ratio")


@pytest.mark.parametrize("form", FORMS)
def test_jacobian_products_are_those_of_finite_differences(form):
    check_jacobian_products(CONVERGED, steps=2, form=form, context_size=2)


@pytest.mark.parametrize("form", FORMS)
def test_tasks_never_mix(form):
    check_tasks_never_mix(ProximalStep(), steps=2, form=form, context_size=2)


def test_the_first_iteration_is_a_step_of_maml():
    given = off_policy_problem(GradientStep(), "ratio", 1)
    theta = expand(given.theta, given.num_tasks)
    one = adapt(ProximalStep(iterations=1), theta, given.steps)
    for name, value in adapt(GradientStep(), theta, given.steps).items():
        torch.testing.assert_close(one[name], value, rtol=0, atol=1e-14)


def test_only_the_weights_move_and_collecting_needs_no_gradients():
    given = off_policy_problem(ProximalStep(), "ratio", 1, context_size=2)
    theta = expand(given.theta, given.num_tasks) | {"adaptation.rate": torch.ones(M)}
    theta = {name: value.clone().requires_grad_() for name, value in theta.items()}
    with torch.no_grad():
        stepped = ProximalStep().step(theta, given.steps[0], 0)
    assert stepped.keys() == theta.keys()
    for name, value in stepped.items():
        if name not in weights(theta):
            assert value is theta[name]
        elif name != "weight_context":  # which a context of zero gives no slope
            assert not torch.equal(value, theta[name])
            assert not value.requires_grad


def test_without_conjugate_gradients_the_derivative_is_the_identity():
    given = off_policy_problem(ProximalStep(cg_iterations=0), "ratio", 1)
    linear = linearise(given.adaptation, expand(given.theta, given.num_tasks), given.steps)
    v = {name: torch.randn_like(value) for name, value in linear.adapted.items()}
    for name, value in linear.transpose_product(v).items():
        assert torch.equal(value, v[name])


def test_steps_too_large_for_the_problem_are_halved():
    loss, theta = quadratic(convex(0), randn(M, D, seed=1)), randn(M, D, seed=2)
    usual = of(ProximalStep(iterations=25, solver_lr=0.09), loss)(theta)
    large = of(ProximalStep(iterations=35, solver_lr=7.0), loss)(theta)
    torch.testing.assert_close(large, usual, rtol=0, atol=1e-10)


@pytest.mark.parametrize("how", ["jvp", "vjp", "autograd"])
def test_tasks_without_a_minimum_or_a_slope_leave_the_others_alone(how):
    """Task 0 curves down more than the quadratic term curves up; task 1's loss is constant."""
    A, b, theta = convex(0), randn(M, D, seed=1), randn(M, D, seed=2)
    A = torch.stack([-20 * IDENTITY[0], 0 * IDENTITY[0], A[2]])
    b = torch.stack([b[0], 0 * b[1], b[2]])
    step = ProximalStep(10.0, iterations=25, solver_lr=0.09, cg_iterations=30)
    solve = of(step, quadratic(A, b))
    inverse = torch.linalg.inv(A[2] + 10 * IDENTITY[2])
    phi = torch.stack([theta[0], theta[1], inverse @ (b[2] + 10 * theta[2])])
    torch.testing.assert_close(solve(theta), phi, rtol=0, atol=1e-10)
    expected = torch.stack([IDENTITY[0], IDENTITY[1], 10 * inverse])
    torch.testing.assert_close(jacobian(solve, theta, how), expected, rtol=0, atol=1e-10)


def test_a_search_is_exact_as_long_as_it_meets_no_negative_curvature():
    A = torch.diag(torch.tensor([-20.0, 1.0, 3.0]).double()).expand(M, D, D)
    solve = of(ProximalStep(10.0, cg_iterations=20), quadratic(A, 0 * randn(M, D)))
    theta, mixed = randn(M, D, seed=2), randn(M, D, seed=5)
    good = mixed * torch.tensor([0.0, 1.0, 1.0])
    found = torch.func.jvp(solve, (theta,), (good,))[1]
    expected = good / torch.tensor([1.0, 1.1, 1.3], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    stopped = torch.func.jvp(solve, (theta,), (mixed,))[1]
    assert float(stopped.norm()) < 10 * float(mixed.norm())


@pytest.mark.parametrize("form", FORMS)
def test_a_loss_without_lower_bound_does_not_run_away(form):
    """At a hundredth of the default strength gradient descent on it would."""
    step = ProximalStep(0.1, iterations=30, solver_lr=1.0)
    given = off_policy_problem(step, form, 1)
    start = expand(given.theta, given.num_tasks)
    adapted = weights(adapt(step, start, given.steps))
    assert float(flatten(adapted).abs().max()) < 10
    gradient = torch.func.grad(given.objective)(learned(given.theta))
    assert torch.isfinite(flatten(gradient)).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", FORMS)
def test_the_defaults_give_finite_meta_gradients_in_single_precision(form, seed):
    given = off_policy_problem(ProximalStep(), form, 2, seed=seed)
    theta = {name: value.float() for name, value in given.theta.items()}
    steps = [single(batch.loss) for batch in given.steps]
    leaves = {n: v.clone().requires_grad_() for n, v in learned(theta).items()}
    adapted = acting(adapt(ProximalStep(), expand(theta | leaves, given.num_tasks), steps))
    assert {value.dtype for value in adapted.values()} == {torch.float32}
    score = given.score({name: value.double() for name, value in adapted.items()})
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(score, list(leaves.values()))])
    exact = flatten(torch.func.grad(given.objective)(learned(given.theta)))
    torch.testing.assert_close(gradient.double(), exact, rtol=0, atol=1e-3 * float(exact.norm()))


def single(loss: Loss) -> Batch:
    """The loss of float32 parameters, rounded to float32; its data stays float64."""

    def rounded(params: Mapping[str, Tensor]) -> Tensor:
        return loss({name: value.double() for name, value in params.items()}).float()

    return Batch(rounded)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("strength", 0.0, "greater than 0"),
        ("solver_lr", -0.1, "greater than 0"),
        ("iterations", 0, "at least 1"),
        ("cg_iterations", -1, "at least 0"),
    ],
)
def test_settings_out_of_range_are_named(field, value, allowed):
    with pytest.raises(InputError, match=f"{field} = {value}: must be {allowed}"):
        ProximalStep(**{field: value})
