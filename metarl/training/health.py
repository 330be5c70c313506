"""Signs in the metrics that a training goes wrong, and settings that may help."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from metarl.methods.config import TrainConfig, settings
from metarl.methods.settings import flag

FAR_NATS = 10.0
"""Divergence beyond which inner steps have to raise the return.

Far steps alone are no sign: a Meta-SGD policy whose return rises from -1 to 412 on
half-cheetah-direction (the bundled one, 20 episodes) moves by 130 to 300 nats.
"""
EXPLODED_IN_A_ROW = 3
"""Iterations after which far steps that do not raise the return are reported."""
WORSE_IN_A_ROW = 2
"""Evaluations after which a return clearly below the best is reported; one, if inner steps go
far, which is the likely cause then."""
STANDARD_ERRORS = 2.0
INNER_WEIGHTS = {"outer.inner_kl_penalty": (10, 5e-3), "inner.strength": (3, 0.0)}
"""Settings whose larger values make inner steps smaller: the advised factor and least value."""
INNER_RATES = ("inner.inner_lr", "inner.init_rate")
OUTER_RATES = (
    "outer.learning_rate",
    "outer.outer_lr",
    "outer.max_kl",
    "outer.sigma",
    "outer.student_rate",
)
"""Settings that make outer steps smaller; the first that a method has is named."""


def health_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Flags, 1.0 or 0.0, of one iteration.

    `health/exploded`: inner steps go further than `FAR_NATS`, and the adapted policies return less
    than before. `health/worse`, after an evaluation: the policy is clearly below the best so far.
    """
    pays = metrics["rollout/adaptation_gain"] > 0
    flags = {"health/exploded": float(is_far(metrics.get("inner/kl", 0.0)) and not pays)}
    if "eval/return_post" in metrics:
        flags["health/worse"] = float(clearly_below_best(metrics))
    return flags


def is_far(kl: float | None) -> bool:
    """True if inner steps go far; their length is None where it is not finite."""
    return kl is None or not kl <= FAR_NATS


def clearly_below_best(metrics: Mapping[str, float]) -> bool:
    """True if validation tasks return less than the best so far by more than two standard errors.

    The error is that of a difference between two sets of tasks: cautious, since both policies are
    measured on the same set. With a single task it is NaN, and nothing is clearly below.
    """
    best, current = metrics["eval/best_return_post"], metrics["eval/return_post"]
    if math.isnan(current):  # all episodes of a task diverged
        return math.isfinite(best)
    return best - current > STANDARD_ERRORS * math.sqrt(2) * metrics["eval/standard_error"]


class Watch:
    """Counts the flags of a run, and reports each problem once when it begins."""

    def __init__(self, config: TrainConfig, lines: Iterable[Mapping[str, Any]]) -> None:
        """Continue after the iterations that these lines are of."""
        self._config = config
        self._exploded, self._worse = 0, 0
        for line in lines:
            self._count(line)

    def reports(self, iteration: int, metrics: Mapping[str, float]) -> list[str]:
        """Count an iteration; returns a line for each problem that has just begun."""
        worse_before = self._worse
        self._count(metrics)
        lines = []
        if self._exploded == EXPLODED_IN_A_ROW:
            lines.append(
                f"iteration {iteration}: the inner step has exploded: it moves policies "
                f"by {metrics['inner/kl']:.0f} nats, and they return "
                f"{metrics['rollout/return_post']:.1f} after it, "
                f"{metrics['rollout/return_pre']:.1f} before; {self._advice(inner=True)}"
            )
        if worse_before < WORSE_IN_A_ROW <= self._worse:
            kl = metrics.get("inner/kl", 0.0)
            moved = f"inner steps move it by {kl:.1f} nats; " if "inner/kl" in metrics else ""
            lines.append(
                f"iteration {iteration}: training gets worse: on validation tasks the "
                f"policy returns {metrics['eval/return_post']:.1f} after adaptation, that of "
                f"iteration {metrics['eval/best_iteration']:.0f} (kept in best/) "
                f"{metrics['eval/best_return_post']:.1f}; {moved}"
                f"{self._advice(inner=is_far(kl))}"
            )
        return lines

    def _count(self, metrics: Mapping[str, Any]) -> None:
        exploded, worse = metrics.get("health/exploded"), metrics.get("health/worse")
        if exploded is not None:
            self._exploded = self._exploded + 1 if exploded else 0
        if worse is not None:
            weight = WORSE_IN_A_ROW if is_far(metrics.get("inner/kl", 0.0)) else 1
            self._worse = self._worse + weight if worse else 0

    def _advice(self, *, inner: bool) -> str:
        """Settings of this method that make its inner or its outer steps smaller."""
        known = settings(self._config)
        if not inner:
            rate = next(name for name in OUTER_RATES if name in known)
            return f"a smaller outer step may help: {flag(rate)} {known[rate] / 3:.2g}"
        smaller = [
            f"{flag(name)} {max(factor * known[name], least):g}"
            for name, (factor, least) in INNER_WEIGHTS.items()
            if name in known
        ] + [f"{flag(name)} {known[name] / 3:.2g}" for name in INNER_RATES if name in known]
        named = f": {' or '.join(smaller)}" if smaller else ""
        return f"smaller inner steps may help{named}"
