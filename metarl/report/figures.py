"""The figures of all methods: adaptation curves, share of the gap, learning curves.

Each has a text for readers who cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from metarl.evaluation.budgets import steps_text
from metarl.evaluation.gap import percent
from metarl.evaluation.method_runs import MethodPoint
from metarl.report.curves import column, smooth
from metarl.report.line_labels import episode_axis, thin_ticks
from metarl.report.measured_run import Subject
from metarl.report.studies import Group, Study
from metarl.report.style import (
    FAINT,
    GREY,
    INK,
    SPLIT_MARKERS,
    Picture,
    Plate,
    canvas,
    footnote,
    legend,
)
from metarl.report.within_episode import BY_TIME, within_episode
from metarl_envs import Split

DOTTED = "; dotted: with another task's adapted parameters, or belief"
SHARE_LIMITS = (-100.0, 200.0)
"""Of the axis of shares, in %; values beyond are clipped."""
GRID = 400
BAND, FAINT_BAND, THIN = 0.2, 0.08, 0.35
"""Opacities."""


def first_episode(study: Study) -> Plate | None:
    """Reward by time within the first episode; None without policies that adapt in it."""
    styles = [group.style for group in study.groups]
    found = [within_episode(study.comparison, styles, split) for split in study.splits]
    pictures = [picture for picture in found if picture]
    return Plate(BY_TIME, pictures) if pictures else None


def adaptation(study: Study) -> list[Plate]:
    """Return over adaptation episodes, and over gradient steps where there are several."""
    plates = [
        Plate(
            f"Mean return against adaptation episodes{DOTTED}",
            [_adaptation(study, split, over_steps=False) for split in study.splits],
        )
    ]
    if study.comparison.schedule[-1][0] > 1:
        pictures = [_adaptation(study, split, over_steps=True) for split in study.splits]
        title = f"Mean return against gradient steps, each on all its episodes{DOTTED}"
        plates.append(Plate(title, pictures))
    return plates


def _adaptation(study: Study, split: Split, *, over_steps: bool) -> Picture:
    figure, axes = canvas(
        [group.label for group in study.groups if not (over_steps and group.remembers)],
        title=split,
        x="gradient steps" if over_steps else "adaptation episodes",
        y="return",
    )
    words, ticks = [], {0}
    for group in study.groups:
        if over_steps and group.remembers:
            continue
        if not group.adapts:
            words.append(_level(axes, group, study.curve(group, split)[0]))
            continue
        rows = study.over_steps(group, split) if over_steps else study.over_episodes(group, split)
        places = [row.gradient_steps if over_steps else row.adaptation_episodes for row in rows]
        ticks |= set(places)
        words.append(_curve(axes, group, rows, places))
    axes.margins(x=0.03)
    if over_steps:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        episode_axis(axes, sorted(ticks))
    legend(axes)
    covered = f"bands: {study.comparison.intervals}"
    footnote(axes, covered)
    thin_ticks(axes.xaxis)
    kind = "steps" if over_steps else "episodes"
    alt = f"Adaptation curves over {kind} on {split} tasks, {covered}. {'; '.join(words)}."
    return Picture(f"adaptation-{'steps-' if over_steps else ''}{split}", figure, alt)


def _curve(axes: Axes, group: Group, rows: Sequence[MethodPoint], places: Sequence[int]) -> str:
    """One line with its band; the same in words."""
    mean, low, high = (np.array([row.mean[i] for row in rows]) for i in range(3))
    colour, line, marker = group.style
    axes.fill_between(places, low, high, color=colour, alpha=BAND, lw=0)
    axes.plot(
        places, mean, color=colour, ls=line, marker=marker, lw=2, ms=6, mew=0, label=group.label
    )
    used = rows[-1].adaptation_episodes
    before = "in the first episode" if group.remembers else "before"
    words = f"{group.label}: {mean[0]:.1f} {before}, {mean[-1]:.1f} after {used} episodes"
    after = [(p, row.other.estimate) for p, row in zip(places, rows, strict=True) if row.other]
    if after:
        axes.plot(*zip((places[0], mean[0]), *after, strict=True), ":", color=colour, lw=1.4)
        carried = "belief" if group.remembers else "adapted parameters"
        words += f", {after[-1][1]:.1f} with another task's {carried}"
    return words


def _level(axes: Axes, group: Group, row: MethodPoint) -> str:
    """A method that does not adapt, as a line across with its band; the same in words."""
    colour, line, _ = group.style
    if np.isfinite(row.mean.low):
        axes.axhspan(row.mean.low, row.mean.high, color=colour, alpha=FAINT_BAND, lw=0)
    axes.axhline(row.mean.estimate, color=colour, ls=line, lw=1.6, label=group.label)
    return f"{group.label}: {row.mean.estimate:.1f}, it does not adapt"


def shares(study: Study) -> Plate | None:
    """The share of the gap that each method closes, per split; None without a significant gap."""
    groups = [g for g in study.groups if any(r.closed for r in study.rows if r.method is g.runs)]
    splits: list[Split] = [
        s for s in study.splits if any(r.closed for r in study.rows if r.split == s)
    ]
    if not groups:
        return None
    x = "% of the gap (0: robust, 100: oracle)"
    figure, axes = canvas(splits, height=1.1 + 0.42 * len(groups), x=x)
    offsets = np.linspace(-0.2, 0.2, len(splits)) if len(splits) > 1 else [0.0]
    words = []
    for number, group in enumerate(groups):
        colour = group.style.colour
        for offset, split in zip(offsets, splits, strict=True):
            row = study.curve(group, split)[-1]
            assert row.closed is not None  # the split has a gap
            middle, *ends = np.clip([100 * value for value in row.closed], *SHARE_LIMITS)
            place = number + offset
            axes.hlines(place, *ends, color=colour, lw=1.6)
            axes.plot(middle, place, SPLIT_MARKERS[split], color=colour, ms=6, mew=0)
            words.append(f"{group.label} on {split}: {percent(row.closed)}")
            if other := row.closed_by_other:
                hollow = np.clip(100 * other.estimate, *SHARE_LIMITS)
                axes.plot(hollow, place, SPLIT_MARKERS[split], color=colour, ms=6, mfc="none")
                words[-1] += f", with another task's adapted parameters {percent(other)}"
    for split in splits:
        axes.plot([], [], SPLIT_MARKERS[split], color=GREY, ms=6, mew=0, label=split)
    for end in (0, 100):
        axes.axvline(end, color=INK, lw=0.9)
    steps = [steps_text(study.comparison.env_steps(group.runs)) for group in groups]
    labels = [f"{group.label}\n{n} steps" for group, n in zip(groups, steps, strict=True)]
    axes.set_yticks(range(len(groups)), labels)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=FAINT, lw=0.7)
    legend(axes)
    covered = f"lines: {study.comparison.intervals}"
    footnote(axes, covered)
    shown = "Share of the gap between robust policy and oracle that is closed"
    alt = f"{shown}, {covered}. {'; '.join(words)}."
    title = (
        f"{shown} after all episodes, and the environment steps of training; hollow: with another "
        "task's adapted parameters"
    )
    return Plate(title, [Picture("gap", figure, alt)])


def learning(study: Study) -> Plate | None:
    """Return against environment steps after adaptation, and before; None without any run."""
    groups = [g for g in study.groups if any(subject.metrics for subject in g.subjects)]
    if not groups:
        return None
    pictures = [_learning(groups, "post")]
    adapting = [group for group in groups if group.adapts]
    if adapting:
        pictures.append(_learning(adapting, "pre"))
    several = max(len(group.subjects) for group in groups) > 1
    title = "Learning curves: return of each iteration's training tasks" + (
        "; mean, and range of the seeds" if several else ""
    )
    return Plate(title, pictures)


def _learning(groups: Sequence[Group], when: str) -> Picture:
    title = {"post": "after adaptation", "pre": "before adaptation"}[when]
    x = "million environment steps, adaptation included"
    figure, axes = canvas([group.label for group in groups], title=title, x=x, y="return")
    words = []
    for group in groups:
        colour, line, _ = group.style
        curves = [_seed_curve(subject, when) for subject in group.subjects if subject.metrics]
        grid, values = common(curves)
        for steps, returns in curves:
            axes.plot(steps, returns, color=colour, lw=0.7, alpha=THIN)
        axes.fill_between(grid, values.min(0), values.max(0), color=colour, alpha=BAND, lw=0)
        axes.plot(grid, values.mean(0), color=colour, ls=line, lw=2, label=group.label)
        words.append(
            f"{group.label} ends at {values.mean(0)[-1]:.0f}, {grid[-1]:.2g} million steps"
        )
    legend(axes)
    name = "learning" if when == "post" else "learning-before"
    return Picture(name, figure, f"Learning curves {title}. {'; '.join(words)}.")


def common(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Curves (steps, values) of several seeds at the same steps, where all have some: (G,), (S, G).

    Between iterations values are interpolated; seeds that were logged alike stay as they are.
    """
    first = curves[0][0]
    if all(np.array_equal(steps, first) for steps, _ in curves):
        return first, np.stack([values for _, values in curves])
    begin, end = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    grid = np.linspace(begin, max(begin, end), GRID)
    return grid, np.stack([np.interp(grid, steps, values) for steps, values in curves])


def _seed_curve(subject: Subject, when: str) -> tuple[np.ndarray, np.ndarray]:
    """Million environment steps and the running mean of the return, where it is known."""
    steps = column(subject.metrics, "rollout/env_steps") / 1e6
    values = smooth(column(subject.metrics, f"rollout/return_{when}"))
    known = np.isfinite(values)
    return (steps[known], values[known]) if known.any() else (steps[:1], np.zeros(1))
