"""Adaptation by a proximal problem, differentiated implicitly: iMAML (Rajeswaran et al. 2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metarl.adaptation.base import Adaptation, Batch
from metarl.policies.params import Params, fixed, flatten, unflatten, weights
from metarl_envs.inputs.numbers import Count, Natural, Positive

MIN_CURVATURE = 0.01
"""Least curvature, as a share of the quadratic term's, that the implicit derivative divides by."""


@dataclass(frozen=True)
class ProximalStep(Adaptation):
    """phi = argmin L(phi) + strength/2 |phi - theta|^2 (iMAML, arXiv 1909.04630, Eq. 3).

    theta are the weights that the step starts from: with several steps, each is proximal around
    the outcome of the one before, on new episodes, and not around the meta-parameters.

    Unlike MAML's, the derivative depends on the solution alone and not on the solver's path:
    d phi / d theta = (I + H / strength)^-1, with H the Hessian of L at phi (Eq. 6), applied by
    conjugate gradients. The search starts from the identity, FOMAML's derivative. Policy-gradient
    losses are not convex: a task whose search meets a curvature of the proximal objective that is
    not clearly positive keeps the estimate it has by then. Products with the derivative are finite
    even so, but they are no longer quite linear: an outer loop must not take J^T F J for positive.
    """

    strength: Positive = 10.0
    """Weight of the quadratic term, lambda in the paper, > 0; 1 / strength corresponds to MAML's
    step size. Where the loss curves down more than this, a task may move little or not at all."""
    iterations: Count = 5
    """Gradient steps of the solver, all on the same episodes, >= 1."""
    solver_lr: Positive = 0.1
    """Size of these steps, > 0; at 1 / strength the first is MAML's. A step that would not bring
    a task nearer to its solution, by the norm of the gradient, is skipped and its size halved."""
    cg_iterations: Natural = 5
    """Conjugate-gradient iterations in a product with the derivative, >= 0; 0 is FOMAML's."""

    def step(self, params: Mapping[str, Tensor], batch: Batch, k: int) -> Params:
        del k
        theta, rest = weights(params), fixed(params)
        of_one_task = {name: value[0] for name, value in theta.items()}

        def to_params(vectors: Tensor) -> Params:
            return torch.vmap(lambda vector: unflatten(vector, of_one_task))(vectors)

        def gradient(vectors: Tensor) -> Tensor:
            return torch.func.grad(lambda v: batch.loss({**rest, **to_params(v)}).sum())(vectors)

        solution: Any = _Solution.apply(torch.vmap(flatten)(theta), gradient, self)
        return {**params, **to_params(solution)}

    def scaled(self, factor: float) -> ProximalStep:
        return dataclasses.replace(
            self, strength=self.strength / factor, solver_lr=factor * self.solver_lr
        )


Gradient = Callable[[Tensor], Tensor]
"""The weights of every task to the gradient of each task's loss at its own: (M, D) -> (M, D)."""


class _Solution(torch.autograd.Function):
    """theta -> phi, (M, D) -> (M, D), differentiable in reverse and in forward mode."""

    @staticmethod
    def forward(theta: Tensor, gradient: Gradient, settings: ProximalStep) -> Tensor:
        return _minimise(theta, gradient, settings)

    @staticmethod
    def setup_context(
        ctx: Any,  # noqa: ANN401 -- PyTorch's contexts take any attribute
        inputs: tuple[Tensor, Gradient, ProximalStep],
        output: Tensor,
    ) -> None:
        _, ctx.gradient, ctx.settings = inputs
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        # The Jacobian is symmetric: reverse mode is forward mode.
        return _Solution.jvp(ctx, *grads), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:  # noqa: ANN401
        (phi,) = ctx.saved_tensors
        return _implicit_product(tangents[0], phi, ctx.gradient, ctx.settings)


def _minimise(theta: Tensor, gradient: Gradient, settings: ProximalStep) -> Tensor:
    """Approximate solution of every task's problem: (M, D) -> (M, D).

    What must fall is the gradient's norm and not the objective: -log pi A has no lower bound,
    and where it is too steep for the quadratic term, lowering the objective has no end.
    """

    def slope(phi: Tensor) -> Tensor:
        return gradient(phi) + settings.strength * (phi - theta)

    phi, residual = theta, slope(theta)
    size = torch.full_like(theta[:, :1], settings.solver_lr)
    for _ in range(settings.iterations):
        candidate = phi - size * residual
        remaining = slope(candidate)
        better = _dot(remaining, remaining) < _dot(residual, residual)  # false for inf and NaN
        phi = torch.where(better, candidate, phi)
        residual = torch.where(better, remaining, residual)
        size = torch.where(better, size, 0.5 * size)
    return phi


def _implicit_product(v: Tensor, phi: Tensor, gradient: Gradient, settings: ProximalStep) -> Tensor:
    """(I + H / strength)^-1 v of every task, with H its Hessian at phi: (M, D) -> (M, D).

    Conjugate gradients (Hestenes and Stiefel 1952), each task with its own step sizes.
    """
    _, pullback = torch.func.vjp(gradient, phi)  # pyright: ignore[reportAssignmentType]

    def curve(x: Tensor) -> Tensor:
        return pullback(x)[0] / settings.strength

    x, residual = v, -curve(v)
    direction, squared = residual, _dot(residual, residual)
    active = torch.ones_like(squared, dtype=torch.bool)
    for _ in range(settings.cg_iterations):
        image = direction + curve(direction)
        curvature = _dot(direction, image)
        # False for good once a task has converged, its direction being zero (the next is NaN).
        active = active & (curvature > MIN_CURVATURE * _dot(direction, direction))
        size = squared / curvature
        x = torch.where(active, x + size * direction, x)
        residual = torch.where(active, residual - size * image, residual)
        previous, squared = squared, _dot(residual, residual)
        direction = residual + squared / previous * direction
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product within each task: (M, D), (M, D) -> (M, 1)."""
    return (a * b).sum(-1, keepdim=True)
