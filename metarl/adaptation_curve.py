"""The adaptation curve: what an evaluation measured, with its intervals, as table and records."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.captions import quantity_label, task_text
from metarl.params import Params
from metarl.statistics import Interval, bootstrap_interval, iqm
from metarl_envs import SPLITS, Split, TaskFamily, Tasks

Array = NDArray[np.float64]
MAX_TASKS_SHOWN = 8
"""A split with more distinct tasks is shown by three of them."""


class Point(NamedTuple):
    """One point of an adaptation curve."""

    gradient_steps: int
    adaptation_episodes: int
    returns: Interval
    """Mean return over tasks."""
    gain: Interval
    """Mean over tasks of the return minus the same task's return before adaptation."""


class Adapted(NamedTuple):
    """The parameters that a few of the tasks ended with."""

    tasks: Tasks
    params: Params
    """After all K steps on all episodes, each (number of these tasks, ...), on the CPU."""


@dataclass(frozen=True)
class SplitEvaluation:
    """Collections on M tasks of one split, before and after adaptation, P in all."""

    split: Split
    tasks: Tasks
    returns: Array  # (P, M) mean over episodes; NaN where all of them diverged
    quantity: Array  # (P, M) the family's physical quantity, likewise
    faulted_episodes: int
    failed_adaptations: int
    """Tasks whose gradient step was not finite, so that they kept their parameters."""
    adapted: Adapted | None = None
    """Of the first tasks that did adapt; None for a policy that does not, and where none did."""

    @cached_property
    def groups(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of the distinct tasks each task is, (M,), and where each first appears."""
        rows = np.concatenate(
            [value.reshape(len(self.tasks), -1).numpy() for value in self.tasks.values.values()],
            axis=1,
        )
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        return inverse.reshape(-1), first

    @property
    def gains(self) -> Array:
        """Return at each point minus before, task by task: (P, M)."""
        return self.returns - self.returns[:1]


@dataclass(frozen=True)
class Evaluation:
    """The adaptation curve of one policy on one or more splits of its family."""

    family: TaskFamily
    splits: tuple[SplitEvaluation, ...]
    horizon: int
    episodes_per_step: int
    seed: int
    metadata: dict[str, Any]
    """Of the policy."""
    adapts: bool = True
    """False for a policy that stays as it is: its curve is one measurement, repeated."""
    points: tuple[tuple[int, int], ...] = ()
    """(gradient steps, adaptation episodes) of each row of returns, by rising episodes. (): row k
    is k steps, each on all `episodes_per_step`."""

    @property
    def schedule(self) -> list[tuple[int, int]]:
        """(gradient steps, adaptation episodes) of each point, the first one without any."""
        if self.points:
            return list(self.points)
        return [(k, k * self.episodes_per_step) for k in range(len(self.splits[0].returns))]

    def over_steps(self) -> Evaluation:
        """The points of 0..K steps that saw all their episodes."""
        full = self.episodes_per_step
        return self._rows([i for i, (k, used) in enumerate(self.schedule) if used == k * full])

    def over_episodes(self) -> Evaluation:
        """The points of all K steps, and the one before adaptation."""
        last = self.schedule[-1][0]
        return self._rows([i for i, (k, _) in enumerate(self.schedule) if k in (0, last)])

    def _rows(self, kept: list[int]) -> Evaluation:
        splits = (
            dataclasses.replace(r, returns=r.returns[kept], quantity=r.quantity[kept])
            for r in self.splits
        )
        points = tuple(self.schedule[i] for i in kept)
        return dataclasses.replace(self, splits=tuple(splits), points=points)

    @property
    def note(self) -> str:
        """What the splits hold out."""
        if not self.family.is_finite:
            return "test: tasks not trained on, from the same ranges"
        note = f"{self.family.name} trains on finitely many tasks: nothing held out"
        if any(result.split == "extrapolation" for result in self.splits):
            note += " but the tasks of extrapolation"
        return note

    @property
    def intervals(self) -> str:
        """What the intervals cover; never the luck of training, as this is one run."""
        first = self.splits[0]
        repeated = len(first.groups[1]) < len(first.tasks)
        tasks = "repetitions of the same tasks" if repeated else "tasks"
        return f"95 % bootstrap over {tasks} only (one seed)"

    def curve(self, result: SplitEvaluation) -> list[Point]:
        """The curve with 95 % bootstrap intervals over tasks.

        A finite family's tasks are all there, each run several times: its intervals resample the
        runs of each task and say how sure its mean is, nothing about further tasks.
        """
        rng = np.random.default_rng([self.seed, SPLITS.index(result.split)])
        strata = result.groups[0] if len(result.groups[1]) < len(result.tasks) else None

        def interval(values: Array) -> Interval:
            sound = np.isfinite(values)
            return bootstrap_interval(
                values[sound], rng, strata=None if strata is None else strata[sound]
            )

        return [
            Point(steps, episodes, interval(returns), interval(gains))
            for (steps, episodes), returns, gains in zip(
                self.schedule, result.returns, result.gains, strict=True
            )
        ]

    def records(self) -> list[dict[str, float | int | str]]:
        """Tidy rows, one per split, task and number of gradient steps."""
        rows = []
        for result in self.splits:
            for index in range(len(result.tasks)):
                parameters = _columns(result.tasks.describe(index))
                rows += [
                    {"split": result.split, "task": index}
                    | parameters
                    | {
                        "gradient_steps": steps,
                        "adaptation_episodes": episodes,
                        "return": float(result.returns[k, index]),
                        self.family.quantity: float(result.quantity[k, index]),
                    }
                    for k, (steps, episodes) in enumerate(self.schedule)
                ]
        return rows

    def summary(self) -> dict[str, Any]:
        """Plain JSON values; intervals are [mean, low, high], null where undefined."""
        return {
            "family": self.family.name,
            "note": self.note,
            "horizon": self.horizon,
            "episodes_per_step": self.episodes_per_step,
            "seed": self.seed,
            "interval": f"{self.intervals}; percentiles of 2000 resamples",
            "adapts": self.adapts,
            "policy": self.metadata,
            "splits": {result.split: self._split_summary(result) for result in self.splits},
        }

    def _split_summary(self, result: SplitEvaluation) -> dict[str, Any]:
        gains = result.gains[-1]
        sound = gains[np.isfinite(gains)]
        return {
            "tasks": len(result.tasks),
            "distinct_tasks": len(result.groups[1]),
            "curve": [
                {
                    "gradient_steps": point.gradient_steps,
                    "adaptation_episodes": point.adaptation_episodes,
                    "return": _plain(point.returns),
                    "gain": _plain(point.gain),
                }
                for point in self.curve(result)
            ],
            "iqm_gain": iqm(sound) if len(sound) else None,
            "faulted_episodes": result.faulted_episodes,
            "failed_adaptations": result.failed_adaptations,
        }

    def table(self) -> str:
        """The curves and some tasks as plain text, at most 100 columns."""
        lines = [
            f"{self.family.name}, {self.horizon} steps per episode, seed {self.seed}",
            self.note,
        ]
        if not self.adapts:
            lines.append("the policy does not adapt: what changes along its curve is chance")
        if "task" in self.metadata:
            lines.append(f"it was trained on one task alone: {self.metadata['task']}")
        for result in self.splits:
            lines += ["", *self._split_table(result)]
        return "\n".join(lines)

    def _split_table(self, result: SplitEvaluation) -> list[str]:
        runs, distinct = len(result.tasks), len(result.groups[1])
        repeated = distinct < runs
        size = f"{distinct} tasks, {runs} runs in all" if repeated else f"{runs} tasks"
        lines = [
            f"{result.split}: {size}; mean return [{self.intervals}]",
            f"  {'gradient steps':>14}  {'episodes used':>13}  {'return':<26}  gain over step 0",
        ]
        for point in self.curve(result):
            gain = point.gain.text("+") if point.gradient_steps else ""
            lines.append(
                f"  {point.gradient_steps:>14}  {point.adaptation_episodes:>13}  "
                f"{point.returns.text():<26}  {gain}".rstrip()
            )
        shown = self._shown_tasks(result)
        wide = max(len(label) for label, _ in shown)
        quantity, unit = quantity_label(self.family.quantity)
        lines.append(f"  {'':<{wide}}  {'return':<18}  {quantity}{f', {unit}' if unit else ''}")
        for label, members in shown:
            returns = _change(result.returns, members, 1)
            amounts = _change(result.quantity, members, 2)
            lines.append(f"  {label:<{wide}}  {returns:<18}  {amounts}")
        if result.faulted_episodes or result.failed_adaptations:
            lines.append(
                f"  left out: {result.faulted_episodes} episodes that diverged; "
                f"{result.failed_adaptations} tasks kept their parameters (gradient not finite)"
            )
        return lines

    def _shown_tasks(self, result: SplitEvaluation) -> list[tuple[str, NDArray[np.int64]]]:
        """Every task of a few; otherwise those with the largest, the median and no gain."""
        group, first = result.groups
        text = [task_text(self.family, result.tasks, int(index)) for index in first]
        if len(first) <= MAX_TASKS_SHOWN:
            return [(text[g], np.flatnonzero(group == g)) for g in range(len(first))]
        gains = np.nan_to_num(result.gains[-1], nan=-math.inf)
        order = np.argsort(-gains, kind="stable")
        ranks = {"largest gain": 0, "median": len(order) // 2, "smallest": len(order) - 1}
        return [
            (f"{name}: {task_text(self.family, result.tasks, int(order[rank]))}", order[[rank]])
            for name, rank in ranks.items()
        ]


def _columns(values: dict[str, float | list[float]]) -> dict[str, float]:
    """Vectors become one column per entry: goal_0, goal_1."""
    columns: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, list):
            columns |= {f"{name}_{i}": entry for i, entry in enumerate(value)}
        else:
            columns[name] = value
    return columns


def _change(values: Array, members: NDArray[np.int64], digits: int) -> str:
    """The members' mean before the first and after the last step."""
    before, after = (f"{_mean(row[members]):z.{digits}f}" for row in (values[0], values[-1]))
    return f"{before} -> {after}"


def _mean(values: Array) -> float:
    sound = values[np.isfinite(values)]
    return float(sound.mean()) if len(sound) else math.nan


def _plain(interval: Interval) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in interval]
