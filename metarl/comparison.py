"""Several runs measured on the same tasks: what each method reaches, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.adaptation_curve import Evaluation, SplitEvaluation
from metarl.statistics import (
    Interval,
    Resampling,
    Scores,
    Statistic,
    interquartile_mean,
    matrix_interval,
    mean_score,
    probability_of_improvement,
    worst_tasks,
)
from metarl_envs import SPLITS, InputError, Split

INTERVALS = (
    "95 % percentile bootstrap, 2000 resamples. `crossed` draws whole runs and whole tasks (a new "
    "seed on new tasks); `stratified` draws runs within each task, as rliable does (new runs on "
    "these tasks); null where there is nothing to resample"
)

STATISTICS: dict[str, Statistic] = {
    "iqm": interquartile_mean,
    "mean": mean_score,
    "worst_fifth": worst_tasks,
}


@dataclass(frozen=True)
class MethodRuns:
    """All runs of one method, of different seeds."""

    label: str
    runs: tuple[Evaluation, ...]
    method: str = ""
    """The name it is registered by, where it is a registered one."""

    @property
    def adapts(self) -> bool:
        """False for policies that stay as they are."""
        return any(run.adapts for run in self.runs)


@dataclass(frozen=True)
class Comparison:
    """Methods on the same tasks of one family, in the order in which they were given."""

    methods: tuple[MethodRuns, ...]

    def __post_init__(self) -> None:
        first = self._runs[0]
        for run in self._runs:
            for name, of in (
                ("family", lambda e: e.family.name),
                ("horizon", lambda e: e.horizon),
                ("seed of the evaluation", lambda e: e.seed),
                ("splits", lambda e: [result.split for result in e.splits]),
                ("adaptation", lambda e: e.schedule),
                ("tasks", lambda e: [result.tasks.to_json() for result in e.splits]),
            ):
                if of(run) != of(first):
                    shown = f": {of(first)} and {of(run)}" if name != "tasks" else ""
                    raise InputError(f"runs cannot be compared, their {name} differ{shown}")

    @property
    def _runs(self) -> list[Evaluation]:
        return [run for method in self.methods for run in method.runs]

    @property
    def splits(self) -> list[Split]:
        """The splits measured."""
        return [result.split for result in self._runs[0].splits]

    @property
    def schedule(self) -> list[tuple[int, int]]:
        """(gradient steps, adaptation episodes) of each point of the curves."""
        return self._runs[0].schedule

    def sound(self, split: Split) -> NDArray[np.bool_]:
        """Tasks (M,) that have a sound episode in every collection of every run."""
        return np.all([np.isfinite(_of(run, split).returns).all(axis=0) for run in self._runs], 0)

    def scores(self, method: MethodRuns, split: Split, point: int) -> Scores:
        """Returns of the method's runs on the sound tasks at one point of the curve: (R, M)."""
        kept = self.sound(split)
        return np.array([_of(run, split).returns[point][kept] for run in method.runs])

    def repeated(self, method: MethodRuns, split: Split) -> Scores:
        """The same of a method that does not adapt, whose collections are repetitions: (R, M).

        Their mean; points that saw a part of the episodes are no collections of their own.
        """
        full = self._runs[0].episodes_per_step
        points = [i for i, (k, used) in enumerate(self.schedule) if used == k * full]
        return np.mean([self.scores(method, split, point) for point in points], axis=0)

    def gains(self, method: MethodRuns, split: Split, point: int) -> Scores:
        """Returns at one point of the curve less those before adaptation: (R, M)."""
        return self.scores(method, split, point) - self.scores(method, split, 0)

    def interval(
        self,
        statistic: Statistic,
        scores: Sequence[Scores],
        split: Split,
        resampling: Resampling = "crossed",
    ) -> Interval:
        """A statistic of score matrices of a split with its 95 % interval.

        The tasks of a finite family are no sample of anything, only their repetitions are: these
        are drawn within each task.
        """
        first = _of(self._runs[0], split)
        repeated = len(first.groups[1]) < len(first.tasks)
        groups = first.groups[0][self.sound(split)] if repeated else None
        rng = np.random.default_rng([self._runs[0].seed, SPLITS.index(split), 0xC0])
        return matrix_interval(statistic, scores, rng, resampling=resampling, groups=groups)

    def summary(self) -> dict[str, Any]:
        """Plain JSON values; intervals are [estimate, low, high]."""
        first = self._runs[0]
        return {
            "format": "metarl-comparison",
            "family": first.family.name,
            "note": first.note,
            "horizon": first.horizon,
            "seed": first.seed,
            "intervals": INTERVALS,
            "methods": {m.label: [run.metadata for run in m.runs] for m in self.methods},
            "splits": {split: self._split_summary(split) for split in self.splits},
        }

    def _split_summary(self, split: Split) -> dict[str, Any]:
        kept = self.sound(split)
        last = len(self.schedule) - 1
        return {
            "tasks": int(kept.sum()),
            "tasks_left_out": int((~kept).sum()),
            "curves": {m.label: self._curve(m, split) for m in self.methods},
            "probability_of_improvement": {
                a.label: {
                    b.label: list(
                        self.interval(
                            probability_of_improvement,
                            [self.scores(a, split, last), self.scores(b, split, last)],
                            split,
                        )
                    )
                    for b in self.methods
                    if b is not a
                }
                for a in self.methods
            },
        }

    def _curve(self, method: MethodRuns, split: Split) -> list[dict[str, Any]]:
        points = []
        for point, (steps, episodes) in enumerate(self.schedule):
            scores = self.scores(method, split, point)
            measure = partial(self.interval, scores=[scores], split=split)
            points.append(
                {
                    "gradient_steps": steps,
                    "adaptation_episodes": episodes,
                    "runs": len(scores),
                }
                | {
                    name: {
                        kind: list(measure(statistic, resampling=kind))
                        for kind in ("crossed", "stratified")
                    }
                    for name, statistic in STATISTICS.items()
                }
            )
        return points

    def table(self) -> str:
        """The curves as plain text, at most 100 columns."""
        first = self._runs[0]
        wide = max(len(method.label) for method in self.methods)
        lines = [
            f"{first.family.name}, {first.horizon} steps per episode, seed {first.seed}",
            first.note,
            "interquartile mean, and mean of the worst fifth of tasks [95 %: new seed, new tasks]",
        ]
        for split in self.splits:
            kept = self.sound(split)
            left_out = f", {int((~kept).sum())} left out (diverged)" if not kept.all() else ""
            lines += ["", f"{split}: {int(kept.sum())} tasks{left_out}"]
            lines.append(f"  {'':<{wide}}  runs  steps  episodes  {'return':<26}  worst fifth")
            for method in self.methods:
                for point, (steps, episodes) in enumerate(self.schedule):
                    scores = self.scores(method, split, point)
                    middle, worst = (
                        self.interval(statistic, [scores], split).text()
                        for statistic in (interquartile_mean, worst_tasks)
                    )
                    label = method.label if point == 0 else ""
                    lines.append(
                        f"  {label:<{wide}}  {len(scores) if point == 0 else '':>4}  {steps:>5}  "
                        f"{episodes:>8}  {middle:<26}  {worst}"
                    )
        return "\n".join(lines)


def _of(run: Evaluation, split: Split) -> SplitEvaluation:
    return next(result for result in run.splits if result.split == split)
