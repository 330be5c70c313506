"""Results of an evaluation: adaptation curves with intervals, as records and as JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.evaluation.kinds import by_kind
from metarl.evaluation.labels import carried, verdict
from metarl.evaluation.statistics import Interval, interquartile_mean, mean_interval
from metarl.policies.params import Params
from metarl.runs.files import plain
from metarl_envs import SPLITS, Split, TaskFamily, Tasks

Array = NDArray[np.float64]
MeasuredBy = Literal["mean action", "with action noise"]
"""Action of the policy in measured episodes; it always explores in adaptation episodes."""


class Control(NamedTuple):
    """Returns of tasks with adapted parameters of other tasks."""

    returns: Interval
    """Mean return over tasks."""
    gain_over: Interval
    """Mean over tasks of the return with their own adapted parameters less this."""

    def summary(self) -> dict[str, Interval]:
        """Both intervals by their names in files."""
        return {"return": self.returns, "gain_over": self.gain_over}


class Point(NamedTuple):
    """One point of an adaptation curve."""

    gradient_steps: int
    adaptation_episodes: int
    returns: Interval
    """Mean return over tasks."""
    gain: Interval
    """Mean over tasks of the return minus the same task's return before adaptation."""
    other: Control | None
    """With another task's adapted parameters; None before adaptation, and where there are none."""
    averaged: Control | None
    """With the mean of all tasks' adapted parameters; None likewise, and for beliefs."""
    remembers: bool = False
    """True for a policy with a belief; `gain` is then that over the first episode."""
    success: Interval | None = None
    """Mean over tasks of the share of episodes that succeed; None for a family that does not say
    (`TaskFamily.measures_success`)."""

    @property
    def verdict(self) -> str:
        """Judgement in words: is the gain adaptation?"""
        return verdict(self.gain, self.other and self.other.gain_over, remembers=self.remembers)


class Controls(NamedTuple):
    """Returns of tasks with what another task brought (see `metarl.evaluation.controls`)."""

    other: Array  # (P, M) another task's parameters or belief; NaN in the row before adaptation
    averaged: Array | None = None  # (P, M) the mean of all tasks' parameters, likewise

    def rows(self, kept: list[int]) -> Controls:
        """Some of the points."""
        averaged = None if self.averaged is None else self.averaged[kept]
        return Controls(self.other[kept], averaged)


class Adapted(NamedTuple):
    """Adapted parameters of a few of the tasks."""

    tasks: Tasks
    params: Params
    """After all K steps on all episodes, each (number of these tasks, ...), on the CPU."""


