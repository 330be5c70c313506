"""Whether adaptation can matter on a family: what a policy gains that observes the task.

An adapted policy has found out about the task what an oracle is told, and no more. So the return
of the oracle less that of the robust policy, which knows nothing and never adapts, is about what
adaptation can win; where there is no gap, meta-training has nothing to find. Of runs that do adapt
it is asked whether what they gain is found out about the task (see `metarl.evaluation.controls`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metarl.evaluation.comparison import Comparison, MethodRuns, seeds_text
from metarl.evaluation.gap import ORACLE, ROBUST, Gap
from metarl.evaluation.results import Evaluation
from metarl.evaluation.statistics import (
    Interval,
    Scores,
    each_run,
    interquartile_mean,
    mean_score,
    paired_difference,
)
from metarl.methods.baselines import RANDOM
from metarl.runs.metrics_log import read_metrics
from metarl_envs import Split

FIXED = (RANDOM, ROBUST, ORACLE)
"""What does not adapt, from the least to the most that there is to reach."""
SMALL_SHARE = 0.1
"""A gap below this share of what the oracle does better than noise is called small."""
STILL_LEARNING = 0.1
"""A return that rose by this share of its whole rise in the last fifth of training still rises."""


@dataclass(frozen=True)
class Diagnosis:
    """Noise, robust policies and oracles on the same tasks, and perhaps methods that adapt."""

    comparison: Comparison
    """Of the methods "random", "robust" and "oracle", in any order, and those that adapt."""
    still_learning: tuple[str, ...] = ()
    """Those of them that were still getting better when their training ended."""

    def scores(self, label: str, split: Split) -> Scores:
        """Mean return of each run of a policy that does not adapt on each sound task: (R, M)."""
        (method,) = (m for m in self.comparison.methods if m.label == label)
        return self.comparison.scores(method, split, 0)

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
        """The gap as a share of what the oracle does better than noise."""
        labels = ("oracle", "robust", "random")
        scores = [self.scores(label, split) for label in labels]
        return self.comparison.interval(_share, scores, split)

    def verdict(self, split: Split) -> str:
        """What the numbers of a split mean, in one sentence."""
        gap, share = self.gap(split), self.share(split)
        number = f"the oracle returns {gap.text('+')} over the robust policy"
        of = f"{share.estimate:.0%} of what it does better than noise"
        if float(mean_score(self.scores("oracle", split))) <= float(
            mean_score(self.scores("random", split))
        ):
            return f"Nothing can be said: the oracle is no better than noise; {LONGER}."
        if np.isnan(gap.low):
            return f"Nothing is certain: {number}, without an interval; use more tasks."
        if gap.high < 0:
            return (
                f"Nothing can be said: {number}, so it has not learned to use the task; {LONGER}."
            )
        if gap.low <= 0:
            return f"No sign that adaptation matters: {number}, an interval that holds zero."
        if share.estimate < SMALL_SHARE:
            return f"Adaptation can matter little: {number}, {of}."
        return f"Adaptation can matter: {number}, {of}."

    def gained(self, method: MethodRuns, split: Split) -> str:
        """What a method that adapts gains on a split, and whether that survives its control."""
        compared, last = self.comparison, len(self.comparison.schedule) - 1
        gain = compared.interval(mean_score, [compared.gains(method, split, last)], split)
        over = compared.gain_over_other(method, split, last)
        text = f"{method.label} gains {gain.text('+')} by adapting"
        if over is not None:
            text += f", {over.text('+')} over another task's adaptation"
        return f"{text}: {compared.verdict(method, split)}."

    def notes(self) -> list[str]:
        """What to bear in mind with these numbers."""
        found = [
            f"the {label} policy still improved when training ended; {LONGER}"
            for label in self.still_learning
        ]
        trained = [m for m in self.comparison.methods if m.label != RANDOM]
        if min(len(method.runs) for method in trained) == 1:
            found.append(
                "one seed each: the intervals cover the choice of tasks, not the luck of training"
            )
        if "extrapolation" in self.comparison.splits:
            found.append(
                "in extrapolation the oracle observes values that it has never seen, so that "
                "adaptation may win more there than this gap"
            )
        return found

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """The diagnosis for a person, at most 100 columns."""
        first = self.comparison.methods[0].runs[0]
        lines = [
            f"{first.family.name}, {first.horizon} steps per episode; {first.note}",
            *textwrap.wrap(f"[{self.comparison.intervals}]", 98),
            *textwrap.wrap(self.comparison.measured, 98, subsequent_indent="  "),
            *textwrap.wrap(self.comparison.budgets, 98, subsequent_indent="  "),
        ]
        for split in self.comparison.splits:
            lines += ["", f"{split}: {int(self.comparison.sound(split).sum())} tasks"]
            for label in FIXED:
                scores = self.scores(label, split)
                measured = self.comparison.interval(mean_score, [scores], split)
                lines.append(f"  {label:<7} mean return {measured.text()}")
                if len(scores) > 1:
                    lines[-1] += f"; seeds {seeds_text(each_run(mean_score, scores))}"
            for text in (self.verdict(split), *(self.gained(m, split) for m in self.adapting)):
                lines += textwrap.wrap(text, 98, initial_indent="  ", subsequent_indent="  ")
        notes = [
            textwrap.fill(f"note: {note}", 98, subsequent_indent="  ") for note in self.notes()
        ]
        return "\n".join([*lines, "", *notes])

    def summary(self) -> dict[str, Any]:
        """Plain JSON values; intervals are [estimate, low, high]."""
        first = self.comparison.methods[0].runs[0]
        return {
            "format": "metarl-diagnosis",
            "family": first.family.name,
            "horizon": first.horizon,
            "seed": first.seed,
            "intervals": f"{self.comparison.intervals}; null where nothing varies",
            "notes": self.notes(),
            "measured": self.comparison.measured,
            "env_steps": {m.label: self.comparison.env_steps(m) for m in self.comparison.methods},
            "policies": {
                m.label: [run.metadata for run in m.runs] for m in self.comparison.methods
            },
            "splits": {split: self._split_summary(split) for split in self.comparison.splits},
        }

    def _split_summary(self, split: Split) -> dict[str, Any]:
        compared, last = self.comparison, len(self.comparison.schedule) - 1
        adapting = {
            method.label: {
                "gained": self.gained(method, split),
                "gain": list(
                    compared.interval(mean_score, [compared.gains(method, split, last)], split)
                ),
                "gain_over_another_task": compared.gain_over_other(method, split, last),
            }
            for method in self.adapting
        }
        measured = {
            label: {
                name: list(self.comparison.interval(statistic, [self.scores(label, split)], split))
                for name, statistic in (("mean", mean_score), ("iqm", interquartile_mean))
            }
            | {"mean_by_run": each_run(mean_score, self.scores(label, split))}
            for label in FIXED
        }
        pair = self.scores("oracle", split), self.scores("robust", split)
        return {
            "verdict": self.verdict(split),
            "tasks": int(self.comparison.sound(split).sum()),
            "gap": list(self.gap(split)),
            "gap_share": list(self.share(split)),
            "probability_of_improvement": list(self.comparison.improvement(*pair, split)),
            "returns": measured,
            "adapting": adapting,
        }


LONGER = "train longer with --env-steps"


def diagnose(
    runs: Mapping[str, Sequence[Evaluation]], folders: Mapping[str, Sequence[Path]]
) -> Diagnosis:
    """A diagnosis from evaluations.

    Args:
        runs: of "random", "robust" and "oracle", each of one or several seeds; and by their labels
            of methods that adapt.
        folders: where the trained ones come from, for their learning curves.

    Raises:
        InputError: if they were not measured on the same tasks.
    """
    comparison = Comparison(
        tuple(MethodRuns(n, tuple(found), method=n) for n, found in runs.items())
    )
    rising = [label for label, where in folders.items() if any(map(still_learning, where))]
    return Diagnosis(comparison, tuple(rising))


def still_learning(run: Path) -> bool:
    """Whether a run's return rose notably in the last fifth of its training; False if unknown."""
    returns = np.array([line["rollout/return_post"] for line in read_metrics(run)], dtype=float)
    returns = returns[np.isfinite(returns)]
    tenth = len(returns) // 10
    if tenth < 1:
        return False
    begin, before, end = returns[:tenth], returns[-2 * tenth : -tenth], returns[-tenth:]
    return bool(end.mean() - before.mean() > STILL_LEARNING * (end.mean() - begin.mean()) > 0)


def _share(oracle: Scores, robust: Scores, noise: Scores) -> np.ndarray:
    return paired_difference(oracle, robust) / paired_difference(oracle, noise)
