"""Several runs measured on the same tasks: what each method reaches, and how sure that is."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.adaptation_curve import Evaluation, SplitEvaluation
from metarl.intervals import crossed_interval, improvement_interval
from metarl.statistics import (
    Interval,
    Scores,
    Statistic,
    each_run,
    interquartile_mean,
    mean_score,
    stratified_interval,
    worst_tasks,
)
from metarl_envs import SPLITS, InputError, Split

STRATIFIED = (
    "`stratified`: rliable's percentile bootstrap of runs within each task, which is too narrow "
    "where a seed is good or bad on all tasks"
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

    @property
    def intervals(self) -> str:
        """What the intervals cover: the seeds of each method and the tasks, or tasks only."""
        repeated = [split for split in self.splits if self._groups(split) is not None]
        tasks = f"tasks (of {' and '.join(repeated)}: their repetitions)" if repeated else "tasks"
        if repeated == self.splits:
            tasks = "repetitions of the same tasks"
        seeds = {method.label: len(method.runs) for method in self.methods}
        single = [label for label, number in seeds.items() if number == 1]
        if len(single) == len(seeds):
            return f"95 % t intervals over {tasks} only (one seed)"
        several = {label: number for label, number in seeds.items() if number > 1}
        if len(set(several.values())) == 1:
            text = f"95 % t intervals over {next(iter(several.values()))} seeds and {tasks}"
        else:
            listed = ", ".join(f"{label} {number}" for label, number in several.items())
            text = f"95 % t intervals over seeds ({listed}) and {tasks}"
        return text + (f"; over {tasks} only: {', '.join(single)} (one seed)" if single else "")

    def interval(self, statistic: Statistic, scores: Sequence[Scores], split: Split) -> Interval:
        """A statistic of score matrices of a split with its 95 % interval (see `intervals`)."""
        return crossed_interval(statistic, scores, groups=self._groups(split))

    def improvement(self, better: Scores, worse: Scores, split: Split) -> Interval:
        """Probability that a run is better than another on the same task, with its 95 % interval.

        The scores are of a split, (R, M) and (R', M).
        """
        return improvement_interval(better, worse, groups=self._groups(split))

    def _groups(self, split: Split) -> NDArray[np.int64] | None:
        """Which task each sound one is, where they are a few with repetitions: (M,).

        Those of a finite family are no sample of anything, only their repetitions are.
        """
        first = _of(self._runs[0], split)
        repeated = len(first.groups[1]) < len(first.tasks)
        return first.groups[0][self.sound(split)] if repeated else None

    def by_run(self, method: MethodRuns, split: Split, point: int) -> list[float]:
        """Mean return of each run of a method at one point of the curve."""
        if not method.adapts:
            return each_run(mean_score, self.repeated(method, split))
        return each_run(mean_score, self.scores(method, split, point))

    def summary(self) -> dict[str, Any]:
        """Plain JSON values; intervals are [estimate, low, high]."""
        first = self._runs[0]
        return {
            "format": "metarl-comparison",
            "family": first.family.name,
            "note": first.note,
            "horizon": first.horizon,
            "seed": first.seed,
            "intervals": (
                f"`crossed`: {self.intervals}; `by_run`: each seed alone; {STRATIFIED}; null where "
                "nothing varies"
            ),
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
                        self.improvement(
                            self.scores(a, split, last), self.scores(b, split, last), split
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
        rng = np.random.default_rng([self._runs[0].seed, SPLITS.index(split), 0xC0])
        for point, (steps, episodes) in enumerate(self.schedule):
            scores = self.scores(method, split, point)
            points.append(
                {
                    "gradient_steps": steps,
                    "adaptation_episodes": episodes,
                    "runs": len(scores),
                }
                | {
                    name: {
                        "crossed": list(self.interval(statistic, [scores], split)),
                        "by_run": each_run(statistic, scores),
                        "stratified": list(stratified_interval(statistic, [scores], rng)),
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
            "interquartile mean, and mean of the worst fifth of tasks",
            *textwrap.wrap(f"[{self.intervals}]", 98),
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
                if len(method.runs) > 1:
                    lines += self._seed_lines(method, split, 2 + wide + 2)
        return "\n".join(lines)

    def _seed_lines(self, method: MethodRuns, split: Split, indent: int) -> list[str]:
        """Each seed's own interquartile mean at the last point."""
        scores = self.scores(method, split, len(self.schedule) - 1)
        text = f"seeds in the end: {seeds_text(each_run(interquartile_mean, scores))}"
        return textwrap.wrap(text, 98, initial_indent=" " * indent, subsequent_indent=" " * indent)


def seeds_text(values: Sequence[float], digits: int = 1) -> str:
    """Each seed's own value, as people read it: "3.1, 2.0, 4.2"."""
    return ", ".join(f"{value:z.{digits}f}" for value in values)


def _of(run: Evaluation, split: Split) -> SplitEvaluation:
    return next(result for result in run.splits if result.split == split)
