"""Truth checks that hold for every adaptation: its derivatives, and tasks that never mix.

    check_meta_gradient(GradientStep(), steps=2, form="ratio")

All of them work on a small float64 problem: `problem(...)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from support.helpers import one_task, random_batch
from torch import Generator, Tensor

from metarl.adaptation.base import Adaptation, Batch, adapt, linearise
from metarl.adaptation.losses import InnerLoss, inner_batches, surrogate
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import (
    ADAPTATION,
    STATISTICS,
    TASK,
    Params,
    acting,
    expand,
    fixed,
    flatten,
    learned,
    unflatten,
    weights,
)
from metarl.rollouts.advantages import PolicyBatch


@dataclass(frozen=True)
class Problem:
    """Parameters, the batch behind each inner step, and a batch of the adapted policies.

    The batches are data: they stay what they are when the parameters move.
    """

    adaptation: Adaptation
    policy: GaussianMlpPolicy
    theta: Params  # without axis M
    inner: list[PolicyBatch]
    post: PolicyBatch
    form: InnerLoss

    @property
    def num_tasks(self) -> int:
        return len(self.post.weights)

    @property
    def steps(self) -> list[Batch]:
        return inner_batches(self.policy, self.inner, self.form)

    def adapted(self, start: Params) -> Params:
        """Parameters of the adapted policies, from each task's learned entries: both (M, ...)."""
        params = start | expand(fixed(self.theta), self.num_tasks)
        return acting(adapt(self.adaptation, params, self.steps))

    def score(self, adapted: Params) -> Tensor:
        """Mean post-adaptation surrogate, of `acting` entries (M, ...): ()."""
        statistics = {k: v for k, v in self.theta.items() if k.startswith(STATISTICS)}
        params = adapted | expand(statistics, self.num_tasks)
        dist = self.policy.distribution(params, self.post.rollouts)
        return surrogate(dist, self.post).mean()

    def objective(self, start: Params) -> Tensor:
        """The score after adaptation, from learned entries that all tasks share: (...) -> ()."""
        return self.score(self.adapted(expand(start, self.num_tasks)))

    def alone(self, m: int) -> Problem:
        """Task m without the others."""
        inner = [one_task(batch, m) for batch in self.inner]
        return Problem(
            self.adaptation, self.policy, self.theta, inner, one_task(self.post, m), self.form
        )


def problem(
    adaptation: Adaptation,
    *,
    steps: int,
    form: InnerLoss,
    num_tasks: int = 3,
    context_size: int = 0,
    seed: int = 0,
) -> Problem:
    """A small policy with noise on every learned entry, and random batches collected near it."""
    generator = torch.Generator().manual_seed(seed)
    config = MlpConfig(hidden_sizes=(4, 3), normalize_observations=True, context_size=context_size)
    policy = GaussianMlpPolicy(config, 3, (-1.0, -1.0), (1.0, 1.0))
    params = policy.init(generator)
    params |= adaptation.init(weights(params), generator)
    theta = {name: _with_noise(name, value.double(), generator) for name, value in params.items()}

    inner = []
    for k in range(steps):
        behaviour = {
            name: value if name.startswith(STATISTICS) else value + _noise(0.05, value, generator)
            for name, value in expand(theta, num_tasks).items()
        }
        inner.append(random_batch(policy, behaviour, num_tasks, 20, seed=100 * seed + k))
    adapted = adapt(adaptation, expand(theta, num_tasks), inner_batches(policy, inner, form))
    post = random_batch(policy, adapted, num_tasks, 20, seed=100 * seed + 99)
    return Problem(adaptation, policy, theta, inner, post, form)


def _with_noise(name: str, value: Tensor, generator: Generator) -> Tensor:
    """Away from symmetric points; statistics and per-task entries start as the policy says."""
    if name.startswith((STATISTICS, TASK)):
        return value
    return value + _noise(0.02 if name.startswith(ADAPTATION) else 0.1, value, generator)


def _noise(size: float, like: Tensor, generator: Generator) -> Tensor:
    return size * torch.randn(like.shape, generator=generator, dtype=torch.float64)


def each_its_own(given: Problem, generator: Generator) -> Params:
    """Learned entries that differ from task to task: (M, ...)."""
    start = expand(learned(given.theta), given.num_tasks)
    return {name: value + _noise(0.02, value, generator) for name, value in start.items()}


def slope(function: Callable[[Tensor], Tensor], at: Tensor, direction: Tensor) -> Tensor:
    """Directional derivative by central differences of fourth order; their error is ~1e-11."""

    def central(h: float) -> Tensor:
        return (function(at + h * direction) - function(at - h * direction)) / (2 * h)

    return (4 * central(1e-4) - central(2e-4)) / 3


