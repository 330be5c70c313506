"""The check of an adaptation: is the policy worse than it was?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from metarl.intervals import t_quantile

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
    return t_quantile(len(old) - 1, 1 - 2 * level) * spread  # one of its two tails
