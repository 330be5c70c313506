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
"""Resamples of which the statistic is computed at a time."""


class Interval(NamedTuple):
    """An estimate with its confidence interval; NaN bounds where there is too little data."""

    estimate: float
    low: float
    high: float

    def text(self, sign: str = "", digits: int = 1) -> str:
        """Text such as "3.1 [2.0, 4.2]", without brackets where there are no bounds."""
        if np.isnan(self.low):
            return f"{self.estimate:{sign}z.{digits}f}"
        estimate, low, high = (f"{value:{sign}z.{digits}f}" for value in self)
        return f"{estimate} [{low}, {high}]"


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
    """Position of a mean between two others: 0 at `lower`, 1 at `upper`.

    A ratio of differences of means, (..., R_i, M) each -> (...): not bounded, and without meaning
    where `upper` is not above `lower`.
    """
    return paired_difference(reached, lower) / paired_difference(upper, lower)


def each_run(statistic: Statistic, scores: Scores) -> list[float]:
    """A statistic of every run alone: (R, M) -> R numbers."""
    return [float(statistic(run[None])) for run in scores]


def bootstrap_interval(
    statistic: Statistic,
    scores: Sequence[Scores],
    rng: np.random.Generator,
    *,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """A statistic of score matrices with its percentile bootstrap interval (Efron 1979).

    Runs are drawn anew within each task, as in rliable: the tasks are fixed, and a run on one task
    counts as independent of the same run on another. Where a seed is good or bad on all tasks at
    once, as policies are, the interval is too narrow; see `intervals.crossed_interval`.

    Args:
        statistic: of all the matrices.
        scores: each (R_i, M), on the same M tasks; the matrices' runs are independent.
        rng: source of the resamples.
        resamples: how many.
        level: coverage, in (0, 1).

    Returns:
        The statistic and its bounds; NaN bounds where no matrix has two runs.

    Raises:
        ValueError: if the matrices differ in their tasks.
    """
    num_tasks = shared_tasks(scores)
    if not all(matrix.size for matrix in scores):
        return Interval(np.nan, np.nan, np.nan)
    estimate = float(statistic(*scores))
    if all(len(matrix) < 2 for matrix in scores):
        return Interval(estimate, np.nan, np.nan)
    runs = [rng.integers(len(m), size=(resamples, len(m), num_tasks)) for m in scores]
    tasks = np.arange(num_tasks)
    drawn = [
        statistic(
            *(m[r[first : first + AT_ONCE], tasks] for m, r in zip(scores, runs, strict=True))
        )
        for first in range(0, resamples, AT_ONCE)
    ]
    tail = 50 * (1 - level)
    low, high = np.percentile(np.concatenate(drawn), [tail, 100 - tail])
    return Interval(estimate, float(low), float(high))


def mean_interval(
    values: ArrayLike, rng: np.random.Generator, groups: NDArray[np.int64] | None = None
) -> Interval:
    """Mean of n independent values, such as tasks, with its bootstrap interval.

    Args:
        values: (n,).
        rng: source of the resamples.
        groups: (n,) group numbers; resampling keeps every group's size. For repetitions of a few
            fixed tasks: the tasks are no sample of anything, their repetitions are.
    """
    sample = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    if groups is None:
        return bootstrap_interval(mean_score, [sample], rng)
    parts = [sample[groups == group] for group in np.unique(groups)]
    if not parts:
        return Interval(np.nan, np.nan, np.nan)
    interval = bootstrap_interval(_pooled_mean, parts, rng)
    return interval._replace(estimate=float(sample.mean()))  # a sum over parts rounds otherwise


def _pooled_mean(*parts: Scores) -> NDArray[np.float64]:
    """Mean of all values of several matrices: (..., R_i, M) -> (...)."""
    count = sum(part.shape[-2] * part.shape[-1] for part in parts)
    return np.sum([part.sum(axis=(-2, -1)) for part in parts], axis=0) / count


def shared_tasks(scores: Sequence[Scores]) -> int:
    """Number M of tasks that score matrices (R_i, M) share.

    Raises:
        ValueError: if they differ in their tasks.
    """
    num_tasks = scores[0].shape[1]
    if any(matrix.shape[1] != num_tasks for matrix in scores):
        raise ValueError(f"score matrices of shapes {[m.shape for m in scores]}: tasks differ")
    return num_tasks


def numbers_text(values: Sequence[float], digits: int = 1) -> str:
    """Numbers in a row: "3.1, 2.0, 4.2"."""
    return ", ".join(f"{value:z.{digits}f}" for value in values)
