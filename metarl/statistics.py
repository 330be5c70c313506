"""Statistics of evaluations, in NumPy: interquartile mean and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Interval(NamedTuple):
    """An estimate with its confidence interval; NaN bounds where there is too little data."""

    estimate: float
    low: float
    high: float


def iqm(values: ArrayLike) -> float:
    """Interquartile mean: the mean without the lowest and highest quarter, (n,) -> ().

    Each side drops floor(n/4) values (Agarwal et al. 2021; the 25 % trimmed mean of rliable).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64).reshape(-1))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def bootstrap_interval(
    values: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
    strata: Sequence[int] | NDArray[np.int64] | None = None,
) -> Interval:
    """Mean of n values with its percentile bootstrap interval (Efron 1979).

    Args:
        values: (n,). Each is one independent unit, such as a task.
        rng: source of the resamples.
        resamples: bootstrap means that the percentiles are taken from.
        level: coverage, in (0, 1).
        strata: (n,) group numbers; resampling then keeps every group's size. For units that are
            repeated runs of a few fixed tasks: the tasks are no sample of anything, the runs are.

    Returns:
        The mean and its bounds. A bootstrap needs variation to resample: where no group holds two
        values the bounds are NaN.
    """
    sample = np.asarray(values, dtype=np.float64).reshape(-1)
    n = len(sample)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan)
    groups = np.zeros(n, dtype=np.int64) if strata is None else np.asarray(strata)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    if all(len(member) < 2 for member in members):
        return Interval(float(sample.mean()), np.nan, np.nan)
    totals = np.zeros(resamples)
    for member in members:
        drawn = rng.integers(len(member), size=(resamples, len(member)))
        totals += sample[member][drawn].sum(axis=1)
    tail = 50 * (1 - level)
    low, high = np.percentile(totals / n, [tail, 100 - tail])
    return Interval(float(sample.mean()), float(low), float(high))
