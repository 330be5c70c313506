"""The report's first figure: one adaptation curve between the robust policy and the oracle."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from metarl.report.headline import met, returns_text
from metarl.report.line_labels import LineLabel, episode_axis, label_ends, thin_ticks
from metarl.report.studies import Group, Row, Study
from metarl.report.style import INK, Picture, Plate, canvas

FONT = 11
HEIGHT = 3.1  # in
THIN = 0.4
"""Opacity of single trainings."""
FIXED = {"robust": "never adapts", "oracle": "observes the task"}
"""The baselines drawn, by their names, with what they are."""


def opening(study: Study) -> Plate | None:
    """The curve of the method that the page speaks of first; None where none adapts.

    Means alone, and each training where there are several: what intervals say stands further down.
    """
    group = study.lead
    if group is None or not np.isfinite(study.curve(group, study.held_out)[-1].mean.estimate):
        return None
    figure, axes = canvas(height=HEIGHT)
    labels, words = [], []
    for fixed in (g for g in study.groups if g.runs.method in FIXED):
        (row,) = study.curve(fixed, study.held_out)
        labels.append(_level(axes, fixed, row))
        words.append(f"{fixed.label}, which {FIXED[fixed.runs.method]}: {_return(row)}")
    rows = study.over_episodes(group, study.held_out)
    labels += _curve(axes, study, group, rows)
    words.insert(0, _words(group, rows))
    axes.set_xlabel("episodes that it has adapted on", fontsize=FONT)
    axes.set_ylabel("return (higher is better)", fontsize=FONT)
    episode_axis(axes, [row.adaptation_episodes for row in rows])
    label_ends(axes, labels, FONT)
    thin_ticks(axes.xaxis)
    picture = Picture("opening", figure, f"{'; '.join(words)}.")
    return Plate(_caption(study, group), [picture], opening=True)


def _caption(study: Study, group: Group) -> str:
    thin = "; thin: each training" if len(group.subjects) > 1 else ""
    tasks = met(held_out=study.held_out == "test")
    return f"Return after so many episodes on a task {tasks}{thin}"


def _level(axes: Axes, group: Group, row: Row) -> LineLabel:
    """What does not adapt, as a line across, and its label."""
    colour, line, _ = group.style
    axes.axhline(row.mean.estimate, color=colour, ls=line, lw=1.6)
    name = f"{group.runs.method}:\n{FIXED[group.runs.method]}"
    return LineLabel(row.mean.estimate, name, INK)


def _curve(axes: Axes, study: Study, group: Group, rows: list[Row]) -> list[LineLabel]:
    """The method's mean, each of its trainings, its control, and their labels."""
    colour, _, marker = group.style
    places = [row.adaptation_episodes for row in rows]
    means = [row.mean.estimate for row in rows]
    if len(group.subjects) > 1:
        points = [
            study.comparison.schedule.index((row.gradient_steps, row.adaptation_episodes))
            for row in rows
        ]
        by_run = [study.comparison.by_run(group.runs, study.held_out, point) for point in points]
        axes.plot(places, by_run, color=colour, lw=0.9, alpha=THIN)
    axes.plot(places, means, color=colour, marker=marker, lw=2.4, ms=6, mew=0)
    labels = [LineLabel(means[-1], group.label, INK)]
    others = [(row.adaptation_episodes, row.other.estimate) for row in rows if row.other]
    if others:
        axes.plot(*zip((places[0], means[0]), *others, strict=True), ":", color=colour, lw=1.6)
        labels.append(LineLabel(others[-1][1], "with another\ntask's adaptation", INK))
    return labels


def _words(group: Group, rows: list[Row]) -> str:
    """The curve as text."""
    after = [f"{_return(row)} after {row.adaptation_episodes}" for row in rows[1:]]
    text = f"Adaptation curve. {group.label} returns {_return(rows[0])} before adapting"
    text += f", {', '.join(after)} episodes"
    if other := rows[-1].other:
        text += f", and {returns_text(other.estimate)[0]} with another task's adaptation"
    return text


def _return(row: Row) -> str:
    return returns_text(row.mean.estimate)[0]
