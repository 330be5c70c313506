"""Standardisation of observations by running statistics, which are entries of the parameters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metarl.policies.params import Params

VAR_FLOOR = 1e-8
"""Added to the variance of observations, so that a constant one is no division by 0."""
CLIP_OBSERVATIONS = 10.0
"""Largest magnitude of standardised observations."""


class Statistics(NamedTuple):
    """Statistics of observations."""

    mean: Tensor  # (..., O)
    variance: Tensor  # (..., O)
    samples: Tensor  # (..., 1) their number

    @staticmethod
    def fresh(size: int) -> Statistics:
        """Statistics of no observations (O,), which standardise to the same values."""
        return Statistics(torch.zeros(size), torch.ones(size), torch.zeros(1))

    def entries(self) -> Params:
        """Entries of a policy's parameters."""
        return {"obs_mean": self.mean, "obs_var": self.variance, "obs_count": self.samples}

    def standardised(self, observations: Tensor) -> Tensor:
        """Observations (..., S, O) with mean 0 and variance 1, clipped."""
        std = (self.variance + VAR_FLOOR).sqrt().unsqueeze(-2)
        standard = (observations - self.mean.unsqueeze(-2)) / std
        return standard.clamp(-CLIP_OBSERVATIONS, CLIP_OBSERVATIONS)

    @staticmethod
    def of(observations: Tensor) -> Statistics:
        """Statistics of observations (S, O), float64."""
        values = observations.double()
        samples = values.new_full((1,), len(values))
        return Statistics(values.mean(0), values.var(0, unbiased=False), samples)

    def updated(self, observations: Tensor) -> Statistics:
        """Statistics that include more observations (S, O), float64."""
        return self.including(Statistics.of(observations))

    def including(self, others: Statistics) -> Statistics:
        """Statistics of these and other observations, float64 (Chan et al. 1979)."""
        count, new = self.samples.double(), others.samples
        total = count + new
        delta = others.mean - self.mean.double()
        mean = self.mean.double() + delta * new / total
        within = self.variance.double() * count + others.variance * new
        variance = (within + delta.square() * count * new / total) / total
        return Statistics(mean, variance, total)
