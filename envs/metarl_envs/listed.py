"""A distribution over listed points, as public benchmarks give their tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from metarl_envs.distributions import Distribution
from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import whole

SLACK = 1e-6
"""Difference from a point that counts as none: a point may be given in decimal digits."""


@dataclass(frozen=True)
class Listed(Distribution):
    """One of finitely many points (d,), drawn as a whole, in balanced shares.

    n draws from k points hold each of them floor(n/k) or ceil(n/k) times, in random order. Of
    points with kinds, n draws hold each kind equally often in that sense, and so the points of one.
    """

    finite: ClassVar[bool] = True
    points: tuple[tuple[float, ...], ...]
    """Of one length d."""
    kinds: tuple[str, ...] = ()
    """Names of the kinds, which the first number of a point counts from 0; it is no measure, so a
    network reads it as one number per kind. (): all numbers are measures."""

    def __post_init__(self) -> None:
        if not self.points or not self.points[0]:
            raise InputError("points = (): must be at least one point of at least one number")
        lengths = {len(point) for point in self.points}
        if len(lengths) > 1:
            raise InputError(f"points of {sorted(lengths)} numbers: all must have the same length")
        allowed = range(len(self.kinds))
        for point in self.points if self.kinds else ():
            if point[0] not in allowed:
                raise InputError(
                    f"kind {point[0]:g} of a point: must be a whole number from 0 to "
                    f"{len(self.kinds) - 1}, since there are {len(self.kinds)} kinds"
                )

    def sample(self, n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        points = self._points()
        if shape != points.shape[1:]:
            raise ValueError(
                f"Listed draws points {tuple(points.shape[1:])}, the parameter is {shape}"
            )
        n = whole("n", n, least=0)
        kind = points[:, 0] if self.kinds else torch.zeros(len(points))
        groups = [torch.nonzero(kind == k).flatten() for k in kind.unique()]
        of_draws = _balanced(n, len(groups), generator)
        rows = torch.empty(n, dtype=torch.long)
        for number, group in enumerate(groups):
            own = of_draws == number
            rows[own] = group[_balanced(int(own.sum()), len(group), generator)]
        return points[rows]

    def contains(self, values: Tensor) -> Tensor:
        apart = values.unsqueeze(1) - self._points().to(values.dtype)  # (n, k, d)
        return (apart.abs() <= SLACK).all(-1).any(1, keepdim=True).expand_as(values)

    def normalised(self, values: Tensor) -> Tensor:
        points = self._points().to(values.dtype)[:, bool(self.kinds) :]
        low, high = points.amin(0), points.amax(0)
        width = torch.where(high > low, high - low, math.inf)  # what does not differ says nothing
        scaled = (2 * values[:, bool(self.kinds) :] - low - high) / width
        if not self.kinds:
            return scaled
        one_per_kind = values[:, :1] == torch.arange(len(self.kinds), dtype=values.dtype)
        return torch.cat([one_per_kind.to(values.dtype), scaled], dim=1)

    def kinds_of(self, values: Tensor) -> list[str]:
        return [self.kinds[round(kind)] for kind in values[:, 0].tolist()] if self.kinds else []

    def describe(self) -> str:
        return f"{{{len(self.points)} point{'s' if len(self.points) > 1 else ''}}}"

    def _points(self) -> Tensor:
        return torch.tensor(self.points, dtype=torch.float64)


def _balanced(n: int, options: int, generator: Generator) -> Tensor:
    """n indices of options in random order, each floor(n/k) or ceil(n/k) times: (n,)."""
    order = torch.randperm(options, generator=generator)
    return order[torch.arange(n) % options][torch.randperm(n, generator=generator)]
