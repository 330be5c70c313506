"""The gap between a robust policy and an oracle, and the share of it that a method closes.

A robust policy knows nothing of the task and never adapts; an oracle observes the task. Adaptation
can find out no more than the oracle observes, so the gap is about what adaptation can win.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from metarl.evaluation.comparison import Comparison
from metarl.evaluation.first_episode import seconds_to_oracle
from metarl.evaluation.method_runs import MethodPoint, MethodRuns
from metarl.evaluation.statistics import Interval, Scores, gap_closed, paired_difference
from metarl.runs.files import plain
from metarl_envs import Split

ROBUST, ORACLE = "robust", "oracle"


@dataclass(frozen=True)
class Gap:
    """Methods measured by how far they come from the robust policy to the oracle."""

    comparison: Comparison
    robust: MethodRuns
    oracle: MethodRuns

    @staticmethod
    def among(comparison: Comparison) -> Gap | None:
        """The gap, if exactly one robust method and one oracle are among those compared."""
        robust, oracle = (
            [m for m in comparison.methods if m.method == name] for name in (ROBUST, ORACLE)
        )
        if len(robust) != 1 or len(oracle) != 1:
            return None
        return Gap(comparison, robust[0], oracle[0])

    @property
    def others(self) -> list[MethodRuns]:
        """The methods that the gap is a measure for."""
        ends = {self.robust.label, self.oracle.label}
        return [m for m in self.comparison.methods if m.label not in ends]

    @cached_property
    def _sizes(self) -> dict[Split, Interval]:
        return {
            split: self.comparison.interval(paired_difference, self._ends(split)[::-1], split)
            for split in self.comparison.splits
        }

    def _ends(self, split: Split) -> list[Scores]:
        """Returns of the robust policy and of the oracle, the same at every point: (R_i, M)."""
        return [self.comparison.scores(end, split, 0) for end in (self.robust, self.oracle)]

    def size(self, split: Split) -> Interval:
        """Mean return of the oracle less that of the robust policy, on the same tasks."""
        return self._sizes[split]

    def closed(self, method: MethodRuns, split: Split, point: int) -> Interval | None:
        """The share of the gap that a method closes at a point of its curve, with its interval.

        1 is all of it, below 0 is worse than the robust policy. The interval covers the seeds of
        all three methods and the tasks, which are the same for them. None where the gap is not
        significantly above zero.
        """
        return self._share(self.comparison.scores(method, split, point), split)

    def closed_by_other(self, method: MethodRuns, split: Split, point: int) -> Interval | None:
        """The share that the same tasks reach with another task's adapted parameters, or belief.

        What a method closes beyond it is adaptation to the task. Also None before adaptation and
        for methods without controls.
        """
        if not method.controlled or self.comparison.schedule[point][1] == 0:
            return None
        return self._share(self.comparison.controls(method, split, point)[0], split)

    def by_run(self, method: MethodRuns, split: Split, point: int) -> list[float] | None:
        """The share of each run of a method alone, between the means of all runs at the ends."""
        if not self.size(split).low > 0:
            return None
        reached = self.comparison.scores(method, split, point)
        return [float(gap_closed(run[None], *self._ends(split))) for run in reached]

    def seconds_to_oracle(self, method: MethodRuns, split: Split) -> float | None:
        """Time in a trial's first episode from when on a method acts like the oracle, in s.

        Of the mean rewards over its runs; see `first_episode.seconds_to_oracle`. None for methods
        that do not adapt within an episode, and where the gap is not significantly above zero.
        """
        found = [
            self.comparison.first_rewards(runs, split)
            for runs in (method, self.robust, self.oracle)
        ]
        if not method.remembers or not self.size(split).low > 0:
            return None
        own, robust, oracle = (None if rows is None else rows.mean(0) for rows in found)
        if own is None or robust is None or oracle is None:
            return None
        return seconds_to_oracle(own, robust, oracle, self.comparison.first.family.dt_s)

    def _share(self, reached: Scores, split: Split) -> Interval | None:
        if not self.size(split).low > 0:
            return None
        return self.comparison.interval(gap_closed, [reached, *self._ends(split)], split)

    def points(self, method: MethodRuns) -> list[int]:
        """The points at which a method stands for itself: one, if it does not adapt."""
        last = len(self.comparison.schedule) - 1
        return list(range(last + 1)) if method.adapts else [last]

    def summary(self) -> dict[str, Any]:
        """Plain JSON values; intervals are [estimate, low, high], shares are of 1."""
        summary = {
            split: {
                "gap": self.size(split),
                "seconds_to_oracle": {
                    method.label: self.seconds_to_oracle(method, split)
                    for method in self.others
                    if method.remembers
                },
                "closed": {
                    method.label: [
                        self._point_summary(method, split, point) for point in self.points(method)
                    ]
                    for method in self.others
                },
            }
            for split in self.comparison.splits
        }
        return plain(summary)

    def _point_summary(self, method: MethodRuns, split: Split, point: int) -> dict[str, Any]:
        steps, episodes = self.comparison.steps(method, point)
        return {
            "env_steps": self.comparison.env_steps(method),
            "gradient_steps": steps,
            "adaptation_episodes": episodes,
            "share": self.closed(method, split, point),
            "share_by_run": self.by_run(method, split, point),
            "share_of_another_task": self.closed_by_other(method, split, point),
        }


def with_shares(point: MethodPoint, gap: Gap | None, index: int) -> MethodPoint:
    """A method's numbers at the point `index` with its shares of a gap that it is no end of."""
    if gap is None or all(point.method is not method for method in gap.others):
        return point
    where = point.method, point.split, index
    return point._replace(closed=gap.closed(*where), closed_by_other=gap.closed_by_other(*where))


def percent(share: Interval) -> str:
    """A share as text: "43 % [30, 55]"."""
    estimate, low, high = (f"{100 * value:z.0f}" for value in share)
    return f"{estimate} %" if np.isnan(share.low) else f"{estimate} % [{low}, {high}]"
