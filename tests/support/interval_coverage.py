"""Coverage of intervals over runs and tasks, by simulation.

    python tests/support/interval_coverage.py        # the table in `metarl/evaluation/intervals.py`

A return is mean + seed's effect + task's effect + chance; all methods meet the same tasks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from metarl.evaluation.intervals import crossed_interval, improvement_interval
from metarl.evaluation.statistics import (
    Interval,
    Scores,
    Statistic,
    gap_closed,
    interquartile_mean,
    mean_score,
    paired_difference,
    probability_of_improvement,
    worst_tasks,
)


class Mix(NamedTuple):
    """Standard deviations of the effects."""

    seeds: float
    tasks: float
    chance: float
    """Of a run on a task."""


MIXES = (
    Mix(1, 1, 1),
    Mix(1, 0, 1),
    Mix(1, 1, 0.1),
    Mix(0.3, 1, 1),
    Mix(0.1, 1, 0.3),
    Mix(0.1, 0, 1),
    Mix(0, 1, 1),
    Mix(0, 0, 1),
)
SKEW = np.sqrt((np.e - 1) * np.e)


def normal_tasks(rng: np.random.Generator, num_tasks: int) -> Scores:
    return rng.normal(size=num_tasks)


def skewed_tasks(rng: np.random.Generator, num_tasks: int) -> Scores:
    """A few tasks are far worse than the others: minus a log-normal, standardised."""
    return -(rng.lognormal(size=num_tasks) - np.exp(0.5)) / SKEW


class Problem(NamedTuple):
    """A statistic of methods on the same tasks, by their means and how they feel the tasks."""

    statistic: Statistic
    means: tuple[float, ...]
    tasks: tuple[float, ...]
    """Factors on the tasks' effect."""
    truth: float | None = None
    """None: the statistic's expectation for as many runs and tasks, by simulation."""


MEAN = Problem(mean_score, (0,), (1,), 0)
DIFFERENCE = Problem(paired_difference, (1, 0), (1, 0.5), 1)
SHARE = Problem(gap_closed, (6, 0, 10), (0.7, 1, 0.4), 0.6)
IQM = Problem(interquartile_mean, (0,), (1,))
WORST = Problem(worst_tasks, (0,), (1,))
IMPROVEMENT = Problem(probability_of_improvement, (1, 0), (1, 1))

Tasks = Callable[[np.random.Generator, int], Scores]


def draw(
    problem: Problem,
    mix: Mix,
    runs: int,
    num_tasks: int,
    rng: np.random.Generator,
    tasks: Tasks = normal_tasks,
) -> list[Scores]:
    """A score matrix (runs, num_tasks) of each method."""
    effect = mix.tasks * tasks(rng, num_tasks)
    return [
        mean
        + factor * effect
        + mix.seeds * rng.normal(size=(runs, 1))
        + mix.chance * rng.normal(size=(runs, num_tasks))
        for mean, factor in zip(problem.means, problem.tasks, strict=True)
    ]


def coverage(
    problem: Problem,
    mix: Mix,
    runs: int,
    num_tasks: int,
    *,
    tasks: Tasks = normal_tasks,
    number: int = 500,
    interval: Callable[[Statistic, list[Scores]], Interval] = crossed_interval,
) -> float:
    """Percent of the intervals of `number` data sets that hold the truth."""
    rng = np.random.default_rng(0)
    truth = problem.truth
    if truth is None:
        drawn = (draw(problem, mix, runs, num_tasks, rng, tasks) for _ in range(4 * number))
        truth = float(np.mean([problem.statistic(*scores) for scores in drawn]))
    held = 0
    for _ in range(number):
        _, low, high = interval(problem.statistic, draw(problem, mix, runs, num_tasks, rng, tasks))
        held += low <= truth <= high
    return 100 * held / number


def pigeonhole(statistic: Statistic, scores: list[Scores]) -> Interval:
    """Percentile bootstrap of whole runs and whole tasks (Owen 2007), 300 resamples."""
    rng = np.random.default_rng(0)
    columns = rng.integers(scores[0].shape[1], size=(300, 1, scores[0].shape[1]))
    drawn = [m[rng.integers(len(m), size=(300, len(m), 1)), columns] for m in scores]
    low, high = np.percentile(statistic(*drawn), [2.5, 97.5])
    return Interval(float(statistic(*scores)), float(low), float(high))


def log_odds(statistic: Statistic, scores: list[Scores]) -> Interval:
    """The interval of the probability of improvement, the only statistic it is for."""
    del statistic
    return improvement_interval(*scores)


TABLE = (
    *(
        ("mean", MEAN, normal_tasks, num, runs, crossed_interval)
        for num in (20, 100)
        for runs in (2, 3, 5, 10)
    ),
    ("mean", MEAN, skewed_tasks, 20, 3, crossed_interval),
    ("mean", MEAN, skewed_tasks, 100, 3, crossed_interval),
    *(
        (name, problem, normal_tasks, num, 3, interval)
        for num in (20, 100)
        for name, problem, interval in (
            ("difference", DIFFERENCE, crossed_interval),
            ("share", SHARE, crossed_interval),
            ("IQM", IQM, crossed_interval),
            ("worst fifth", WORST, crossed_interval),
            ("improvement", IMPROVEMENT, log_odds),
            ("bootstrap", MEAN, pigeonhole),
        )
    ),
)


def main(wanted: Sequence[str]) -> None:
    """Print the lowest and the highest coverage over the mixes; of all or of some statistics."""
    for name, problem, tasks, num_tasks, runs, interval in TABLE:
        if wanted and name not in wanted:
            continue
        found = [
            coverage(problem, mix, runs, num_tasks, tasks=tasks, interval=interval) for mix in MIXES
        ]
        print(
            f"{name:12} {tasks.__name__:13} {num_tasks:4} tasks {runs:3} runs  "
            f"{min(found):.1f} to {max(found):.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
