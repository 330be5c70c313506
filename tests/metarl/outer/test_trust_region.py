"""Conjugate gradient against a direct solver; the line search on functions known by hand."""

from __future__ import annotations

import math

import pytest
import torch

from metarl.outer.trust_region import Objective, conjugate_gradient, line_search


def spd(size: int, seed: int) -> torch.Tensor:
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.T + 0.5 * torch.eye(size, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_conjugate_gradient_solves_spd_systems_in_their_dimension(seed):
    matrix, target = spd(6, seed), torch.linspace(-1, 2, 6).double()
    x, curvature = conjugate_gradient(lambda v: matrix @ v, target, iterations=6)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, target), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(curvature, x @ matrix @ x, rtol=1e-6, atol=1e-8)


def test_conjugate_gradient_leaves_its_inputs_alone_and_reports_curvature_when_cut_short():
    matrix, target = spd(20, 0), torch.ones(20).double()
    x, curvature = conjugate_gradient(lambda v: matrix @ v, target, iterations=4)
    assert torch.equal(target, torch.ones(20).double())
    torch.testing.assert_close(curvature, x @ matrix @ x, rtol=1e-9, atol=1e-12)


def quadratic(point: torch.Tensor) -> Objective:
    """Surrogate rises up to x = 1 and falls after; KL = x^2 / 2."""
    x = point[0]
    return Objective(x - 0.5 * x**2, 0.5 * x**2)


def test_line_search_shrinks_until_inside_the_trust_region():
    start, step = torch.zeros(1), torch.ones(1)
    point, share, found = line_search(
        quadratic, start, step, quadratic(start), max_kl=0.2, ratio=0.5, max_tries=5
    )
    assert share == 0.5  # KL(1) = 0.5 > 0.2, KL(0.5) = 0.125
    assert point.item() == 0.5
    assert found.kl.item() == pytest.approx(0.125)


def test_line_search_refuses_steps_that_do_not_improve_and_returns_the_start():
    start = torch.zeros(1)
    point, share, found = line_search(
        quadratic, start, -torch.ones(1), quadratic(start), max_kl=10.0, ratio=0.8, max_tries=3
    )
    assert (point.item(), share) == (0.0, 0.0)
    assert found.surrogate.item() == 0.0


def test_line_search_never_accepts_nan():
    start = torch.zeros(1)
    nan = Objective(torch.tensor(torch.nan), torch.tensor(torch.nan))
    point, share, _ = line_search(
        lambda _: nan, start, torch.ones(1), quadratic(start), max_kl=1.0, ratio=0.8, max_tries=3
    )
    assert (point.item(), share) == (0.0, 0.0)


def test_conjugate_gradient_stops_at_curvature_that_is_not_positive():
    matrix = torch.diag(torch.tensor([2.0, -1.0], dtype=torch.float64))
    target = torch.tensor([1.0, 0.5], dtype=torch.float64)
    x, curvature = conjugate_gradient(lambda v: matrix @ v, target, 10)
    first = (target @ target) / (target @ matrix @ target) * target  # one step along the target
    torch.testing.assert_close(x, first)
    assert curvature > 0
    x, curvature = conjugate_gradient(lambda v: -v, target, 10)
    assert torch.equal(x, torch.zeros(2, dtype=torch.float64))
    assert curvature == 0


class OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU, and would be waited for if it were asked for its value."""

    @property
    def device(self):
        return torch.device("cuda")

    def __bool__(self):
        raise AssertionError("waits for the GPU")


@pytest.mark.parametrize(
    ("diagonal", "target"),
    [
        ([2.0, 3.0, 0.5], [1.0, -1.0, 2.0]),  # solved after three of ten iterations
        ([2.0, -1.0, 1.0], [1.0, 0.5, 0.0]),  # no positive curvature after the first
        ([-1.0, -2.0, -1.0], [1.0, 1.0, 1.0]),  # none at all
        ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]),  # nowhere to go
        ([math.inf, 1.0, 1.0], [1.0, 1.0, 1.0]),
    ],
)
def test_on_a_gpu_conjugate_gradient_finds_the_same_without_asking(diagonal, target):
    scale, goal = (torch.tensor(values).double() for values in (diagonal, target))
    products = []

    def product(v):
        products.append(v)
        return scale * v

    x, curvature = conjugate_gradient(product, goal, iterations=10)
    assert len(products) < 10
    there, there_curvature = conjugate_gradient(product, goal.as_subclass(OnGpu), iterations=10)
    assert isinstance(there, OnGpu)
    for one, other in ((x, there), (curvature, there_curvature)):
        torch.testing.assert_close(
            other.as_subclass(torch.Tensor), one, rtol=0, atol=0, equal_nan=True
        )