def check_meta_gradient(
    adaptation: Adaptation,
    *,
    steps: int,
    form: InnerLoss,
    num_tasks: int = 3,
    context_size: int = 0,
    rtol: float = 1e-5,
    seed: int = 0,
) -> None:
    """Derivative of the post-adaptation surrogate with respect to every learned entry.

    `torch.func.grad` through `adapt` is compared with central differences, along random
    directions and at up to three coordinates of every tensor, and with `transpose_product`.
    Not for first-order settings, whose gradient is deliberately another.
    """
    given = problem(
        adaptation,
        steps=steps,
        form=form,
        num_tasks=num_tasks,
        context_size=context_size,
        seed=seed,
    )
    start = learned(given.theta)
    _check_that_it_moves(given)
    exact = torch.func.grad(given.objective)(start)
    vector = flatten(start)
    generator = torch.Generator().manual_seed(seed + 1)
    size = float(flatten(exact).norm())

    def at(vector: Tensor) -> Tensor:
        return given.objective(unflatten(vector, start))

    for _ in range(3):
        direction = _noise(1.0, vector, generator)
        direction /= direction.norm()
        _close(slope(at, vector, direction), flatten(exact) @ direction, rtol, 1e-2 * size)

    first = 0
    for name, value in start.items():
        chosen = torch.randperm(value.numel(), generator=generator)[:3]
        units = torch.eye(len(vector), dtype=torch.float64)[first + chosen]
        numeric = torch.stack([slope(at, vector, unit) for unit in units])
        entries = exact[name].reshape(-1)[chosen]
        _close(numeric, entries, rtol, 1e-3 * float(exact[name].norm()), f"d / d {name}")
        first += value.numel()

    linear = linearise(adaptation, expand(given.theta, num_tasks), given.steps)
    pulled = linear.transpose_product(torch.func.grad(given.score)(linear.adapted))
    assert pulled.keys() == exact.keys()
    for name, value in pulled.items():
        torch.testing.assert_close(value.sum(0), exact[name], rtol=1e-10, atol=1e-13)


def check_jacobian_products(
    adaptation: Adaptation,
    *,
    steps: int,
    form: InnerLoss,
    num_tasks: int = 3,
    context_size: int = 0,
    rtol: float = 1e-5,
    seed: int = 0,
) -> None:
    """J v against central differences, entry by entry, and w . J v == v . J^T w."""
    given = problem(
        adaptation,
        steps=steps,
        form=form,
        num_tasks=num_tasks,
        context_size=context_size,
        seed=seed,
    )
    generator = torch.Generator().manual_seed(seed + 2)
    start = each_its_own(given, generator)
    params = start | expand(fixed(given.theta), num_tasks)
    linear = linearise(adaptation, params, given.steps)
    v = {name: _noise(1.0, value, generator) for name, value in start.items()}
    w = {name: _noise(1.0, value, generator) for name, value in linear.adapted.items()}
    product = linear.jacobian_product(v)
    assert product.keys() == linear.adapted.keys()

    def at(vector: Tensor) -> Tensor:
        return flatten(given.adapted(unflatten(vector, start)))

    numeric = unflatten(slope(at, flatten(start), flatten(v)), product)
    for name, value in product.items():
        _close(numeric[name], value, rtol, float(value.abs().mean()), f"J v at {name}")
    forward = flatten(product) @ flatten(w)
    backward = flatten(v) @ flatten(linear.transpose_product(w))
    torch.testing.assert_close(forward, backward, rtol=1e-10, atol=1e-12)


def check_tasks_never_mix(
    adaptation: Adaptation,
    *,
    steps: int,
    form: InnerLoss,
    num_tasks: int = 3,
    context_size: int = 0,
    atol: float = 1e-10,
    seed: int = 0,
) -> None:
    """M tasks at once are one task at a time, and so are their meta-gradients."""
    given = problem(
        adaptation,
        steps=steps,
        form=form,
        num_tasks=num_tasks,
        context_size=context_size,
        seed=seed,
    )
    start = each_its_own(given, torch.Generator().manual_seed(seed + 3))
    together = given.adapted(start)
    # The score is a mean over tasks, so a task's own gradient is a share of what it is alone.
    gradient = torch.func.grad(lambda start: given.score(given.adapted(start)))(start)
    for m in range(num_tasks):
        alone = given.alone(m)
        own = {name: value[m : m + 1] for name, value in start.items()}
        for name, value in alone.adapted(own).items():
            torch.testing.assert_close(value[0], together[name][m], rtol=0, atol=atol)
        single = torch.func.grad(lambda own, alone=alone: alone.score(alone.adapted(own)))(own)
        for name, value in single.items():
            torch.testing.assert_close(value[0], num_tasks * gradient[name][m], rtol=0, atol=atol)


def _check_that_it_moves(given: Problem) -> None:
    """An adaptation that changes nothing would pass every comparison."""
    params = expand(given.theta, given.num_tasks)
    before, after = acting(params), given.adapted(learned(params))
    assert after.keys() == before.keys()
    assert max(float((after[name] - before[name]).abs().max()) for name in after) > 1e-4


def _close(numeric: Tensor, exact: Tensor, rtol: float, scale: float, what: str = "") -> None:
    """Equal to `rtol` of the value, or of `scale` where the value is small beside it."""
    torch.testing.assert_close(
        numeric,
        exact,
        rtol=rtol,
        atol=rtol * max(scale, 1e-5),
        msg=lambda text: f"{what} {text}",
    )
