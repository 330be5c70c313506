"""The check of an adaptation: is the policy worse than it was?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

FALSE_ALARMS = 0.05
"""How often a check takes back an adaptation that changed nothing, where returns are normal. A
false alarm costs an adaptation; a fall that goes unseen may cost the robot."""


def fell(before: ArrayLike, after: ArrayLike, level: float = FALSE_ALARMS) -> tuple[bool, float]:
    """Whether the mean return fell by more than its noise, and how far that reaches.

    A one-sided t test of a difference of means. The noise is that of the episodes before alone,
    with B - 1 degrees of freedom: of those after there are few, by a policy whose noise may be
    another one. Where fewer than two are left before, nothing is known of the noise, and any fall
    counts.

    Args:
        before: returns of episodes without a fault, (B,).
        after: the same of the policy after, (C,); where there is none, it fell.
        level: share of false alarms, in (0, 0.5).
    """
    old, new = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if len(new) == 0:
        return True, 0.0
    margin = noise_margin(old, len(new), level) if len(old) > 1 else 0.0
    return bool(len(old) > 0 and new.mean() < old.mean() - margin), margin


def noise_margin(before: ArrayLike, count: int, level: float = FALSE_ALARMS) -> float:
    """How far below the mean of B >= 2 returns that of `count` more falls once in 1 / level."""
    old = np.asarray(before, dtype=np.float64)
    spread = float(old.std(ddof=1)) * math.sqrt(1 / len(old) + 1 / count)
    return t_quantile(1 - level, len(old) - 1) * spread


def t_quantile(share: float, freedom: int) -> float:
    """Student's t below which `share`, in [0.5, 1), of its distribution lies."""
    low, high = 0.0, 1.0
    while t_share(high, freedom) < share:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_share(middle, freedom) < share else (low, middle)
    return high


def t_share(t: float, freedom: int) -> float:
    """Share of Student's distribution below t (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for n in range(3 if odd else 2, freedom - 1, 2):
        term *= math.cos(angle) ** 2 * (n - 1) / n
        total += term
    within = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return 0.5 + within / 2
