"""The gap between a robust policy and an oracle, and how much of it a method closes.

A robust policy knows nothing of the task and never adapts; an oracle is told the task. An adapted
policy has found out at most what an oracle is told, so the gap is what there is to win.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from metarl.comparison import Comparison, MethodRuns
from metarl.statistics import Interval, Scores, gap_closed, paired_difference
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
            ends = [self.comparison.repeated(end, split) for end in (self.oracle, self.robust)]
            sizes[split] = self.comparison.interval(paired_difference, ends, split)
        return sizes

    def size(self, split: Split) -> Interval:
        """Mean return of the oracle less that of the robust policy, on the same tasks."""
        return self._sizes[split]

    def closed(self, method: MethodRuns, split: Split, point: int) -> Interval | None:
        """The share of the gap that a method closes at a point of its curve, with its interval.

        1 is all of it, below 0 is worse than the robust policy. The interval covers the seeds of
        all three methods and the tasks, which are the same for them. None where the gap's own
        interval is not above zero, as there is nothing then to have a share of.
        """
        if not self.size(split).low > 0:
            return None
        reached, *ends = self._scores(method, split, point)
        return self.comparison.interval(gap_closed, [reached, *ends], split)

    def by_run(self, method: MethodRuns, split: Split, point: int) -> list[float] | None:
        """The share of each run of a method alone, between the means of all runs at the ends."""
        if not self.size(split).low > 0:
            return None
        reached, *ends = self._scores(method, split, point)
        return [float(gap_closed(run[None], *ends)) for run in reached]

    def _scores(self, method: MethodRuns, split: Split, point: int) -> list[Scores]:
        """Of the method, the robust policies and the oracles."""
        reached = (
            self.comparison.scores(method, split, point)
            if method.adapts
            else self.comparison.repeated(method, split)
        )
        ends = [self.comparison.repeated(end, split) for end in (self.robust, self.oracle)]
        return [reached, *ends]

    def table(self) -> str:
        """The shares as plain text, at most 100 columns."""
        wide = max((len(method.label) for method in self.others), default=0)
        lines = [
            "share of the gap between robust policy and oracle that is closed; each seed's own",
            *textwrap.wrap(f"[{self.comparison.intervals}]", 98),
        ]
        for split in self.comparison.splits:
            lines += [
                "",
                f"{split}: the oracle returns {self.size(split).text('+')} over the robust",
            ]
            if not self.size(split).low > 0:
                lines[-1] += ": no gap to close for sure"
                continue
            lines.append(f"  {'':<{wide}}  steps  episodes  {'closed':<18}  seeds")
            for method in self.others:
                for point in self.points(method):
                    steps, episodes = self.comparison.schedule[point]
                    share = self.closed(method, split, point)
                    assert share is not None  # the gap is there
                    label = method.label if point == self.points(method)[0] else ""
                    seeds = self.by_run(method, split, point) or []
                    own = ", ".join(f"{100 * value:z.0f}" for value in seeds)
                    lines.append(
                        f"  {label:<{wide}}  {steps:>5}  {episodes:>8}  {percent(share):<18}  {own}"
                    )
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
                        {
                            "gradient_steps": self.comparison.schedule[point][0],
                            "adaptation_episodes": self.comparison.schedule[point][1],
                            "share": None if share is None else list(share),
                            "share_by_run": self.by_run(method, split, point),
                        }
                        for point in self.points(method)
                        for share in [self.closed(method, split, point)]
                    ]
                    for method in self.others
                },
            }
            for split in self.comparison.splits
        }


def percent(share: Interval) -> str:
    """A share as people read it: "43 % [30, 55]"."""
    estimate, low, high = (f"{100 * value:z.0f}" for value in share)
    return f"{estimate} %" if math.isnan(share.low) else f"{estimate} % [{low}, {high}]"
