"""Environment steps of training, shown beside every comparison of methods."""

from __future__ import annotations

from collections.abc import Sequence

from metarl.evaluation.results import Evaluation

EQUAL = 1.1
"""Budgets of which the largest is at most this many times the smallest count as equal."""


def env_steps(runs: Sequence[Evaluation], among: Sequence[Evaluation]) -> float | None:
    """Environment steps that a method was trained for, the mean over its runs.

    Args:
        runs: of the method.
        among: runs that these may have started from; what those were trained for counts.

    Returns:
        None where it is not known.
    """
    trained = {run.metadata.get("sha256"): run.metadata.get("env_steps") for run in among}
    totals: list[float] = []
    for run in runs:
        own, start = run.metadata.get("env_steps"), run.metadata.get("start")
        before = 0 if start is None else trained.get(start)
        if own is None or before is None:
            return None
        totals.append(own + before)
    return sum(totals) / len(totals)


def steps_text(steps: float | None) -> str:
    """Environment steps as text: "1.2 M", "-" where they are not known."""
    if steps is None:
        return "-"
    if steps < 1e5:
        return f"{steps:.0f}"
    return f"{steps / 1e6:.3g} M"


def unequal(steps: Sequence[float | None]) -> bool:
    """True if those that were trained at all differ by more than a tenth."""
    trained = [value for value in steps if value]
    return bool(trained) and max(trained) > EQUAL * min(trained)
