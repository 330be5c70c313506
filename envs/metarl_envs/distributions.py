"""Distributions over one task parameter: pure functions of (n, shape, generator)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


class Distribution(ABC):
    """A distribution over one parameter's values, with the set of values it can give."""

    @abstractmethod
    def sample(self, n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """(n, *shape) float64 values."""

    @abstractmethod
    def contains(self, values: Tensor) -> Tensor:
        """Whether each entry lies in the support: (n, *shape) -> (n, *shape) bool.

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


def _uniform(n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand((n, *shape), generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform over a union of disjoint intervals, each entry drawn independently."""

    intervals: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        for low, high in self.intervals:
            if not low < high:
                raise ValueError(f"Uniform: interval [{low}, {high}] must have low < high")

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
    exponents: tuple[tuple[float, float], ...]

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

    options: tuple[float, ...]

    def sample(self, n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        options = torch.tensor(self.options, dtype=torch.float64)
        options = options[torch.randperm(len(options), generator=generator)]
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
class Ring(Distribution):
    """Uniform by area over inner <= |p| <= outer in the plane; inner = 0 is a disc."""

    inner: float
    outer: float

    def sample(self, n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        if shape != (2,):
            raise ValueError(f"Ring: draws points of shape (2,), the parameter has shape {shape}")
        u = _uniform(n, (2,), generator)
        radius = torch.sqrt(self.inner**2 + u[:, 0] * (self.outer**2 - self.inner**2))
        angle = 2 * math.pi * u[:, 1]
        return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)

    def contains(self, values: Tensor) -> Tensor:
        radius = values.norm(dim=-1, keepdim=True)
        return ((radius >= self.inner) & (radius <= self.outer)).expand_as(values)

    def normalised(self, values: Tensor) -> Tensor:
        return values / self.outer

    def describe(self) -> str:
        return f"{self.inner:g} <= |p| <= {self.outer:g}"


@dataclass(frozen=True)
class SquareFrame(Distribution):
    """Uniform over the square of half-width `outer` without the one of half-width `inner`."""

    inner: float
    outer: float

    def sample(self, n: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        if shape != (2,):
            raise ValueError(f"SquareFrame: draws points, the parameter has shape {shape}")
        # Four congruent rectangles tile the frame: sample one, then turn it by quarter turns.
        u = _uniform(n, (2,), generator)
        x = self.inner + (self.outer - self.inner) * u[:, 0]
        y = -self.inner + (self.outer + self.inner) * u[:, 1]
        turns = torch.randint(4, (n,), generator=generator)
        cos = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=torch.float64)[turns]
        sin = torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=torch.float64)[turns]
        return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=1)

    def contains(self, values: Tensor) -> Tensor:
        size = values.abs().amax(dim=-1, keepdim=True)
        return ((size >= self.inner) & (size <= self.outer)).expand_as(values)

    def normalised(self, values: Tensor) -> Tensor:
        return values / self.outer

    def describe(self) -> str:
        return f"{self.inner:g} <= max(|x|, |y|) <= {self.outer:g}"


def interval(low: float, high: float) -> Uniform:
    """Uniform over one interval."""
    return Uniform(((low, high),))


def within_any(distributions: Sequence[Distribution], values: Tensor) -> Tensor:
    """Whether each entry lies in the support of at least one distribution: -> (n, *shape) bool."""
    return torch.stack([d.contains(values) for d in distributions]).any(dim=0)
