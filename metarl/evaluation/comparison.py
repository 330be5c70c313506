"""Comparison of runs on the same tasks: seeds grouped into methods, returns with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.evaluation.budgets import env_steps, steps_text, unequal
from metarl.evaluation.intervals import crossed_interval, improvement_interval
from metarl.evaluation.kinds import by_kind
from metarl.evaluation.method_runs import MethodPoint, MethodRuns
from metarl.evaluation.results import Evaluation, SplitEvaluation
from metarl.evaluation.statistics import (
    Interval,
    Scores,
    Statistic,
    bootstrap_interval,
    each_run,
    interquartile_mean,
    mean_score,
    worst_tasks,
)
from metarl.methods.baselines import RANDOM
from metarl.runs.files import plain
from metarl_envs import SPLITS, InputError, Split

STATISTICS = {"iqm": interquartile_mean, "mean": mean_score, "worst_fifth": worst_tasks}


@dataclass(frozen=True)
class Comparison:
    """Methods on the same tasks of one family, in the order in which they were given."""

    methods: tuple[MethodRuns, ...]

    def __post_init__(self) -> None:
        expected = _conditions(self._runs[0])
        for run in self._runs:
            for name, value in _conditions(run).items():
                if value != expected[name]:
                    shown = "" if name == "tasks" else f": {expected[name]} and {value}"
                    raise InputError(f"runs cannot be compared, their {name} differ{shown}")
        self._check_schedules()
        # The random baseline acts by its noise alone, whatever the others are measured by.
        measured = {r.measured_by for m in self.methods if m.method != RANDOM for r in m.runs}
        if len(measured) > 1:
            raise InputError(f"runs cannot be compared, they were measured by: {sorted(measured)}")

    @property
    def _runs(self) -> list[Evaluation]:
        return [run for method in self.methods for run in method.runs]

    @property
    def first(self) -> Evaluation:
        """The first run, which has the family, horizon and seed of all."""
        return self._runs[0]

    @property
    def splits(self) -> list[Split]:
        """The splits measured."""
        return [result.split for result in self.first.splits]

    def _check_schedules(self) -> None:
        """Refuse curves without common points: all are read at the same episodes of a trial."""
        episodes = [number for _, number in self.schedule]
        for run in self._runs:
            alike = self._reference.remembers or run.schedule == self.schedule
            if run.remembers:
                alike = set(episodes) <= {number for _, number in run.schedule}
            if not alike:
                raise InputError(
                    "runs cannot be compared, their adaptation differ: "
                    f"{self.schedule} and {run.schedule}"
                )

    @cached_property
    def _reference(self) -> Evaluation:
        """The run whose points are those of the comparison.

        One that takes gradient steps, if there is any: a policy with a belief, which takes none, is
        measured after more numbers of episodes, and one that does not adapt is the same at all.
        """
        ranks = {(True, False): 0, (True, True): 1, (False, False): 2}
        return min(self._runs, key=lambda run: ranks[run.adapts, run.remembers])

    @property
    def schedule(self) -> list[tuple[int, int]]:
        """(gradient steps, adaptation episodes) of each point of the curves.

        The steps are those of the methods that take some.
        """
        return self._reference.schedule

    def steps(self, method: MethodRuns, point: int) -> tuple[int, int]:
        """(gradient steps, adaptation episodes) of a method at one point of its curve."""
        run = method.runs[0]
        return run.schedule[self._row(run, point)] if run.remembers else self.schedule[point]

    def _row(self, run: Evaluation, point: int) -> int:
        """The row of a run's returns that belongs to a point."""
        if not run.adapts:
            return 0
        if not run.remembers:
            return point
        _, episodes = self.schedule[point]
        return [number for _, number in run.schedule].index(episodes)

    def valid(self, split: Split) -> NDArray[np.bool_]:
        """Tasks (M,) that have a valid episode in every measurement of every run."""
        results = [_of(run, split) for run in self._runs]
        measured = [result.returns for result in results]
        controls = [rows for result in results for rows in result.controls or ()]
        measured += [rows[1:] for rows in controls if rows is not None]
        return np.all([np.isfinite(rows).all(axis=0) for rows in measured], 0)

    def scores(self, method: MethodRuns, split: Split, point: int) -> Scores:
        """Returns of the method's runs on the valid tasks at one point of the curve: (R, M)."""
        kept = self.valid(split)
        rows = [_of(run, split).returns[self._row(run, point)] for run in method.runs]
        return np.array(rows)[:, kept]

    def successes(self, method: MethodRuns, split: Split, point: int) -> Scores:
        """Shares of successful episodes, as `scores` has returns: (R, M)."""
        kept = self.valid(split)
        rows = [_of(run, split).quantity[self._row(run, point)] for run in method.runs]
        return np.array(rows)[:, kept]

    def controls(
        self, method: MethodRuns, split: Split, point: int
    ) -> tuple[Scores, Scores | None]:
        """Returns with another task's parameters or belief, and with the mean of all: (R, M) each.

        Of a controlled method, at a point after adaptation. There is no mean of beliefs.
        """
        kept = self.valid(split)
        found = [(c, self._row(r, point)) for r in method.runs if (c := _of(r, split).controls)]
        other = np.array([controls.other[row] for controls, row in found])[:, kept]
        averaged = [c.averaged[row] for c, row in found if c.averaged is not None]
        return other, np.array(averaged)[:, kept] if averaged else None

    def first_rewards(self, method: MethodRuns, split: Split) -> NDArray[np.float64] | None:
        """Reward at each step of a trial's first episode, the mean over valid tasks: (R, T).

        None where a run was measured without.
        """
        kept = self.valid(split)
        rewards = [_of(run, split).first_rewards for run in method.runs]
        known = [rows[kept].mean(0) for rows in rewards if rows is not None]
        return np.array(known) if len(known) == len(rewards) else None

    def interval(self, statistic: Statistic, scores: Sequence[Scores], split: Split) -> Interval:
        """A statistic of score matrices of a split with its 95 % interval (see `intervals`)."""
        return crossed_interval(statistic, scores, groups=self._groups(split))

    def improvement(self, better: Scores, worse: Scores, split: Split) -> Interval:
        """Probability that a run is better than another on the same task, with its interval."""
        return improvement_interval(better, worse, groups=self._groups(split))

    def _groups(self, split: Split) -> NDArray[np.int64] | None:
        """Number of each valid task where a finite family's are repeated: (M,); None otherwise."""
        result = _of(self.first, split)
        return result.groups[0][self.valid(split)] if result.repeated else None

    def point(self, method: MethodRuns, split: Split, point: int) -> MethodPoint:
        """All numbers of a method at one point of its curve, without its share of the gap."""
        before, own = (self.scores(method, split, i) for i in (0, point))

        def mean(scores: Scores) -> Interval:
            return self.interval(mean_score, [scores], split)

        controls: tuple[Interval | None, ...] = (None,) * 4
        if method.controlled and self.schedule[point][1] > 0:
            other, averaged = self.controls(method, split, point)
            controls = mean(other), mean(own - other), None, None
            if averaged is not None:
                controls = *controls[:2], mean(averaged), mean(own - averaged)
        return MethodPoint(
            method,
            split,
            *self.steps(method, point),
            mean(own),
            self.interval(interquartile_mean, [own], split),
            self.interval(worst_tasks, [own], split),
            mean(own - before) if method.adapts else None,
            *controls,
            success=mean(self.successes(method, split, point))
            if self.first.family.measures_success
            else None,
        )

    def by_run(self, method: MethodRuns, split: Split, point: int) -> list[float]:
        """Mean return of each run of a method at one point of the curve."""
        return each_run(mean_score, self.scores(method, split, point))

    def env_steps(self, method: MethodRuns) -> float | None:
        """Environment steps that a method was trained for, as far as they are known."""
        return env_steps(method.runs, self._runs)

    @property
    def intervals(self) -> str:
        """Coverage of the intervals: the seeds of each method and the tasks, or tasks only."""
        repeated = [split for split in self.splits if self._groups(split) is not None]
        tasks = f"tasks (of {' and '.join(repeated)}: their repetitions)" if repeated else "tasks"
        if repeated == self.splits:
            tasks = "repetitions of the same tasks"
        single = [m.label for m in self.methods if len(m.runs) == 1]
        several = {m.label: len(m.runs) for m in self.methods if len(m.runs) > 1}
        if not several:
            return f"95 % t intervals over {tasks} only (one seed)"
        listed = ", ".join(f"{label} {number}" for label, number in several.items())
        numbers = set(several.values())
        over = f"seeds ({listed})" if len(numbers) > 1 else f"{numbers.pop()} seeds"
        alone = f"; over {tasks} only: {', '.join(single)} (one seed)" if single else ""
        return f"95 % t intervals over {over} and {tasks}{alone}"

    @property
    def budgets(self) -> str:
        """Training steps of each method, and whether they differ, in one line."""
        steps = {method.label: self.env_steps(method) for method in self.methods}
        differ = " differ" if unequal(list(steps.values())) else ""
        listed = ", ".join(f"{label} {steps_text(value)}" for label, value in steps.items())
        return f"environment steps of training{differ}: {listed}"

    @property
    def measured(self) -> str:
        """Policies that were measured, and their way of acting, in one line."""
        texts = []
        for method in self.methods:
            policies = dict.fromkeys(run.policy for run in method.runs)
            named = " and ".join(filter(None, policies)) or "given"
            texts.append(f"{method.label} {named}, {method.runs[0].measured_by}")
        return f"measured: {'; '.join(texts)}"

    def summary(self) -> dict[str, Any]:
        """Plain JSON values; intervals are [estimate, low, high], null where nothing varies."""
        summary = {
            "format": "metarl-comparison",
            "family": self.first.family.name,
            "note": self.first.note,
            "horizon": self.first.horizon,
            "seed": self.first.seed,
            "intervals": (
                f"`crossed`: {self.intervals}; `by_run`: each seed alone; `stratified`: "
                "rliable's percentile bootstrap of runs within each task, which is too narrow "
                "where a seed is good or bad on all tasks; null where nothing varies"
            ),
            "measured_by": {m.label: m.runs[0].measured_by for m in self.methods},
            "measured_policies": {m.label: [run.policy for run in m.runs] for m in self.methods},
            "env_steps": {m.label: self.env_steps(m) for m in self.methods},
            "budgets": self.budgets,
            "methods": {m.label: [run.metadata for run in m.runs] for m in self.methods},
            "splits": {split: self._split_summary(split) for split in self.splits},
        }
        return plain(summary)

    def _split_summary(self, split: Split) -> dict[str, Any]:
        kept = self.valid(split)
        ends = {m.label: self.scores(m, split, -1) for m in self.methods}
        return {
            "tasks": int(kept.sum()),
            "tasks_left_out": int((~kept).sum()),
            "curves": {m.label: self._curve(m, split) for m in self.methods},
            "verdicts": {
                m.label: self.point(m, split, -1).verdict for m in self.methods if m.adapts
            },
            "probability_of_improvement": {
                a: {b: self.improvement(ends[a], ends[b], split) for b in ends if b != a}
                for a in ends
            },
        }

    def _curve(self, method: MethodRuns, split: Split) -> list[dict[str, Any]]:
        rng = np.random.default_rng([self.first.seed, SPLITS.index(split), 0xC0])
        points, family = [], self.first.family
        kinds = np.array(family.kinds_of(_of(self.first, split).tasks))
        kinds = kinds[self.valid(split)].tolist() if len(kinds) else []
        for index in range(len(self.schedule)):
            point, scores = self.point(method, split, index), self.scores(method, split, index)
            controls = {
                "another_task": point.other,
                "gain_over_another_task": point.gain_over_other,
                "mean_of_tasks": point.averaged,
                "gain_over_mean": point.gain_over_averaged,
            }
            about = {
                "gradient_steps": point.gradient_steps,
                "adaptation_episodes": point.adaptation_episodes,
                "runs": len(scores),
                "controls": controls if point.other else None,
                "success": point.success,
                "kinds": by_kind(
                    kinds,
                    scores,
                    self.successes(method, split, index),
                    success=family.measures_success,
                ),
            }
            measured = {
                name: {
                    "crossed": getattr(point, name),
                    "by_run": each_run(statistic, scores),
                    "stratified": bootstrap_interval(statistic, [scores], rng),
                }
                for name, statistic in STATISTICS.items()
            }
            points.append(about | measured)
        return points


def _conditions(run: Evaluation) -> dict[str, Any]:
    """Conditions that must be equal in all runs of a comparison."""
    return {
        "family": run.family.name,
        "horizon": run.horizon,
        "seed of the evaluation": run.seed,
        "splits": [result.split for result in run.splits],
        "tasks": [result.tasks.to_json() for result in run.splits],
    }


def _of(run: Evaluation, split: Split) -> SplitEvaluation:
    return next(result for result in run.splits if result.split == split)
