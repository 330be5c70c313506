"""Diagonal Gaussians over actions: log-density, divergence and entropy as pure functions."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


class Gaussian(NamedTuple):
    """Diagonal Gaussians; `log_std` broadcasts against `mean`."""

    mean: Tensor  # (..., A)
    log_std: Tensor  # (..., A)


def log_prob(dist: Gaussian, output: Tensor) -> Tensor:
    """Log-density summed over action dimensions: (..., A) -> (...), nats.

    Summed, not averaged: the joint density of independent dimensions is their product, and an
    average would scale every likelihood ratio by 1/A.
    """
    z = (output - dist.mean) * torch.exp(-dist.log_std)
    return -0.5 * z.square().sum(-1) - (dist.log_std + 0.5 * LOG_2PI).sum(-1)


def kl_divergence(p: Gaussian, q: Gaussian) -> Tensor:
    """KL(p || q) summed over action dimensions: (..., A) -> (...), nats."""
    variance_ratio = torch.exp(2 * (p.log_std - q.log_std))
    distance = ((p.mean - q.mean) * torch.exp(-q.log_std)).square()
    return (q.log_std - p.log_std + 0.5 * (variance_ratio + distance - 1)).sum(-1)


def entropy(dist: Gaussian) -> Tensor:
    """Differential entropy summed over action dimensions: (..., A) -> (...), nats."""
    return (dist.log_std + 0.5 * (1 + LOG_2PI)).sum(-1)
