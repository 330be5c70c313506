"""The report's tables, in HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from metarl.budgets import steps_text
from metarl.comparison import seeds_text
from metarl.gap import percent
from metarl.report.groups import Group, Row, Study
from metarl.report.subject import Subject
from metarl_envs import Split

NONE = "–"


def comparison_table(study: Study, split: Split) -> str:
    """Before and after, gain, robust means and comparisons: one row per method."""
    last = len(study.comparison.schedule) - 1
    reference = reference_of(study)
    shares = any(row.closed for row in study.rows if row.split == split)
    controlled = any(row.gain_over_other for row in study.rows if row.split == split)
    head = ["method", "seeds", "env steps", "before", "after", "each seed", "gain"]
    head += ["another task's", "gain over another task's"] if controlled else []
    head += ["IQM", "worst fifth"]
    head += [f"beats {reference.label}"] if reference else []
    head += ["gap closed", "by another task's"] if shares else []
    rows = []
    for group in study.groups:
        first, *_, end = [*study.curve(group, split)] * 2
        cells = [
            group.label,
            f"{len(group.subjects)}",
            steps_text(study.comparison.env_steps(group.runs)),
            first.mean.text() if group.adapts else NONE,
            end.mean.text(),
            seeds_text(study.comparison.by_run(group.runs, split, last)),
            end.gain.text("+") if group.adapts else NONE,
        ]
        if controlled:
            cells += [
                end.other.text() if end.other else NONE,
                end.gain_over_other.text("+") if end.gain_over_other else NONE,
            ]
        cells += [end.iqm.text(), end.worst_fifth.text()]
        if reference:
            own, other = (study.comparison.scores(g.runs, split, last) for g in (group, reference))
            found = study.comparison.improvement(own, other, split)
            cells.append(NONE if group is reference else percent(found))
        if shares:
            cells += [percent(s) if s else NONE for s in (end.closed, end.closed_by_other)]
        rows.append(cells)
    return table(head, rows)


def reference_of(study: Study) -> Group | None:
    """What methods are compared with, task by task: robust, else the first; None for one alone."""
    if len(study.groups) < 2:
        return None
    return next((g for g in study.groups if g.runs.method == "robust"), study.groups[0])


def points_table(study: Study, *, closed: bool) -> str:
    """Every point of the curves of methods that adapt: mean return, or share of the gap closed."""
    points = study.comparison.schedule
    several = points[-1][0] > 1
    head = ["method", "env steps", "split"] + [
        f"{used} episodes" + (f", {steps} steps" if several else "") for steps, used in points
    ]

    def cell(row: Row) -> str:
        if closed:
            return percent(row.closed) if row.closed else NONE
        over = f"; {row.gain_over_other.text('+')} over another's" if row.gain_over_other else ""
        return f"{row.mean.text()}{over}"

    rows = [
        [
            group.label,
            steps_text(study.comparison.env_steps(group.runs)),
            split,
            *(cell(row) for row in study.curve(group, split)),
        ]
        for group in study.adapting
        for split in study.splits
    ]
    return table(head, rows)


def parameter_table(study: Study) -> str:
    """The family's parameters and their ranges."""
    rows = [
        [
            p.name,
            "" if p.unit == "1" else p.unit,
            p.train.describe(),
            NONE if p.extrapolation is None else p.extrapolation.describe(),
            p.description,
        ]
        for p in study.family.parameters
    ]
    return table(["parameter", "unit", "training", "extrapolation", "meaning"], rows)


def cost_table(subjects: Sequence[Subject]) -> str:
    """Environment steps, iterations and hours."""
    rows = []
    for subject in subjects:
        config, metadata = subject.saved.config, subject.saved.metadata
        rows.append([
            subject.name,
            subject.method,
            f"{config.seed}",
            f"{metadata.get('env_steps', 0):,}",
            f"{metadata.get('iteration', 0):,}",
            f"{config.meta_batch_size} x {config.episodes_per_task} x {config.horizon}",
            f"{subject.hours:.2f}" if subject.metrics else NONE,
        ])  # fmt: skip
    head = ["run", "method", "seed", "environment steps", "iterations"]
    return table([*head, "tasks x episodes x steps", "hours"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table that scrolls sideways where it is wider than the page."""
    titles = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    lines = [
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
