"""Evaluations, comparisons and gaps as plain text, at most 100 columns wide."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metarl.evaluation.budgets import steps_text
from metarl.evaluation.comparison import Comparison
from metarl.evaluation.first_episode import definition, seconds_text
from metarl.evaluation.gap import Gap, percent
from metarl.evaluation.labels import DOES_NOT_ADAPT, NO_CONTROL, quantity_label, task_text
from metarl.evaluation.method_runs import MethodPoint
from metarl.evaluation.results import Array, Evaluation, Point, SplitEvaluation
from metarl.evaluation.statistics import Interval, each_run, interquartile_mean, numbers_text

WIDTH = 98
MAX_TASKS_SHOWN = 8
"""A split with more distinct tasks is shown by three of them."""
NO_SHARE = "gap not significantly above zero, so no share is reported"
Line = Sequence[str] | str
"""Of a table: a row of cells, or a text of its own."""
CONTROLS = "return with adapted parameters that are not the task's own: another task's, their mean"
BELIEFS = "return of the episode begun with the belief of another task's trial"


def curve_table(evaluation: Evaluation) -> str:
    """The curves of one run, their controls and some tasks."""
    lines = [
        f"{evaluation.family.name}, {evaluation.horizon} steps per episode, seed {evaluation.seed}",
        evaluation.note,
        "; ".join(filter(None, [evaluation.policy, f"measured by: {evaluation.measured_by}"])),
    ]
    if not evaluation.adapts:
        lines.append("the policy does not adapt: it is measured once")
    if evaluation.remembers:
        lines += paragraph(
            "the policy carries a belief through a trial and adapts within each episode; episodes "
            "used: those of the trial before the one measured"
        )
    if "task" in evaluation.metadata:
        lines.append(f"it was trained on one task alone: {evaluation.metadata['task']}")
    for result in evaluation.splits:
        lines += ["", *_split_table(evaluation, result)]
    return "\n".join(lines)


def comparison_table(comparison: Comparison) -> str:
    """The curves of all methods, each seed's end, and their controls."""
    first = comparison.first
    lines = [
        f"{first.family.name}, {first.horizon} steps per episode, seed {first.seed}",
        first.note,
        *paragraph(comparison.budgets),
        *paragraph(comparison.measured),
        "interquartile mean, and mean of the worst fifth of tasks",
        *paragraph(f"[{comparison.intervals}]", indent=""),
    ]
    for split in comparison.splits:
        kept = comparison.valid(split)
        left_out = f", {int((~kept).sum())} left out (diverged)" if not kept.all() else ""
        flagged = ("successful episodes",) if first.family.measures_success else ()
        rows: list[Line] = [("", "runs", "steps", "episodes", "return", "worst fifth", *flagged)]
        controls: list[Line] = [
            ("", "steps", "episodes", "own less another task", "another's", "mean of all")
        ]
        for method in comparison.methods:
            # What does not adapt is the same at every point.
            number = len(comparison.schedule) if method.adapts else 1
            points = [comparison.point(method, split, i) for i in range(number)]
            returns = [
                (*_steps(p), p.iqm.text(), p.worst_fifth.text(), *_successes(p)) for p in points
            ]
            rows += _under((method.label, str(len(method.runs))), returns)
            if len(method.runs) > 1:
                ends = each_run(interquartile_mean, comparison.scores(method, split, -1))
                rows.append(f"seeds in the end: {numbers_text(ends)}")
            if method.adapts:
                others = [
                    (*_steps(p), p.gain_over_other.text("+"), _number(p.other), _number(p.averaged))
                    for p in points
                    if p.other and p.gain_over_other
                ]
                controls += _under((method.label,), others or [("",) * 5])
                controls.append(points[-1].verdict)
        lines += ["", f"{split}: {int(kept.sum())} tasks{left_out}"]
        lines += aligned(rows, right=(1, 2, 3))
        lines += aligned(controls, right=(1, 2, 4, 5)) if len(controls) > 1 else []
    return "\n".join(lines)


def gap_table(gap: Gap) -> str:
    """The share of the gap that each method closes, and each seed's own in the end."""
    comparison = gap.comparison
    lines = [
        "share of the gap between robust policy and oracle that is closed, and that by another",
        "task's adaptation or belief; each seed's own share in the end",
        *paragraph(f"[{comparison.intervals}]", indent=""),
        *paragraph(comparison.budgets),
    ]
    if any(method.remembers for method in gap.others):
        first = comparison.first
        lines += [
            *paragraph("0 episodes: the first of a trial, in which a policy with a belief adapts"),
            *paragraph(definition(first.horizon, first.family.dt_s)),
        ]
    for split in comparison.splits:
        size = gap.size(split)
        lines += ["", f"{split}: the oracle returns {size.text('+')} over the robust policy"]
        if not size.low > 0:
            lines += paragraph(NO_SHARE, indent="  ")
            continue
        rows: list[Line] = [("", "env steps", "steps", "episodes", "closed", "by another task's")]
        for method in gap.others:
            shares = [
                (
                    *map(str, comparison.steps(method, point)),
                    _share(gap.closed(method, split, point)),
                    _share(gap.closed_by_other(method, split, point)),
                )
                for point in gap.points(method)
            ]
            rows += _under((method.label, steps_text(comparison.env_steps(method))), shares)
            seconds = gap.seconds_to_oracle(method, split)
            if seconds is not None:
                rows.append(f"acts like the oracle in its first episode: {seconds_text(seconds)}")
            seeds = gap.by_run(method, split, -1) or []
            if len(seeds) > 1:
                rows.append(f"seeds in the end: {', '.join(f'{100 * s:z.0f} %' for s in seeds)}")
        lines += aligned(rows, right=(1, 2, 3))
    return "\n".join(lines)


