"""Distributions over one task parameter: pure functions of (n, shape, generator)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import whole
from metarl_envs.inputs.plain import PlainFields

Intervals = tuple[tuple[float, float], ...]
"""(low, high) of each, bounds included."""


class Distribution(PlainFields, ABC):
    """A distribution over one parameter's values, with the set of values it can give."""

    finite: ClassVar[bool] = False
    """True for one that can give finitely many values."""

    @abstractmethod
    def sample(self, n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """(n, *shape) float64 values."""

    @abstractmethod
    def contains(self, values: Tensor) -> Tensor:
        """True for each entry in the support: (n, *shape) -> (n, *shape) bool.

        A distribution over points answers for the whole point, with the same flag in each entry.
        """

    @abstractmethod
    def normalised(self, values: Tensor) -> Tensor:
        """Values as a network reads them: (n, *shape) -> (n, F), the support within [-1, 1].

        Values outside the support lie outside [-1, 1]; a choice becomes one number per option, 1
        for the one chosen, all of them 0 for a value that is no option.
        """

    @abstractmethod
    def describe(self) -> str:
        """The support in a few characters, for tables and error messages."""

    def kinds_of(self, values: Tensor) -> list[str]:
        """Name of each value's kind, of n values (n, *shape); [] where there are no kinds."""
        del values
        return []


def _uniform(n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand((whole("n", n, least=0), *shape), generator=generator, dtype=torch.float64)


def _check_intervals(name: str, intervals: Intervals) -> None:
    if not intervals:
        raise InputError(f"{name} = (): must be at least one (low, high)")
    for low, high in intervals:
        if not low < high:
            raise InputError(f"{name}: interval [{low}, {high}] must have low < high")


@dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform over a union of disjoint intervals, each entry drawn independently."""

    intervals: Intervals

    def __post_init__(self) -> None:
        _check_intervals("intervals", self.intervals)

    def sample(self, n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        lows = torch.tensor([low for low, _ in self.intervals], dtype=torch.float64)
        widths = torch.tensor([high - low for low, high in self.intervals], dtype=torch.float64)
        # Position along the intervals laid end to end, then back to the interval it fell in.
        position = _uniform(n, shape, generator) * widths.sum()
        starts = torch.cumsum(widths, 0) - widths
        index = torch.searchsorted(starts, position, right=True) - 1
        return lows[index] + (position - starts[index])

    def contains(self, values: Tensor) -> Tensor:
        inside = torch.zeros_like(values, dtype=torch.bool)
        for low, high in self.intervals:
            inside |= (values >= low) & (values <= high)
        return inside

    def normalised(self, values: Tensor) -> Tensor:
        low = min(low for low, _ in self.intervals)
        high = max(high for _, high in self.intervals)
        return (2 * (values - low) / (high - low) - 1).reshape(len(values), -1)

    def describe(self) -> str:
        return " or ".join(f"[{low:g}, {high:g}]" for low, high in self.intervals)


@dataclass(frozen=True)
class LogUniform(Distribution):
    """base ** Uniform(intervals of exponents): the form of randomised-dynamics papers."""

    base: float
    """Above 0 and not 1."""
    exponents: Intervals

    def __post_init__(self) -> None:
        if self.base <= 0 or self.base == 1:
            raise InputError(f"base = {self.base}: must be greater than 0, and not 1")
        _check_intervals("exponents", self.exponents)

    def sample(self, n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        return self.base ** Uniform(self.exponents).sample(n, shape, generator)

    def contains(self, values: Tensor) -> Tensor:
        positive = values > 0
        exponents = torch.log(values.clamp(min=1e-300)) / math.log(self.base)
        # A bound given in decimal digits must count as inside, hence the slack of 1e-6.
        slack = tuple((low - 1e-6, high + 1e-6) for low, high in self.exponents)
        return positive & Uniform(slack).contains(exponents)

    def normalised(self, values: Tensor) -> Tensor:
        return Uniform(self.exponents).normalised(torch.log(values) / math.log(self.base))

    def describe(self) -> str:
        return " or ".join(
            f"[{self.base**low:.3g}, {self.base**high:.3g}]" for low, high in self.exponents
        )


@dataclass(frozen=True)
class Choice(Distribution):
    """One of finitely many numbers, in balanced shares.

    n draws hold each value floor(n/k) or ceil(n/k) times, in random order. Each single draw is
    uniform; balance only removes the variance of how often each value appears in a meta-batch.
    """

    finite: ClassVar[bool] = True
    options: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise InputError("options = (): must be at least one number")

    def sample(self, n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        options = torch.tensor(self.options, dtype=torch.float64)
        options = options[torch.randperm(len(options), generator=generator)]
        n = whole("n", n, least=0)
        count = n * math.prod(shape)
        drawn = options[torch.arange(count) % len(options)]
        return drawn[torch.randperm(count, generator=generator)].reshape(n, *shape)

    def contains(self, values: Tensor) -> Tensor:
        options = torch.tensor(self.options, dtype=values.dtype)
        return (values.unsqueeze(-1) == options).any(-1)

    def normalised(self, values: Tensor) -> Tensor:
        options = torch.tensor(self.options, dtype=values.dtype)
        return (values.unsqueeze(-1) == options).to(values.dtype).reshape(len(values), -1)

    def describe(self) -> str:
        return "{" + ", ".join(f"{option:g}" for option in self.options) + "}"


@dataclass(frozen=True)
class _Planar(Distribution):
    """Points (2,) of the plane between two similar outlines, drawn as a whole."""

    inner: float
    outer: float

    def __post_init__(self) -> None:
        if not 0 <= self.inner < self.outer:
            raise InputError(
                f"inner = {self.inner}, outer = {self.outer}: must be 0 <= inner < outer"
            )

    def sample(self, n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        if shape != (2,):
            raise ValueError(f"{type(self).__name__} draws points (2,), the parameter is {shape}")
        return self._points(_uniform(n, shape, generator), generator)

    def contains(self, values: Tensor) -> Tensor:
        size = self._size(values)
        return ((size >= self.inner) & (size <= self.outer)).expand_as(values)

    def normalised(self, values: Tensor) -> Tensor:
        return values / self.outer

    @abstractmethod
    def _points(self, u: Tensor, generator: Generator) -> Tensor:
        """Points (n, 2) from uniform numbers (n, 2) in [0, 1)."""

    @abstractmethod
    def _size(self, values: Tensor) -> Tensor:
        """The half-width of the outline through each point: (..., 2) -> (..., 1)."""


@dataclass(frozen=True)
class Ring(_Planar):
    """Uniform by area over inner <= |p| <= outer in the plane; inner = 0 is a disc."""

    def _points(self, u: Tensor, generator: Generator) -> Tensor:
        radius = torch.sqrt(self.inner**2 + u[:, 0] * (self.outer**2 - self.inner**2))
        angle = 2 * math.pi * u[:, 1]
        return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)

    def _size(self, values: Tensor) -> Tensor:
        return values.norm(dim=-1, keepdim=True)

    def describe(self) -> str:
        return f"{self.inner:g} <= |p| <= {self.outer:g}"


@dataclass(frozen=True)
class SquareFrame(_Planar):
    """Uniform over the square of half-width `outer` without the one of half-width `inner`."""

    def _points(self, u: Tensor, generator: Generator) -> Tensor:
        # Four congruent rectangles tile the frame: sample one, then turn it by quarter turns.
        x = self.inner + (self.outer - self.inner) * u[:, 0]
        y = -self.inner + (self.outer + self.inner) * u[:, 1]
        turns = torch.randint(4, (len(u),), generator=generator)
        cos = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=torch.float64)[turns]
        sin = torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=torch.float64)[turns]
        return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=1)

    def _size(self, values: Tensor) -> Tensor:
        return values.abs().amax(dim=-1, keepdim=True)

    def describe(self) -> str:
        return f"{self.inner:g} <= max(|x|, |y|) <= {self.outer:g}"


def interval(low: float, high: float) -> Uniform:
    """Uniform over one interval."""
    return Uniform(((low, high),))


def within_any(distributions: Sequence[Distribution], values: Tensor) -> Tensor:
    """True for each entry in the support of at least one distribution: -> (n, *shape) bool."""
    return torch.stack([d.contains(values) for d in distributions]).any(dim=0)


DRAWN = 2**14
"""Points drawn to test whether distributions over points overlap."""


def overlap(one: Distribution, other: Distribution, shape: tuple[int, ...]) -> bool:
    """True if two supports of values (*shape) share more than end points.

    Exact for distributions that draw each entry independently. For others, such as rings, points
    drawn from each are tested in the other, which may miss a common part below a thousandth of
    both.
    """
    ours, theirs = _intervals(one), _intervals(other)
    if ours is not None and theirs is not None:
        return any(_share(a, b) for a in ours for b in theirs)
    generator = Generator().manual_seed(0)
    return any(
        bool(into.contains(drawn.sample(DRAWN, shape, generator)).reshape(DRAWN, -1).all(1).any())
        for drawn, into in ((one, other), (other, one))
    )


def lowest(distribution: Distribution, shape: tuple[int, ...]) -> float:
    """The least value that an entry can have; for points drawn as a whole, the least drawn."""
    intervals = _intervals(distribution)
    if intervals is not None:
        return min(low for low, _ in intervals)
    return float(distribution.sample(DRAWN, shape, Generator().manual_seed(0)).min())


def _intervals(distribution: Distribution) -> Intervals | None:
    """The intervals of each entry, a choice as single points; None for points drawn as a whole."""
    if isinstance(distribution, Uniform):
        return distribution.intervals
    if isinstance(distribution, LogUniform):
        ends = [[distribution.base**e for e in pair] for pair in distribution.exponents]
        return tuple((min(pair), max(pair)) for pair in ends)
    if isinstance(distribution, Choice):
        return tuple((option, option) for option in distribution.options)
    return None


def _share(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """True if two intervals share more than an end point, or two single numbers are equal."""
    return one == other or not (_before(one, other) or _before(other, one))


def _before(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """True if an interval ends where the other begins, up to rounding, or earlier."""
    return one[1] <= other[0] or math.isclose(one[1], other[0], rel_tol=1e-9)
