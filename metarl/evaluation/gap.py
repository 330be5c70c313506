"""The gap between a robust policy and an oracle, and how much of it a method closes.

A robust policy knows nothing of the task and never adapts; an oracle observes the task. An adapted
policy has found out at most what an oracle is told, so the gap is what there is to win.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from metarl.evaluation.budgets import steps_text
from metarl.evaluation.comparison import Comparison, MethodRuns
from metarl.evaluation.statistics import Interval, Scores, gap_closed, paired_difference
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
        sizes = {}
        for split in self.comparison.splits:
            ends = [self._end(end, split) for end in (self.oracle, self.robust)]
            sizes[split] = self.comparison.interval(paired_difference, ends, split)
        return sizes

    def _end(self, method: MethodRuns, split: Split) -> Scores:
        """Returns of a method that does not adapt, so that every point is the same: (R, M)."""
        return self.comparison.scores(method, split, 0)

    def size(self, split: Split) -> Interval:
        """Mean return of the oracle less that of the robust policy, on the same tasks."""
        return self._sizes[split]

    def closed(self, method: MethodRuns, split: Split, point: int) -> Interval | None:
        """The share of the gap that a method closes at a point of its curve, with its interval.

        1 is all of it, below 0 is worse than the robust policy. The interval covers the seeds of
        all three methods and the tasks, which are the same for them. None where the gap's own
        interval is not above zero, as there is nothing then to have a share of.
        """
        return self._share(self.comparison.scores(method, split, point), split)

    def closed_by_other(self, method: MethodRuns, split: Split, point: int) -> Interval | None:
        """The share that the same tasks reach with another task's adapted parameters.

        What a method closes beyond it was found out about the task. None before adaptation and for
        methods without controls, too.
        """
        if not method.controlled or self.comparison.schedule[point][0] == 0:
            return None
        return self._share(self.comparison.controls(method, split, point)[0], split)

    def by_run(self, method: MethodRuns, split: Split, point: int) -> list[float] | None:
        """The share of each run of a method alone, between the means of all runs at the ends."""
        if not self.size(split).low > 0:
            return None
        ends = [self._end(end, split) for end in (self.robust, self.oracle)]
        reached = self.comparison.scores(method, split, point)
        return [float(gap_closed(run[None], *ends)) for run in reached]

    def _share(self, reached: Scores, split: Split) -> Interval | None:
        if not self.size(split).low > 0:
            return None
        ends = [self._end(end, split) for end in (self.robust, self.oracle)]
        return self.comparison.interval(gap_closed, [reached, *ends], split)

    def table(self) -> str:
        """The shares as plain text, at most 100 columns."""
        wide = max((len(method.label) for method in self.others), default=0)
        lines = [
            "share of the gap between robust policy and oracle that is closed, and that by another",
            "task's adaptation; each seed's own share in the end",
            *textwrap.wrap(f"[{self.comparison.intervals}]", 98),
            *textwrap.wrap(self.comparison.budgets, 98, subsequent_indent="  "),
        ]
        for split in self.comparison.splits:
            lines += [
                "",
                f"{split}: the oracle returns {self.size(split).text('+')} over the robust",
            ]
            if not self.size(split).low > 0:
                lines[-1] += ": no gap is shown, its interval holds zero"
                continue
            lines.append(
                f"  {'':<{wide}}  env steps  steps  episodes  {'closed':<18}  by another task's"
            )
            for method in self.others:
                for point in self.points(method):
                    steps, episodes = self.comparison.schedule[point]
                    share = self.closed(method, split, point)
                    assert share is not None  # the gap is there
                    other = self.closed_by_other(method, split, point)
                    first = point == self.points(method)[0]
                    label = method.label if first else ""
                    trained = steps_text(self.comparison.env_steps(method)) if first else ""
                    lines.append(
                        f"  {label:<{wide}}  {trained:>9}  {steps:>5}  {episodes:>8}  "
                        f"{percent(share):<18}  {percent(other) if other else ''}".rstrip()
                    )
                seeds = self.by_run(method, split, self.points(method)[-1]) or []
                if len(seeds) > 1:
                    own = ", ".join(f"{100 * value:z.0f} %" for value in seeds)
                    lines.append(f"  {'':<{wide}}  seeds in the end: {own}")
        return "\n".join(lines)

    def points(self, method: MethodRuns) -> list[int]:
        """The points at which a method stands for itself: one, if it does not adapt."""
        last = len(self.comparison.schedule) - 1
        return list(range(last + 1)) if method.adapts else [last]

    def summary(self) -> dict[str, Any]:
        """Plain JSON values; intervals are [estimate, low, high], shares are of 1."""
        return {
            split: {
                "gap": list(self.size(split)),
                "closed": {
                    method.label: [
                        self._point_summary(method, split, point) for point in self.points(method)
                    ]
                    for method in self.others
                },
            }
            for split in self.comparison.splits
        }

    def _point_summary(self, method: MethodRuns, split: Split, point: int) -> dict[str, Any]:
        steps, episodes = self.comparison.schedule[point]
        share = self.closed(method, split, point)
        other = self.closed_by_other(method, split, point)
        return {
            "env_steps": self.comparison.env_steps(method),
            "gradient_steps": steps,
            "adaptation_episodes": episodes,
            "share": None if share is None else list(share),
            "share_by_run": self.by_run(method, split, point),
            "share_of_another_task": None if other is None else list(other),
        }


def percent(share: Interval) -> str:
    """A share as people read it: "43 % [30, 55]"."""
    estimate, low, high = (f"{100 * value:z.0f}" for value in share)
    return f"{estimate} %" if math.isnan(share.low) else f"{estimate} % [{low}, {high}]"
