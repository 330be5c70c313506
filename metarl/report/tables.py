"""The report's tables, in HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from metarl.evaluation.budgets import steps_text
from metarl.evaluation.comparison import seeds_text
from metarl.evaluation.gap import percent
from metarl.evaluation.labels import DOES_NOT_ADAPT
from metarl.report.measured_run import Subject
from metarl.report.studies import Group, Study
from metarl_envs import Split

NONE = "–"


def return_table(study: Study, split: Split) -> str:
    """Returns before and after, robust means and comparisons: one row per method."""
    last = len(study.comparison.schedule) - 1
    reference = reference_of(study)
    head = ["method", "seeds", "env steps", "before", "after", "each seed", "IQM", "worst fifth"]
    head += [f"beats {reference.label}"] if reference else []
    rows = []
    for group in study.groups:
        first, *_, end = [*study.curve(group, split)] * 2
        cells = [
            group.label,
            f"{len(group.subjects)}",
            steps_text(study.comparison.env_steps(group.runs)),
            first.mean.text() if group.adapts else DOES_NOT_ADAPT,
            end.mean.text(),
            seeds_text(study.comparison.by_run(group.runs, split, last)),
            end.iqm.text(),
            end.worst_fifth.text(),
        ]
        if reference:
            own, other = (study.comparison.scores(g.runs, split, last) for g in (group, reference))
            found = study.comparison.improvement(own, other, split)
            cells.append(NONE if group is reference else percent(found))
        rows.append(cells)
    return table(head, rows)


def gain_table(study: Study, split: Split) -> str:
    """What adapting gained, beside another task's adaptation and the gap: one row per method.

    Empty where no method adapts and there is no gap.
    """
    shares = any(row.closed for row in study.rows if row.split == split)
    if not study.adapting and not shares:
        return ""
    controlled = any(row.gain_over_other for row in study.rows if row.split == split)
    head = ["method", "env steps", "gain"]
    head += ["return with another task's", "gain over another task's"] if controlled else []
    head += ["gap closed", "by another task's"] if shares else []
    rows = []
    for group in study.groups:
        end = study.curve(group, split)[-1]
        cells = [group.label, steps_text(study.comparison.env_steps(group.runs))]
        cells.append(end.gain.text("+") if end.gain else DOES_NOT_ADAPT)
        if controlled:
            cells += [
                end.other.text() if end.other else NONE,
                end.gain_over_other.text("+") if end.gain_over_other else NONE,
            ]
        if shares:
            cells += [percent(s) if s else NONE for s in (end.closed, end.closed_by_other)]
        rows.append(cells)
    return table(head, rows)


def reference_of(study: Study) -> Group | None:
    """What methods are compared with, task by task: robust, else the first; None for one alone."""
    if len(study.groups) < 2:
        return None
    return next((g for g in study.groups if g.runs.method == "robust"), study.groups[0])


def points_table(study: Study) -> str:
    """Every point of the curves of methods that adapt, one below the other."""
    several = study.comparison.schedule[-1][0] > 1
    shares = any(row.closed for row in study.rows)
    head = ["method", "env steps", "tasks", "episodes"]
    head += ["gradient steps"] if several else []
    head += ["return", "gain over another task's"] + (["gap closed"] if shares else [])
    rows = []
    for group in study.adapting:
        for row in (row for split in study.splits for row in study.curve(group, split)):
            cells = [group.label, steps_text(study.comparison.env_steps(group.runs)), row.split]
            cells.append(f"{row.adaptation_episodes}")
            cells += [f"{row.gradient_steps}"] if several else []
            cells.append(row.mean.text())
            cells.append(row.gain_over_other.text("+") if row.gain_over_other else NONE)
            cells += [percent(row.closed) if row.closed else NONE] if shares else []
            rows.append(cells)
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
    """An HTML table in a box of its own, in which it scrolls sideways if it must.

    Cells bear their column's title, which narrow pages show instead of the head; an estimate and
    its interval may stand in two lines, and neither is broken.
    """
    titles = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    lines = []
    for first, *others in rows:
        cells = f'<th scope="row">{html.escape(first)}</th>' + "".join(
            f'<td data-title="{html.escape(name, quote=True)}">{_cell(text)}</td>'
            for name, text in zip(head[1:], others, strict=True)
        )
        lines.append(f"<tr>{cells}</tr>")
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    """Escaped, in one box, with intervals in one piece."""
    whole = re.sub(r"\[[^\]\[]*\]", r'<span class="interval">\g<0></span>', html.escape(text))
    return f"<span>{whole}</span>"
