"""Diagnosis of a family: the return that a policy gains by observing the task.

An oracle observes what adaptation has to find out. So its return less that of the robust policy,
which knows nothing of the task and never adapts, is about what adaptation can win; where there is
no gap, meta-training has nothing to find. For runs that do adapt, another task's adaptation is the
control of their gain (see `metarl.evaluation.controls`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metarl.evaluation.comparison import Comparison
from metarl.evaluation.curve_table import paragraph
from metarl.evaluation.gap import ORACLE, ROBUST, Gap
from metarl.evaluation.labels import ONE_SEED
from metarl.evaluation.method_runs import MethodRuns
from metarl.evaluation.results import Evaluation
from metarl.evaluation.statistics import (
    Interval,
    Scores,
    mean_score,
    numbers_text,
    paired_difference,
)
from metarl.methods.baselines import RANDOM
from metarl.runs.files import plain
from metarl.runs.metrics_log import read_metrics
from metarl_envs import Split

FIXED = (RANDOM, ROBUST, ORACLE)
"""Policies that do not adapt, from the lowest return to be expected to the highest."""
SMALL_SHARE = 0.1
"""A gap below this share of the oracle's return over the random policy's is called small."""
STILL_LEARNING = 0.1
"""A return that rose by this share of its whole rise in the last fifth of training still rises."""
LONGER = "train longer with --env-steps"


@dataclass(frozen=True)
class Diagnosis:
    """Random, robust and oracle policies on the same tasks, and perhaps methods that adapt."""

    comparison: Comparison
    """Of the methods "random", "robust" and "oracle", in any order, and those that adapt."""
    still_learning: tuple[str, ...] = ()
    """Those whose return still rose when their training ended."""

    def method(self, label: str) -> MethodRuns:
        """The runs of a policy that does not adapt."""
        (method,) = (m for m in self.comparison.methods if m.label == label)
        return method

    def scores(self, label: str, split: Split) -> Scores:
        """Mean return of each run of a policy that does not adapt on each valid task: (R, M)."""
        return self.comparison.scores(self.method(label), split, 0)

    @property
    def adapting(self) -> list[MethodRuns]:
        """The methods that adapt."""
        return [method for method in self.comparison.methods if method.label not in FIXED]

    def gap(self, split: Split) -> Interval:
        """Mean return of the oracle less that of the robust policy, on the same tasks."""
        gap = Gap.among(self.comparison)
        assert gap is not None  # both are here
        return gap.size(split)

    def share(self, split: Split) -> Interval:
        """The gap as a share of the oracle's return over the random policy's."""
        scores = [self.scores(label, split) for label in (ORACLE, ROBUST, RANDOM)]
        return self.comparison.interval(_share, scores, split)

    def verdict(self, split: Split) -> str:
        """Judgement in one sentence: can adaptation matter on this split?"""
        gap, share = self.gap(split), self.share(split)
        oracle, random = (mean_score(self.scores(label, split)) for label in (ORACLE, RANDOM))
        number = f"the oracle returns {gap.text('+')} over the robust policy"
        of = f"{share.estimate:.0%} of what it returns over a random policy"
        if oracle <= random:
            return f"No conclusion: the oracle is no better than a random policy; {LONGER}."
        if np.isnan(gap.low):
            return f"No conclusion: {number}, without an interval; use more tasks."
        if gap.high < 0:
            return f"No conclusion: {number}, so it has not learned to use the task; {LONGER}."
        if gap.low <= 0:
            return f"No sign that adaptation matters: {number}, an interval that holds zero."
        size = " little" if share.estimate < SMALL_SHARE else ""
        return f"Adaptation can matter{size}: {number}, {of}."

    def gained(self, method: MethodRuns, split: Split) -> str:
        """The gain of a method that adapts on a split, and whether its control explains it."""
        end = self.comparison.point(method, split, -1)
        assert end.gain is not None  # it adapts
        text = f"{method.label} gains {end.gain.text('+')} by adapting"
        if end.gain_over_other is not None:
            text += f", {end.gain_over_other.text('+')} over another task's adaptation"
        return f"{text}: {end.verdict}."

    def notes(self) -> list[str]:
        """Limits of these numbers."""
        notes = [
            f"the {label} policy still improved when training ended; {LONGER}"
            for label in self.still_learning
        ]
        if any(len(m.runs) == 1 for m in self.comparison.methods if m.label != RANDOM):
            notes.append(f"one seed each: {ONE_SEED}")
        if "extrapolation" in self.comparison.splits:
            notes.append(
                "in extrapolation the oracle observes values that it was not trained on, so "
                "adaptation may win more there than this gap"
            )
        return notes

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """The diagnosis for a person, at most 100 columns."""
        compared = self.comparison
        first = compared.first
        lines = [
            f"{first.family.name}, {first.horizon} steps per episode; {first.note}",
            *paragraph(f"[{compared.intervals}]", indent=""),
            *paragraph(compared.measured),
            *paragraph(compared.budgets),
        ]
        for split in compared.splits:
            lines += ["", f"{split}: {int(compared.valid(split).sum())} tasks"]
            for label in FIXED:
                method = self.method(label)
                mean = compared.point(method, split, 0).mean
                lines.append(f"  {label:<7} mean return {mean.text()}")
                if len(method.runs) > 1:
                    lines[-1] += f"; seeds {numbers_text(compared.by_run(method, split, 0))}"
            for text in (self.verdict(split), *(self.gained(m, split) for m in self.adapting)):
                lines += paragraph(f"  {text}")
        return "\n".join(
            [*lines, "", *(line for n in self.notes() for line in paragraph(f"note: {n}"))]
        )

    def summary(self) -> dict[str, Any]:
        """Plain JSON values; intervals are [estimate, low, high]."""
        compared = self.comparison
        summary = {
            "format": "metarl-diagnosis",
            "family": compared.first.family.name,
            "horizon": compared.first.horizon,
            "seed": compared.first.seed,
            "intervals": f"{compared.intervals}; null where nothing varies",
            "notes": self.notes(),
            "measured": compared.measured,
            "env_steps": {m.label: compared.env_steps(m) for m in compared.methods},
            "policies": {m.label: [run.metadata for run in m.runs] for m in compared.methods},
            "splits": {split: self._split_summary(split) for split in compared.splits},
        }
        return plain(summary)

    def _split_summary(self, split: Split) -> dict[str, Any]:
        compared = self.comparison
        adapting = {}
        for method in self.adapting:
            end = compared.point(method, split, -1)
            adapting[method.label] = {
                "gained": self.gained(method, split),
                "gain": end.gain,
                "gain_over_another_task": end.gain_over_other,
            }
        returns = {}
        for method in (self.method(label) for label in FIXED):
            point = compared.point(method, split, 0)
            by_run = compared.by_run(method, split, 0)
            returns[method.label] = {"mean": point.mean, "iqm": point.iqm, "mean_by_run": by_run}
        return {
            "verdict": self.verdict(split),
            "tasks": int(compared.valid(split).sum()),
            "gap": self.gap(split),
            "gap_share": self.share(split),
            "probability_of_improvement": compared.improvement(
                self.scores(ORACLE, split), self.scores(ROBUST, split), split
            ),
            "returns": returns,
            "adapting": adapting,
        }


def diagnose(
    runs: Mapping[str, Sequence[Evaluation]], folders: Mapping[str, Sequence[Path]]
) -> Diagnosis:
    """A diagnosis from evaluations.

    Args:
        runs: of "random", "robust" and "oracle", each of one or several seeds; and by their labels
            of methods that adapt.
        folders: of the trained ones, for their learning curves.

    Raises:
        InputError: if they were not measured on the same tasks.
    """
    comparison = Comparison(
        tuple(MethodRuns(label, tuple(same), method=label) for label, same in runs.items())
    )
    rising = [label for label, where in folders.items() if any(map(still_learning, where))]
    return Diagnosis(comparison, tuple(rising))


def still_learning(run: Path) -> bool:
    """True if a run's return rose notably in the last fifth of its training; False if unknown."""
    returns = np.array([line.get("rollout/return_post") for line in read_metrics(run)], dtype=float)
    returns = returns[np.isfinite(returns)]
    tenth = len(returns) // 10
    if tenth < 1:
        return False
    begin, before, end = returns[:tenth], returns[-2 * tenth : -tenth], returns[-tenth:]
    return bool(end.mean() - before.mean() > STILL_LEARNING * (end.mean() - begin.mean()) > 0)


def _share(oracle: Scores, robust: Scores, random: Scores) -> np.ndarray:
    return paired_difference(oracle, robust) / paired_difference(oracle, random)