def aligned(rows: Sequence[Line], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines in columns, those of `right` flush right.

    A text instead of a row is a line of its own, beside the first column.
    """
    cells = [row for row in rows if not isinstance(row, str)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in rows:
        if isinstance(row, str):
            lines += paragraph(" " * (widths[0] + 4) + row, indent=" " * (widths[0] + 4))
            continue
        padded = (
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append(f"  {'  '.join(padded)}".rstrip())
    return lines


def paragraph(text: str, indent: str = "  ") -> list[str]:
    """A text in lines, the further ones indented."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent)


def _under(label: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows with the label before the first one."""
    return [(label if i == 0 else ("",) * len(label)) + row for i, row in enumerate(rows)]


def _steps(point: Point | MethodPoint) -> tuple[str, str]:
    return str(point.gradient_steps), str(point.adaptation_episodes)


def _successes(point: Point | MethodPoint) -> tuple[str, ...]:
    return () if point.success is None else (percent(point.success),)


def _number(interval: Interval | None) -> str:
    return f"{interval.estimate:z.1f}" if interval else ""


def _share(interval: Interval | None) -> str:
    return percent(interval) if interval else ""


def _split_table(evaluation: Evaluation, result: SplitEvaluation) -> list[str]:
    runs, distinct = len(result.tasks), len(result.groups[1])
    size = f"{distinct} tasks, {runs} runs in all" if result.repeated else f"{runs} tasks"
    gained = "gain over the first episode" if evaluation.remembers else "gain over step 0"
    flagged = ("successful episodes",) if evaluation.family.measures_success else ()
    rows = [("gradient steps", "episodes used", "return", *flagged, gained)]
    curve = evaluation.curve(result)
    for point in curve if evaluation.adapts else curve[:1]:
        gain = point.gain.text("+") if point.adaptation_episodes else ""
        gain = gain if evaluation.adapts else DOES_NOT_ADAPT
        rows.append((*_steps(point), point.returns.text(), *_successes(point), gain))
    quantity, unit = quantity_label(evaluation.family.quantity)
    tasks = [("", "return", f"{quantity}{f', {unit}' if unit else ''}")]
    points = [0, -1] if evaluation.adapts else [0]
    for label, members in _shown_tasks(evaluation, result):
        returns = _change(result.returns[points], members, 1)
        tasks.append((label, returns, _change(result.quantity[points], members, 2)))
    lines = [
        *paragraph(f"{result.split}: {size}; mean return [{evaluation.intervals}]"),
        *aligned(rows, right=(0, 1)),
        *(_run_control_lines(curve) if evaluation.adapts else []),
        *aligned(tasks),
    ]
    if result.faulted_episodes or result.failed_adaptations:
        lines.append(
            f"  left out: {result.faulted_episodes} episodes that diverged; "
            f"{result.failed_adaptations} tasks kept their parameters (gradient not finite)"
        )
    return lines


def _run_control_lines(curve: list[Point]) -> list[str]:
    """Returns with parameters or a belief that are another task's, and the verdict on the gain."""
    if curve[0].remembers:
        return _belief_control_lines(curve)
    rows = [("steps", "episodes", "another's", "own less another's", "mean of all", "own less it")]
    rows += [
        (
            *_steps(point),
            *(_number(point.other.returns), point.other.gain_over.text("+")),
            *(_number(point.averaged.returns), point.averaged.gain_over.text("+")),
        )
        for point in curve
        if point.other and point.averaged
    ]
    if len(rows) == 1:
        return [f"  {NO_CONTROL}"]
    return [f"  {CONTROLS}", *aligned(rows, right=(0, 1, 2, 4)), f"  {curve[-1].verdict}"]


def _belief_control_lines(curve: list[Point]) -> list[str]:
    rows = [("episodes", "another's", "own less another's")]
    rows += [
        (
            str(point.adaptation_episodes),
            _number(point.other.returns),
            point.other.gain_over.text("+"),
        )
        for point in curve
        if point.other
    ]
    if len(rows) == 1:
        return [f"  {NO_CONTROL}"]
    return [f"  {BELIEFS}", *aligned(rows, right=(0, 1)), f"  {curve[-1].verdict}"]


def _shown_tasks(
    evaluation: Evaluation, result: SplitEvaluation
) -> list[tuple[str, NDArray[np.int64]]]:
    """Every task of a few; otherwise those with the largest, the median and the smallest gain.

    Of a policy that does not adapt: the largest, the median and the smallest return.
    """
    family, (group, first) = evaluation.family, result.groups
    if len(first) <= MAX_TASKS_SHOWN:
        return [
            (task_text(family, result.tasks, int(index)), np.flatnonzero(group == g))
            for g, index in enumerate(first)
        ]
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
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan
