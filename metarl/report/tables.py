"""The report's tables as rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from metarl.evaluation.budgets import steps_text
from metarl.evaluation.gap import ROBUST, percent
from metarl.evaluation.labels import DOES_NOT_ADAPT
from metarl.evaluation.statistics import Interval, numbers_text
from metarl.report.measured_run import Subject
from metarl.report.studies import Group, Study
from metarl_envs import Split

NONE = "–"


class Table(NamedTuple):
    """Rows of text under the names of their columns."""

    head: list[str]
    rows: list[list[str]]


def return_table(study: Study, split: Split) -> Table:
    """Returns before and after, robust means and comparisons: one row per method."""
    reference = reference_of(study)
    before = "before"
    if any(group.remembers for group in study.groups):
        before = "before, or first episode"
    head = ["method", "seeds", "env steps", before, "after", "each seed", "IQM", "worst fifth"]
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
            numbers_text(study.comparison.by_run(group.runs, split, -1)),
            end.iqm.text(),
            end.worst_fifth.text(),
        ]
        if reference:
            own, other = (study.comparison.scores(g.runs, split, -1) for g in (group, reference))
            better = study.comparison.improvement(own, other, split)
            cells.append(NONE if group is reference else percent(better))
        rows.append(cells)
    return Table(head, rows)


def gain_table(study: Study, split: Split) -> Table | None:
    """Gain from adapting, beside another task's adaptation and the gap: one row per method.

    None where no method adapts and there is no gap.
    """
    rows = [row for row in study.rows if row.split == split]
    shares = any(row.closed for row in rows)
    if not study.adapting and not shares:
        return None
    controlled = any(row.gain_over_other for row in rows)
    head = ["method", "env steps", "gain"]
    head += ["return with another task's", "gain over another task's"] if controlled else []
    head += ["gap closed", "by another task's"] if shares else []
    table = Table(head, [])
    for group in study.groups:
        end = study.curve(group, split)[-1]
        cells = [group.label, steps_text(study.comparison.env_steps(group.runs))]
        cells.append(end.gain.text("+") if end.gain else DOES_NOT_ADAPT)
        cells += [_text(end.other), _text(end.gain_over_other, "+")] if controlled else []
        cells += [_share(end.closed), _share(end.closed_by_other)] if shares else []
        table.rows.append(cells)
    return table


def reference_of(study: Study) -> Group | None:
    """The method that others are compared with, task by task: robust, else the first.

    None for a method alone.
    """
    if len(study.groups) < 2:
        return None
    return next((g for g in study.groups if g.runs.method == ROBUST), study.groups[0])


def points_table(study: Study) -> Table:
    """Every point of the curves of methods that adapt, one below the other."""
    several = study.comparison.schedule[-1][0] > 1
    shares = any(row.closed for row in study.rows)
    head = ["method", "env steps", "tasks", "episodes"]
    head += ["gradient steps"] if several else []
    head += ["return", "gain over another task's"] + (["gap closed"] if shares else [])
    rows = []
    for group in study.adapting:
        trained = steps_text(study.comparison.env_steps(group.runs))
        for row in (row for split in study.splits for row in study.curve(group, split)):
            cells = [group.label, trained, row.split, f"{row.adaptation_episodes}"]
            cells += [f"{row.gradient_steps}"] if several else []
            cells += [row.mean.text(), _text(row.gain_over_other, "+")]
            rows.append([*cells, *([_share(row.closed)] if shares else [])])
    return Table(head, rows)


def parameter_table(study: Study) -> Table:
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
    return Table(["parameter", "unit", "training", "extrapolation", "meaning"], rows)


def cost_table(subjects: Sequence[Subject]) -> Table:
    """Environment steps, iterations and hours."""
    head = ["run", "method", "seed", "environment steps", "iterations"]
    head += ["tasks x episodes x steps", "hours"]
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
    return Table(head, rows)


def _text(interval: Interval | None, sign: str = "") -> str:
    return interval.text(sign) if interval else NONE


def _share(interval: Interval | None) -> str:
    return percent(interval) if interval else NONE