def task_groups(tasks: Tasks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of each task among the distinct ones, (M,), and where each first appears."""
    rows = np.concatenate(
        [value.reshape(len(tasks), -1).numpy() for value in tasks.values.values()], axis=1
    )
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return inverse.reshape(-1), first


@dataclass(frozen=True)
class SplitEvaluation:
    """Collections on M tasks of one split, before and after adaptation, P in all."""

    split: Split
    tasks: Tasks
    returns: Array  # (P, M) mean over episodes; NaN where all of them diverged
    quantity: Array  # (P, M) the family's physical quantity, or share of successes, likewise
    faulted_episodes: int
    """Diverged episodes among adaptation and measured ones, without those of the controls."""
    failed_adaptations: int
    """Tasks whose gradient step was not finite, so that they kept their parameters."""
    controls: Controls | None = None
    """None for a policy that does not adapt, and where one task fills more than half of the M."""
    adapted: Adapted | None = None
    """Of the first tasks with a finite adaptation; None without one."""
    first_rewards: Array | None = None  # (M, T)
    """Reward at each step of a trial's first episode, of which `returns[0]` is the sum: the mean
    over episodes, 0 after an episode's end, NaN where all diverged."""

    @cached_property
    def groups(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Index of each task among the distinct ones, (M,), and where each first appears."""
        return task_groups(self.tasks)

    @property
    def repeated(self) -> bool:
        """True if tasks occur several times, as a finite family's do."""
        return len(self.groups[1]) < len(self.tasks)

    @property
    def gains(self) -> Array:
        """Return at each point minus before, task by task: (P, M)."""
        return self.returns - self.returns[:1]

    def rows(self, kept: list[int]) -> SplitEvaluation:
        """Some of the points."""
        return dataclasses.replace(
            self,
            returns=self.returns[kept],
            quantity=self.quantity[kept],
            controls=self.controls and self.controls.rows(kept),
        )


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
    """False for a policy without adaptation: its curve is one measurement, repeated."""
    points: tuple[tuple[int, int], ...] = ()
    """(gradient steps, adaptation episodes) of each row of returns, by rising episodes. (): row k
    is k steps, each on all `episodes_per_step`."""
    measured_by: MeasuredBy = "mean action"
    policy: str = ""
    """Name of the policy within its run, such as "final policy, iteration 7"."""
    remembers: bool = False
    """True for a policy that carries a belief through a trial: it adapts in the first episode."""
    measured_on: int | None = None
    """Episodes of each task that a point is the mean of; None: `episodes_per_step`."""

    @property
    def schedule(self) -> list[tuple[int, int]]:
        """(gradient steps, adaptation episodes) of each point, the first one without any."""
        if self.points:
            return list(self.points)
        return [(k, k * self.episodes_per_step) for k in range(len(self.splits[0].returns))]

    @property
    def fresh_episodes(self) -> int:
        """Episodes of each task that a point is the mean of."""
        return self.episodes_per_step if self.measured_on is None else self.measured_on

    @property
    def carries(self) -> str:
        """Parts of the policy that go from one episode to the next, in words."""
        return carried(self.schedule[-1][0] if self.adapts else 0, remembers=self.remembers)

    def over_episodes(self) -> Evaluation:
        """The points of all K steps, and the one before adaptation."""
        last = self.schedule[-1][0]
        kept = [i for i, (steps, _) in enumerate(self.schedule) if steps in (0, last)]
        splits = tuple(result.rows(kept) for result in self.splits)
        return dataclasses.replace(
            self, splits=splits, points=tuple(self.schedule[i] for i in kept)
        )

    @property
    def note(self) -> str:
        """Note on the tasks that are held out."""
        if any(parameter.held_out for parameter in self.family.parameters):
            return "test: tasks of its own, not trained on"
        if self.family.holds_out:
            return "test: tasks not trained on, from the same ranges"
        note = f"{self.family.name} trains on finitely many tasks: nothing held out"
        if any(result.split == "extrapolation" for result in self.splits):
            note += " but the tasks of extrapolation"
        return note

    @property
    def intervals(self) -> str:
        """Coverage of the intervals: tasks only, since this is one training."""
        tasks = "repetitions of the same tasks" if self.splits[0].repeated else "tasks"
        return f"95 % bootstrap over {tasks} only (one seed)"

    def curve(self, result: SplitEvaluation) -> list[Point]:
        """The curve with 95 % bootstrap intervals over tasks.

        All tasks of a finite family are measured, each several times: its intervals resample the
        measurements of each task and say nothing about further tasks.
        """
        rng = np.random.default_rng([self.seed, SPLITS.index(result.split)])
        groups = result.groups[0] if result.repeated else None

        def interval(values: Array) -> Interval:
            kept = np.isfinite(values)
            return mean_interval(values[kept], rng, None if groups is None else groups[kept])

        def control(point: int, returns: Array | None) -> Control | None:
            if returns is None or self.schedule[point][1] == 0:
                return None
            own = result.returns[point]
            return Control(interval(returns[point]), interval(own - returns[point]))

        other, averaged = result.controls or (None, None)
        return [
            Point(
                *self.schedule[point],
                interval(result.returns[point]),
                interval(result.gains[point]),
                control(point, other),
                control(point, averaged),
                self.remembers,
                interval(result.quantity[point]) if self.family.measures_success else None,
            )
            for point in range(len(self.schedule))
        ]

    def records(self) -> list[dict[str, float | int | str]]:
        """Tidy rows, one per split, task and point of the curve."""
        rows = []
        for result in self.splits:
            nothing = np.full_like(result.returns, math.nan)
            other, averaged = result.controls or (nothing, None)
            averaged = nothing if averaged is None else averaged
            for index in range(len(result.tasks)):
                task = {"split": result.split, "task": index}
                task |= _columns(result.tasks.describe(index))
                rows += [
                    task
                    | {
                        "gradient_steps": steps,
                        "adaptation_episodes": episodes,
                        "return": float(result.returns[k, index]),
                        "return_of_another_task": float(other[k, index]),
                        "return_of_mean": float(averaged[k, index]),
                        self.family.quantity: float(result.quantity[k, index]),
                    }
                    for k, (steps, episodes) in enumerate(self.schedule)
                ]
        return rows

    def summary(self) -> dict[str, Any]:
        """Plain JSON values; intervals are [mean, low, high], null where undefined.

        A policy without adaptation has no gain.
        """
        summary = {
            "family": self.family.name,
            "note": self.note,
            "horizon": self.horizon,
            "episodes_per_step": self.episodes_per_step,
            "measured_on": self.fresh_episodes,
            "seed": self.seed,
            "interval": f"{self.intervals}; percentiles of 2000 resamples",
            "adapts": self.adapts,
            "carries": self.carries,
            "measured_by": self.measured_by,
            "measured_policy": self.policy,
            "policy": self.metadata,
            "splits": {result.split: self._split_summary(result) for result in self.splits},
        }
        return plain(summary)

    def _split_summary(self, result: SplitEvaluation) -> dict[str, Any]:
        gains = result.gains[-1]
        finite = gains[np.isfinite(gains)]
        curve, kinds = self.curve(result), self.family.kinds_of(result.tasks)
        return {
            "tasks": len(result.tasks),
            "distinct_tasks": len(result.groups[1]),
            "curve": [
                {
                    "gradient_steps": point.gradient_steps,
                    "adaptation_episodes": point.adaptation_episodes,
                    "return": point.returns,
                    "success": point.success,
                    "gain": point.gain if self.adapts else None,
                    "another_task": point.other and point.other.summary(),
                    "mean_of_tasks": point.averaged and point.averaged.summary(),
                    "kinds": by_kind(kinds, returns, quantity, success=point.success is not None),
                }
                for point, returns, quantity in zip(
                    curve, result.returns, result.quantity, strict=True
                )
            ],
            "verdict": curve[-1].verdict if self.adapts else None,
            "iqm_gain": interquartile_mean(finite[None]) if self.adapts and len(finite) else None,
            "faulted_episodes": result.faulted_episodes,
            "failed_adaptations": result.failed_adaptations,
        }


def _columns(values: dict[str, float | list[float]]) -> dict[str, float]:
    """Vectors become one column per entry: goal_0, goal_1."""
    columns: dict[str, float] = {}
    for name, value in values.items():
        columns |= (
            {f"{name}_{i}": entry for i, entry in enumerate(value)}
            if isinstance(value, list)
            else {name: value}
        )
    return columns
