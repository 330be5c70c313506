"""Conjugate gradient and backtracking line search, as pure functions of vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Objective(NamedTuple):
    """A trust-region problem evaluated at one point."""

    surrogate: Tensor  # () to be maximised
    kl: Tensor  # () divergence from the start, nats


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], target: Tensor, iterations: int, tolerance: float = 1e-10
) -> tuple[Tensor, Tensor]:
    """Approximate solution x of A x = target for symmetric positive definite A: (D,) -> (D,).

    Hestenes and Stiefel 1952. Stops early where the squared residual falls below `tolerance`
    times that of the target, or where A shows no positive curvature (products that are themselves
    approximate, such as iMAML's, can make it look so).

    Returns:
        x and x^T A x, which the residual gives for free.
    """
    x = torch.zeros_like(target)
    residual, direction = target.clone(), target.clone()
    squared = residual @ residual
    goal = tolerance * squared
    active = squared != 0  # else nowhere to go, and 0 / 0 would look like a diverged update
    for _ in range(iterations):
        # Not asked of a GPU: every step would wait for the answer.
        if active.device.type == "cpu" and not bool(active):
            break
        image = product(direction)
        curvature = direction @ image
        active = active & (curvature > 0)
        step = squared / curvature
        x = torch.where(active, x + step * direction, x)
        residual = torch.where(active, residual - step * image, residual)
        previous, squared = squared, residual @ residual
        active = active & ~(squared <= goal)
        direction = residual + (squared / previous) * direction
    return x, x @ (target - residual)


def line_search(
    evaluate: Callable[[Tensor], Objective],
    start: Tensor,
    step: Tensor,
    at_start: Objective,
    max_kl: float,
    ratio: float,
    max_tries: int,
) -> tuple[Tensor, float, Objective]:
    """The longest of `step`, ratio*step, ... that improves inside the trust region.

    Args:
        evaluate: the problem at a point (D,).
        start: (D,).
        step: (D,).
        at_start: the problem at `start`.
        max_kl: radius of the trust region, nats.
        ratio: shrinkage per try, in (0, 1).
        max_tries: how many lengths are tried.

    Returns:
        The accepted point, the share of `step` taken and the problem there; the start and a share
        of 0 if every try failed.
    """
    share = 1.0
    for _ in range(max_tries):
        point = start + share * step
        candidate = evaluate(point)
        # False for NaN, which is therefore never accepted.
        if bool((candidate.surrogate > at_start.surrogate) & (candidate.kl <= max_kl)):
            return point, share, candidate
        share *= ratio
    return start, 0.0, at_start
