"""Truth checks that hold for every adaptation: its derivatives, and tasks that never mix.

check_meta_gradient(GradientStep(), steps=2, form="ratio")
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from support.meta_problem import MetaProblem, noise, off_policy_problem
from torch import Generator, Tensor

from metarl.adaptation.base import Adaptation, linearise
from metarl.adaptation.losses import InnerLoss
from metarl.policies.params import Params, acting, expand, fixed, flatten, learned, unflatten


def each_its_own(given: MetaProblem, generator: Generator) -> Params:
    """Learned entries that differ from task to task: (M, ...)."""
    start = expand(learned(given.theta), given.num_tasks)
    return {name: value + noise(0.02, value, generator) for name, value in start.items()}


def slope(function: Callable[[Tensor], Tensor], at: Tensor, direction: Tensor) -> Tensor:
    """Directional derivative by central differences of fourth order; their error is ~1e-11."""

    def central(h: float) -> Tensor:
        return (function(at + h * direction) - function(at - h * direction)) / (2 * h)

    return (4 * central(1e-4) - central(2e-4)) / 3


def check_meta_gradient(
    adaptation: Adaptation, *, steps: int, form: InnerLoss, context_size: int = 0
) -> None:
    """Derivative of the post-adaptation surrogate with respect to every learned entry.

    `torch.func.grad` through `adapt` is compared with central differences, along random
    directions and at up to three coordinates of every tensor, and with `transpose_product`.
    Not for first-order settings, whose gradient is deliberately another.
    """
    given = off_policy_problem(adaptation, form, steps, context_size=context_size)
    start = learned(given.theta)
    _check_that_it_moves(given)
    exact = torch.func.grad(given.objective)(start)
    vector = flatten(start)
    generator = torch.Generator().manual_seed(1)
    size = float(flatten(exact).norm())

    def at(vector: Tensor) -> Tensor:
        return given.objective(unflatten(vector, start))

    for _ in range(3):
        direction = noise(1.0, vector, generator)
        direction /= direction.norm()
        _close(slope(at, vector, direction), flatten(exact) @ direction, 1e-2 * size)

    first = 0
    for name, value in start.items():
        chosen = torch.randperm(value.numel(), generator=generator)[:3]
        units = torch.eye(len(vector), dtype=torch.float64)[first + chosen]
        numeric = torch.stack([slope(at, vector, unit) for unit in units])
        entries = exact[name].reshape(-1)[chosen]
        _close(numeric, entries, 1e-3 * float(exact[name].norm()), f"d / d {name}")
        first += value.numel()

    linear = linearise(adaptation, expand(given.theta, given.num_tasks), given.steps)
    pulled = linear.transpose_product(torch.func.grad(given.score)(linear.adapted))
    assert pulled.keys() == exact.keys()
    for name, value in pulled.items():
        torch.testing.assert_close(value.sum(0), exact[name], rtol=1e-10, atol=1e-13)


def check_jacobian_products(
    adaptation: Adaptation, *, steps: int, form: InnerLoss, context_size: int = 0
) -> None:
    """J v against central differences, entry by entry, and w . J v == v . J^T w."""
    given = off_policy_problem(adaptation, form, steps, context_size=context_size)
    generator = torch.Generator().manual_seed(2)
    start = each_its_own(given, generator)
    params = start | expand(fixed(given.theta), given.num_tasks)
    linear = linearise(adaptation, params, given.steps)
    v = {name: noise(1.0, value, generator) for name, value in start.items()}
    w = {name: noise(1.0, value, generator) for name, value in linear.adapted.items()}
    product = linear.jacobian_product(v)
    assert product.keys() == linear.adapted.keys()

    def at(vector: Tensor) -> Tensor:
        return flatten(given.adapted_each(unflatten(vector, start)))

    numeric = unflatten(slope(at, flatten(start), flatten(v)), product)
    for name, value in product.items():
        _close(numeric[name], value, float(value.abs().mean()), f"J v at {name}")
    forward = flatten(product) @ flatten(w)
    backward = flatten(v) @ flatten(linear.transpose_product(w))
    torch.testing.assert_close(forward, backward, rtol=1e-10, atol=1e-12)


def check_tasks_never_mix(
    adaptation: Adaptation, *, steps: int, form: InnerLoss, context_size: int = 0
) -> None:
    """M tasks at once are one task at a time, and so are their meta-gradients."""
    given = off_policy_problem(adaptation, form, steps, context_size=context_size)
    start = each_its_own(given, torch.Generator().manual_seed(3))
    together = given.adapted_each(start)
    # The score is a mean over tasks, so a task's own gradient is a share of what it is alone.
    gradient = torch.func.grad(lambda start: given.score(given.adapted_each(start)))(start)
    for m in range(given.num_tasks):
        alone = given.of_tasks(m)
        own = {name: value[m : m + 1] for name, value in start.items()}
        for name, value in alone.adapted_each(own).items():
            torch.testing.assert_close(value[0], together[name][m], rtol=0, atol=1e-10)
        single = torch.func.grad(lambda own, alone=alone: alone.score(alone.adapted_each(own)))(own)
        for name, value in single.items():
            torch.testing.assert_close(
                value[0], given.num_tasks * gradient[name][m], rtol=0, atol=1e-10
            )


def _check_that_it_moves(given: MetaProblem) -> None:
    """An adaptation that changes nothing would pass every comparison."""
    params = expand(given.theta, given.num_tasks)
    before, after = acting(params), given.adapted_each(learned(params))
    assert after.keys() == before.keys()
    assert max(float((after[name] - before[name]).abs().max()) for name in after) > 1e-4


def _close(numeric: Tensor, exact: Tensor, scale: float, what: str = "") -> None:
    """Equal to 1e-5 of the value, or of `scale` where the value is small beside it."""
    torch.testing.assert_close(
        numeric,
        exact,
        rtol=1e-5,
        atol=1e-5 * max(scale, 1e-5),
        msg=lambda text: f"{what} {text}",
    )
