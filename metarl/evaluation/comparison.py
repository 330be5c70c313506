"""Several runs measured on the same tasks: what each method reaches, and how sure that is."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.evaluation.budgets import budgets_text, env_steps
from metarl.evaluation.intervals import crossed_interval, improvement_interval
from metarl.evaluation.labels import NO_CONTROL, verdict
from metarl.evaluation.results import Evaluation, SplitEvaluation
from metarl.evaluation.statistics import (
    Interval,
    Scores,
    Statistic,
    each_run,
    interquartile_mean,
    mean_score,
    stratified_interval,
    worst_tasks,
)
from metarl.methods.baselines import RANDOM
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

    @property
    def controlled(self) -> bool:
        """Whether every run has been measured with another task's adapted parameters too."""
        return all(result.controls is not None for run in self.runs for result in run.splits)


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
        # Noise is the random baseline's only action, so it says nothing about how others were
        # measured.
        how = {r.measured_by for m in self.methods if m.method != RANDOM for r in m.runs}
        if len(how) > 1:
            raise InputError(f"runs cannot be compared, they were measured by: {sorted(how)}")

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
        """Tasks (M,) that have a sound episode in every measurement of every run."""
        measured = []
        for run in self._runs:
            result = _of(run, split)
            measured += [result.returns, *(rows[1:] for rows in result.controls or ())]
        return np.all([np.isfinite(rows).all(axis=0) for rows in measured], 0)

    def scores(self, method: MethodRuns, split: Split, point: int) -> Scores:
        """Returns of the method's runs on the sound tasks at one point of the curve: (R, M)."""
        kept = self.sound(split)
        return np.array([_of(run, split).returns[point][kept] for run in method.runs])

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

    def controls(self, method: MethodRuns, split: Split, point: int) -> tuple[Scores, Scores]:
        """Returns of a controlled method with another task's adapted parameters, and their mean.

        Each (R, M), at a point after adaptation.
        """
        kept = self.sound(split)
        found = [_of(run, split).controls for run in method.runs]
        other = np.array([controls.other[point][kept] for controls in found if controls])
        averaged = np.array([controls.averaged[point][kept] for controls in found if controls])
        return other, averaged

    def gain_over_other(self, method: MethodRuns, split: Split, point: int) -> Interval | None:
        """What a task's own adapted parameters return more than another task's, on average.

        None before adaptation, and for a method without controls.
        """
        if not method.controlled or self.schedule[point][0] == 0:
            return None
        other, _ = self.controls(method, split, point)
        return self.interval(mean_score, [self.scores(method, split, point) - other], split)

    def verdict(self, method: MethodRuns, split: Split) -> str:
        """What an adapting method's gain at the last point is, in words."""
        last = len(self.schedule) - 1
        gain = self.interval(mean_score, [self.gains(method, split, last)], split)
        return verdict(gain, self.gain_over_other(method, split, last))

    def env_steps(self, method: MethodRuns) -> float | None:
        """Environment steps that a method was trained for, as far as they are known."""
        return env_steps(method.runs, self._runs)

    @property
    def budgets(self) -> str:
        """What each method was trained for, and whether that is alike, in one line."""
        return budgets_text({method.label: self.env_steps(method) for method in self.methods})

    @property
    def measured(self) -> str:
        """Which policies were measured, and how."""
        found = []
        for method in self.methods:
            policies = dict.fromkeys(run.policy for run in method.runs)
            named = " and ".join(filter(None, policies)) or "given"
            found.append(f"{method.label} {named}, {method.runs[0].measured_by}")
        return f"measured: {'; '.join(found)}"

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
            "measured_by": {m.label: m.runs[0].measured_by for m in self.methods},
            "measured_policies": {m.label: [run.policy for run in m.runs] for m in self.methods},
            "env_steps": {m.label: self.env_steps(m) for m in self.methods},
            "budgets": self.budgets,
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
            "verdicts": {m.label: self.verdict(m, split) for m in self.methods if m.adapts},
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
                    "controls": self._control_summary(method, split, point),
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

    def _control_summary(
        self, method: MethodRuns, split: Split, point: int
    ) -> dict[str, Any] | None:
        over = self.gain_over_other(method, split, point)
        if over is None:
            return None
        own = self.scores(method, split, point)
        other, averaged = self.controls(method, split, point)
        return {
            "another_task": list(self.interval(mean_score, [other], split)),
            "gain_over_another_task": list(over),
            "mean_of_tasks": list(self.interval(mean_score, [averaged], split)),
            "gain_over_mean": list(self.interval(mean_score, [own - averaged], split)),
        }

    def table(self) -> str:
        """The curves as plain text, at most 100 columns."""
        first = self._runs[0]
        wide = max(len(method.label) for method in self.methods)
        lines = [
            f"{first.family.name}, {first.horizon} steps per episode, seed {first.seed}",
            first.note,
            *textwrap.wrap(self.budgets, 98, subsequent_indent="  "),
            *textwrap.wrap(self.measured, 98, subsequent_indent="  "),
            "interquartile mean, and mean of the worst fifth of tasks",
            *textwrap.wrap(f"[{self.intervals}]", 98),
        ]
        for split in self.splits:
            kept = self.sound(split)
            left_out = f", {int((~kept).sum())} left out (diverged)" if not kept.all() else ""
            lines += ["", f"{split}: {int(kept.sum())} tasks{left_out}"]
            lines.append(f"  {'':<{wide}}  runs  steps  episodes  {'return':<26}  worst fifth")
            for method in self.methods:
                # What does not adapt is the same at every point.
                shown = self.schedule if method.adapts else self.schedule[:1]
                for point, (steps, episodes) in enumerate(shown):
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
            if adapting := [method for method in self.methods if method.adapts]:
                lines.append(
                    f"  {'':<{wide}}  {'':>4}  steps  episodes  {'own less another task':<26}  "
                    "another's  mean of all"
                )
                for method in adapting:
                    lines += self._control_lines(method, split, wide)
        return "\n".join(lines)

    def _seed_lines(self, method: MethodRuns, split: Split, indent: int) -> list[str]:
        """Each seed's own interquartile mean at the last point."""
        scores = self.scores(method, split, len(self.schedule) - 1)
        text = f"seeds in the end: {seeds_text(each_run(interquartile_mean, scores))}"
        return textwrap.wrap(text, 98, initial_indent=" " * indent, subsequent_indent=" " * indent)

    def _control_lines(self, method: MethodRuns, split: Split, wide: int) -> list[str]:
        """What a method's adapted parameters are worth on their own tasks, and on others."""
        if not method.controlled:
            return [f"  {method.label:<{wide}}  {NO_CONTROL}"]
        lines = []
        for point, (steps, episodes) in enumerate(self.schedule):
            over = self.gain_over_other(method, split, point)
            if over is None:
                continue
            other, averaged = (scores.mean() for scores in self.controls(method, split, point))
            label = "" if lines else method.label
            lines.append(
                f"  {label:<{wide}}  {'':>4}  {steps:>5}  {episodes:>8}  {over.text('+'):<26}  "
                f"{other:>z9.1f}  {averaged:>z11.1f}"
            )
        return [*lines, f"  {'':<{wide}}  {self.verdict(method, split)}"]


def seeds_text(values: Sequence[float], digits: int = 1) -> str:
    """Each seed's own value, as people read it: "3.1, 2.0, 4.2"."""
    return ", ".join(f"{value:z.{digits}f}" for value in values)


def _of(run: Evaluation, split: Split) -> SplitEvaluation:
    return next(result for result in run.splits if result.split == split)
