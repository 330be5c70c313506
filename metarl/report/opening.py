"""The report's first figure: one adaptation curve between the robust policy and the oracle."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from metarl.evaluation.gap import ORACLE, ROBUST
from metarl.evaluation.method_runs import MethodPoint
from metarl.report.headline import met, returns_text
from metarl.report.line_labels import LineLabel, episode_axis, label_ends, thin_ticks
from metarl.report.studies import Group, Study
from metarl.report.style import INK, Picture, Plate, canvas

FONT = 11
HEIGHT = 3.1  # in
THIN = 0.4
"""Opacity of single trainings."""
FIXED = {ROBUST: "never adapts", ORACLE: "observes the task"}
"""The baselines drawn, by their names, with what they are."""


def opening(study: Study) -> Plate | None:
    """The curve of the method that the page speaks of first; None where none adapts.

    Means alone, and each training where there are several: intervals stand further down.
    """
    group = study.lead
    if group is None or not np.isfinite(study.end(group).mean.estimate):
        return None
    figure, axes = canvas(height=HEIGHT)
    labels, fixed_words = [], []
    for fixed in (g for g in study.groups if g.runs.method in FIXED):
        level, kind = study.end(fixed).mean.estimate, FIXED[fixed.runs.method]
        axes.axhline(level, color=fixed.style.colour, ls=fixed.style.line, lw=1.6)
        labels.append(LineLabel(level, f"{fixed.runs.method}:\n{kind}", INK))
        fixed_words.append(f"; {fixed.label}, which {kind}: {returns_text(level)[0]}")
    rows = study.over_episodes(group, study.held_out)
    labels += _curve(axes, study, group, rows)
    before = "episodes of the task before it" if group.remembers else None
    axes.set_xlabel(before or "episodes that it has adapted on", fontsize=FONT)
    axes.set_ylabel("return (higher is better)", fontsize=FONT)
    episode_axis(axes, [row.adaptation_episodes for row in rows])
    label_ends(axes, labels, FONT)
    thin_ticks(axes.xaxis)
    thin = "; thin: each training" if len(group.subjects) > 1 else ""
    title = f"Return against episodes on a task {met(study.held_out)}{thin}"
    alt = f"{_words(group, rows)}{''.join(fixed_words)}."
    return Plate(title, [Picture("opening", figure, alt)], opening=True)


def _curve(axes: Axes, study: Study, group: Group, rows: list[MethodPoint]) -> list[LineLabel]:
    """The method's mean, each of its trainings, its control, and their labels."""
    colour, _, marker = group.style
    places = [row.adaptation_episodes for row in rows]
    means = [row.mean.estimate for row in rows]
    if len(group.subjects) > 1:
        every = study.curve(group, study.held_out)
        points = [i for i, row in enumerate(every) if any(row is kept for kept in rows)]
        by_run = [study.comparison.by_run(group.runs, study.held_out, point) for point in points]
        axes.plot(places, by_run, color=colour, lw=0.9, alpha=THIN)
    axes.plot(places, means, color=colour, marker=marker, lw=2.4, ms=6, mew=0)
    labels = [LineLabel(means[-1], group.label, INK)]
    others = [(row.adaptation_episodes, row.other.estimate) for row in rows if row.other]
    if others:
        axes.plot(*zip((places[0], means[0]), *others, strict=True), ":", color=colour, lw=1.6)
        carried = "belief" if group.remembers else "adaptation"
        labels.append(LineLabel(others[-1][1], f"with another\ntask's {carried}", INK))
    return labels


def _words(group: Group, rows: list[MethodPoint]) -> str:
    """The curve as text."""
    before, *after = (returns_text(row.mean.estimate)[0] for row in rows)
    reached = [
        f"{level} after {row.adaptation_episodes}"
        for level, row in zip(after, rows[1:], strict=True)
    ]
    when = "in its first episode" if group.remembers else "before adapting"
    text = f"Adaptation curve. {group.label} returns {before} {when}"
    text += f", {', '.join(reached)} episodes"
    if other := rows[-1].other:
        text += f", and {returns_text(other.estimate)[0]} with another task's "
        text += "belief" if group.remembers else "adaptation"
    return text
