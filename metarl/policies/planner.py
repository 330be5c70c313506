"""Planners: sequences of actions that a model expects to return most, for many worlds at once.

Both sample around the plan of the step before, so that a plan gets better from step to step. They
are pure functions: their noise is given, and the worlds never mix.

Axes: any number of leading ones, C candidates, H steps, A action, R rounds of sampling.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

Returns = Callable[[Tensor], Tensor]
"""Return of each candidate: (..., C, H, A) -> (..., C). What is not finite counts as worst."""
PlannerName = Literal["icem", "mppi"]
ELITES = 8
"""Candidates that the next round samples around."""
KEPT = 3
"""Of the elites, those that meet the next round's candidates again."""
MOMENTUM = 0.1
"""Share of the mean and deviation that a round leaves as they were."""


class Bounds(NamedTuple):
    """Least and largest actions, each (A,)."""

    low: Tensor
    high: Tensor


class Plan(NamedTuple):
    """A planner's result."""

    best: Tensor  # (..., H, A) of which the first action is taken
    mean: Tensor  # (..., H, A) which the next step begins with


def icem(
    start: Tensor, returns: Returns, noise: Tensor, std: float, bounds: Bounds, temperature: float
) -> Plan:
    """The cross-entropy method with few samples (Pinneri et al. 2020, arXiv:2008.06389).

    Coloured noise, elites that stay, and the mean among the last round's candidates. The best of
    the last round is taken. Unlike there, every round has as many candidates, and elites do not
    outlive the step, in which the plan itself does.

    Args:
        start: plan to sample around, (..., H, A).
        returns: of candidates.
        noise: of unit variance, (R, C, H, A).
        std: deviation of the first round's candidates.
        bounds: of actions.
        temperature: not read.
    """
    del temperature
    mean, spread = start, torch.full_like(start, std)
    kept = elites = mean.unsqueeze(-3)
    for sampled in noise:
        candidates = mean.unsqueeze(-3) + spread.unsqueeze(-3) * sampled
        candidates = torch.cat([kept, candidates.clamp(bounds.low, bounds.high)], dim=-3)
        best = _finite(returns(candidates)).topk(ELITES, dim=-1).indices
        elites = candidates.gather(-3, best[..., None, None].expand(*best.shape, *start.shape[-2:]))
        mean = elites.mean(-3).lerp(mean, MOMENTUM)
        spread = elites.std(-3, correction=0).lerp(spread, MOMENTUM)
        kept = torch.cat([elites[..., :KEPT, :, :], mean.unsqueeze(-3)], dim=-3)
    return Plan(elites[..., 0, :, :], mean)


def mppi(
    start: Tensor, returns: Returns, noise: Tensor, std: float, bounds: Bounds, temperature: float
) -> Plan:
    """Model predictive path integral control (Williams et al. 2017, Algorithm 2).

    Candidates count by the exponential of their returns, in standard deviations of them, so that
    the temperature needs no unit.

    Args:
        start, returns, noise, bounds: as of `icem`.
        std: deviation of the candidates.
        temperature: deviations of the returns in which a candidate's weight falls by e.
    """
    mean = start
    for sampled in noise:
        candidates = mean.unsqueeze(-3) + std * sampled
        candidates = torch.cat(
            [mean.unsqueeze(-3), candidates.clamp(bounds.low, bounds.high)], dim=-3
        )
        found = _finite(returns(candidates))
        scale = temperature * found.std(-1, keepdim=True).clamp(min=1e-6)
        weights = torch.softmax(found / scale, dim=-1)
        mean = (weights[..., None, None] * candidates).sum(-3)
    return Plan(mean, mean)


PLANNERS = {"icem": icem, "mppi": mppi}


def shifted(plan: Tensor) -> Tensor:
    """The plan one step later, its last action twice: (..., H, A)."""
    return torch.cat([plan[..., 1:, :], plan[..., -1:, :]], dim=-2)


@functools.cache
def planner_noise(
    shape: tuple[int, int, int, int], color: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Fixed noise of unit variance, (R, C, H, A), the same for every world and step.

    So a plan follows from belief and observation alone, and nothing is drawn as a policy acts. One
    model of half-cheetah-crippled returned 201 with it, and 156 with other noise at each of eight
    steps in turn (30 tasks, seed 0, before this form).

    Args:
        shape: (R, C, H, A).
        color: exponent, >= 0, by which the spectral density falls with the frequency: 0 is white,
            and the larger, the smoother are the candidates.
        dtype, device: of the tensor, which is made once and not to be changed.
    """
    R, C, H, A = shape
    white = torch.randn((R, C, A, 2 * H), generator=Generator().manual_seed(0)).double()
    spectrum = torch.fft.rfft(white)
    frequencies = torch.fft.rfftfreq(2 * H).clamp(min=1 / (2 * H)).double()
    colored = torch.fft.irfft(spectrum * frequencies ** (-color / 2), n=2 * H)[..., :H]
    unit = colored / colored.square().mean().sqrt()
    return unit.transpose(-1, -2).to(device, dtype).contiguous()


def _finite(returns: Tensor) -> Tensor:
    """Returns in which what is not finite is below all others."""
    return torch.nan_to_num(returns, nan=-1e9, posinf=-1e9, neginf=-1e9)
