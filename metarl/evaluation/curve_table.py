"""An adaptation curve as plain text, with its controls and some of its tasks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from metarl.evaluation.labels import DOES_NOT_ADAPT, NO_CONTROL, quantity_label, task_text
from metarl.evaluation.results import Array, Evaluation, Point, SplitEvaluation

MAX_TASKS_SHOWN = 8
"""A split with more distinct tasks is shown by three of them."""
CONTROLS = "return with adapted parameters that are not the task's own: another task's, their mean"
OWN_LESS = "own less another's"


def curve_table(evaluation: Evaluation) -> str:
    """The curves, their controls and some tasks, at most 100 columns."""
    lines = [
        f"{evaluation.family.name}, {evaluation.horizon} steps per episode, seed {evaluation.seed}",
        evaluation.note,
        "; ".join(filter(None, [evaluation.policy, f"measured by: {evaluation.measured_by}"])),
    ]
    if not evaluation.adapts:
        lines.append("the policy does not adapt: it is measured once")
    if "task" in evaluation.metadata:
        lines.append(f"it was trained on one task alone: {evaluation.metadata['task']}")
    for result in evaluation.splits:
        lines += ["", *_split_table(evaluation, result)]
    return "\n".join(lines)


def _split_table(evaluation: Evaluation, result: SplitEvaluation) -> list[str]:
    runs, distinct = len(result.tasks), len(result.groups[1])
    size = f"{distinct} tasks, {runs} runs in all" if result.repeated else f"{runs} tasks"
    lines = [
        f"{result.split}: {size}; mean return [{evaluation.intervals}]",
        f"  {'gradient steps':>14}  {'episodes used':>13}  {'return':<26}  gain over step 0",
    ]
    curve = evaluation.curve(result)
    for point in curve if evaluation.adapts else curve[:1]:
        gain = point.gain.text("+") if point.gradient_steps else ""
        gain = gain if evaluation.adapts else DOES_NOT_ADAPT
        lines.append(
            f"  {point.gradient_steps:>14}  {point.adaptation_episodes:>13}  "
            f"{point.returns.text():<26}  {gain}".rstrip()
        )
    if evaluation.adapts:
        lines += _control_lines(curve)
    shown = _shown_tasks(evaluation, result)
    wide = max(len(label) for label, _ in shown)
    quantity, unit = quantity_label(evaluation.family.quantity)
    lines.append(f"  {'':<{wide}}  {'return':<18}  {quantity}{f', {unit}' if unit else ''}")
    points = [0, -1] if evaluation.adapts else [0]
    for label, members in shown:
        returns = _change(result.returns[points], members, 1)
        amounts = _change(result.quantity[points], members, 2)
        lines.append(f"  {label:<{wide}}  {returns:<18}  {amounts}")
    if result.faulted_episodes or result.failed_adaptations:
        lines.append(
            f"  left out: {result.faulted_episodes} episodes that diverged; "
            f"{result.failed_adaptations} tasks kept their parameters (gradient not finite)"
        )
    return lines


def _control_lines(curve: list[Point]) -> list[str]:
    """What other parameters than the task's own reach, and what that makes of the gain."""
    rows = [
        f"  {point.gradient_steps:>5}  {point.adaptation_episodes:>8}  "
        f"{point.other.returns.estimate:>z9.1f}  {point.other.gain_over.text('+'):<26}  "
        f"{point.averaged.returns.estimate:>z11.1f}  {point.averaged.gain_over.text('+')}"
        for point in curve
        if point.other and point.averaged
    ]
    if not rows:
        return [f"  {NO_CONTROL}"]
    return [
        f"  {CONTROLS}",
        f"  steps  episodes  another's  {OWN_LESS:<26}  mean of all  own less the mean",
        *rows,
        f"  {curve[-1].verdict}",
    ]


def _shown_tasks(
    evaluation: Evaluation, result: SplitEvaluation
) -> list[tuple[str, NDArray[np.int64]]]:
    """Every task of a few; otherwise those with the largest, the median and the smallest gain.

    Of a policy that does not adapt: the largest, the median and the smallest return.
    """
    family, (group, first) = evaluation.family, result.groups
    text = [task_text(family, result.tasks, int(index)) for index in first]
    if len(first) <= MAX_TASKS_SHOWN:
        return [(text[g], np.flatnonzero(group == g)) for g in range(len(first))]
    kind, values = ("gain", result.gains) if evaluation.adapts else ("return", result.returns)
    order = np.argsort(-np.nan_to_num(values[-1], nan=-math.inf), kind="stable")
    ranks = {f"largest {kind}": 0, "median": len(order) // 2, "smallest": len(order) - 1}
    return [
        (f"{name}: {task_text(family, result.tasks, int(order[rank]))}", order[[rank]])
        for name, rank in ranks.items()
    ]


def _change(values: Array, members: NDArray[np.int64], digits: int) -> str:
    """The members' mean in each row: before the first and after the last step."""
    return " -> ".join(f"{_mean(row[members]):z.{digits}f}" for row in values)


def _mean(values: Array) -> float:
    sound = values[np.isfinite(values)]
    return float(sound.mean()) if len(sound) else math.nan
