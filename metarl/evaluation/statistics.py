"""Statistics of evaluations, in NumPy: robust means, comparisons, and their intervals.

R runs (seeds) of one method on the same M tasks make a score matrix (R, M), as in rliable (Agarwal
et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]
"""(..., R, M): leading axes are resamples."""
Statistic = Callable[..., NDArray[np.float64]]
"""One score matrix or several, each (..., R_i, M), to numbers (...)."""
AT_ONCE = 250
"""Resamples held in memory at a time."""


class Interval(NamedTuple):
    """An estimate with its confidence interval; NaN bounds where there is too little data."""

    estimate: float
    low: float
    high: float

    def text(self, sign: str = "", digits: int = 1) -> str:
        """As people read it: "3.1 [2.0, 4.2]", without brackets where there are no bounds."""
        if np.isnan(self.low):
            return f"{self.estimate:{sign}z.{digits}f}"
        estimate, low, high = (f"{value:{sign}z.{digits}f}" for value in self)
        return f"{estimate} [{low}, {high}]"


def iqm(values: ArrayLike) -> float:
    """Interquartile mean of all values: the mean without the lowest and highest quarter."""
    return float(interquartile_mean(np.asarray(values, dtype=np.float64).reshape(1, -1)))


def interquartile_mean(scores: Scores) -> NDArray[np.float64]:
    """Interquartile mean over runs and tasks together: (..., R, M) -> (...).

    Each side drops floor(n/4) of the n values (Agarwal et al. 2021; the 25 % trimmed mean).
    """
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def mean_score(scores: Scores) -> NDArray[np.float64]:
    """Mean over runs and tasks: (..., R, M) -> (...)."""
    return scores.mean(axis=(-2, -1))


def worst_tasks(scores: Scores, share: float = 0.2) -> NDArray[np.float64]:
    """CVaR: the mean over the worst share of tasks, each by its mean over runs: -> (...).

    Where the share is no whole number of tasks, the last one counts in part (Rockafellar and
    Uryasev 2002, for a discrete distribution).
    """
    tasks = np.sort(scores.mean(axis=-2), axis=-1)
    counted = share * tasks.shape[-1]
    weights = np.clip(counted - np.arange(tasks.shape[-1]), 0, 1)
    return (tasks * weights).sum(axis=-1) / counted


def probability_of_improvement(better: Scores, worse: Scores) -> NDArray[np.float64]:
    """P(X > Y) of a run of each on the same task, averaged over tasks; a tie counts half.

    The Mann-Whitney statistic over the number of pairs: (..., R, M), (..., R', M) -> (...).
    """
    x, y = better[..., :, None, :], worse[..., None, :, :]
    return ((x > y) + 0.5 * (x == y)).mean(axis=(-3, -2, -1))


def paired_difference(better: Scores, worse: Scores) -> NDArray[np.float64]:
    """Difference of the means over runs and tasks: (..., R, M), (..., R', M) -> (...)."""
    return mean_score(better) - mean_score(worse)


def gap_closed(reached: Scores, lower: Scores, upper: Scores) -> NDArray[np.float64]:
    """How far from one mean to another a third one lies: 0 at `lower`, 1 at `upper`.

    A ratio of differences of means, (..., R_i, M) each -> (...): not bounded, and without meaning
    where `upper` is not above `lower`.
    """
    return paired_difference(reached, lower) / paired_difference(upper, lower)


def each_run(statistic: Statistic, scores: Scores) -> list[float]:
    """A statistic of every run alone: (R, M) -> R numbers."""
    return [float(statistic(run[None])) for run in scores]


def stratified_interval(
    statistic: Statistic,
    scores: Sequence[Scores],
    rng: np.random.Generator,
    *,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """A statistic of score matrices with rliable's percentile bootstrap interval.

    Runs are drawn anew within each task, as if a run on one task told nothing of the same run on
    another. Where a seed is good or bad on all tasks at once, as policies are, it is too narrow:
    for comparison with intervals that were made alike.

    Args:
        statistic: of all the matrices.
        scores: each (R_i, M), on the same M tasks; the matrices' runs are independent.
        rng: source of the resamples.
        resamples: how many.
        level: coverage, in (0, 1).

    Returns:
        The statistic and its bounds; NaN where there is one run of each.

    Raises:
        ValueError: if the matrices differ in their tasks.
    """
    num_tasks = shared_tasks(scores)
    if num_tasks == 0:
        return Interval(np.nan, np.nan, np.nan)
    estimate = float(statistic(*scores))
    if all(len(matrix) < 2 for matrix in scores):
        return Interval(estimate, np.nan, np.nan)
    tasks = np.arange(num_tasks)
    drawn: list[NDArray[np.float64]] = []
    for first in range(0, resamples, AT_ONCE):
        count = min(AT_ONCE, resamples - first)
        runs = [rng.integers(len(m), size=(count, len(m), num_tasks)) for m in scores]
        drawn.append(statistic(*(m[chosen, tasks] for m, chosen in zip(scores, runs, strict=True))))
    return Interval(estimate, *_percentiles(np.concatenate(drawn), level))


def shared_tasks(scores: Sequence[Scores]) -> int:
    """Number M of tasks that score matrices (R_i, M) share.

    Raises:
        ValueError: if they differ in their tasks.
    """
    num_tasks = scores[0].shape[1]
    if any(matrix.shape[1] != num_tasks for matrix in scores):
        raise ValueError(f"score matrices of shapes {[m.shape for m in scores]}: tasks differ")
    return num_tasks


def _percentiles(drawn: NDArray[np.float64], level: float) -> tuple[float, float]:
    tail = 50 * (1 - level)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)


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
    return Interval(float(sample.mean()), *_percentiles(totals / n, level))
