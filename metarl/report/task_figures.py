"""The figures of one method: its gain over the task parameters, and what adaptation moved."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from metarl.evaluation.labels import task_text
from metarl.evaluation.results import SplitEvaluation
from metarl.policies.params import TASK
from metarl.report.parameter_change import Change
from metarl.report.studies import Group
from metarl.report.style import (
    FAINT,
    FONT,
    INK,
    SPLIT_MARKERS,
    Picture,
    Plate,
    Style,
    canvas,
    colour_bar,
    legend,
)
from metarl.report.task_axes import Axis, task_axes

OPACITY = {"train": 0.35, "test": 0.9, "extrapolation": 0.9}
BINS, SMALLEST_BIN = 8, 5
"""The line through a cloud of tasks: at most so many points, each the mean of at least so many."""


def gain(group: Group) -> Plate:
    """Gain of every task, the mean over seeds, against its parameters; training range shaded."""
    family = group.subjects[0].family
    results = group.pooled()
    pictures = []
    words = _gain_words(group, results)
    for number, axis in enumerate(task_axes(family, results)):
        figure, axes = canvas(2)
        if axis.vertical is not None:
            draw_plane(axes, axis)
        else:
            draw_gains(axes, axis, group.style)
        alt = f"Gain from adaptation over {axis.horizontal}. {words}"
        pictures.append(Picture(f"gain-{group.slug}-{number}", figure, alt))
    seeds = ", mean over seeds" if len(group.subjects) > 1 else ""
    title = f"{group.label}: gain in return from adaptation, task by task{seeds}"
    return Plate(title, pictures, group.label)


def _gain_words(group: Group, results: list[SplitEvaluation]) -> str:
    sound = np.concatenate([r.gains[-1][np.isfinite(r.gains[-1])] for r in results])
    if len(sound) == 0:
        return "Every task diverged in one seed or another."
    best = max(results, key=lambda r: np.max(r.gains[-1], initial=-np.inf, where=_sound(r)))
    where = int(np.argmax(np.where(_sound(best), best.gains[-1], -np.inf)))
    return (
        f"{len(sound)} tasks, median gain {np.median(sound):.1f}, worst {sound.min():.1f}, best "
        f"{sound.max():.1f} at {task_text(group.subjects[0].family, best.tasks, where)}; "
        f"{np.mean(sound > 0):.0%} of the tasks gain."
    )


def _sound(result: SplitEvaluation) -> np.ndarray:
    return np.isfinite(result.gains[-1])


def draw_gains(axes: Axes, axis: Axis, style: Style) -> None:
    """Gain against one parameter; the training range is the shaded band."""
    for low, high in axis.trained:
        axes.axvspan(low, high, color=FAINT, alpha=0.35, lw=0)
    for split, (values, gains) in axis.gains.items():
        axes.plot(
            values, gains, SPLIT_MARKERS[split], color=style.colour, ms=4.5, mew=0, label=split,
            alpha=OPACITY[split],
        )  # fmt: skip
    line = binned(*(np.concatenate(part) for part in zip(*axis.gains.values(), strict=True)))
    if line is not None:
        axes.plot(*line, color=INK, lw=1.8, label="mean of neighbours")
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xlabel(axis.horizontal + (" (shaded: training)" if axis.trained else ""))
    axes.set_ylabel("gain in return")
    legend(axes)


def binned(values: np.ndarray, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Means of the gains of neighbouring tasks: places and means; None where that says nothing.

    Nothing is said of a few tasks, or of values that are the same for many of them.
    """
    sound = np.isfinite(gains)
    values, gains = values[sound], gains[sound]
    count = min(BINS, len(values) // SMALLEST_BIN)
    if count < 3 or len(np.unique(values)) < len(values) // 2:
        return None
    parts = np.array_split(np.argsort(values, kind="stable"), count)
    return (
        np.array([values[part].mean() for part in parts]),
        np.array([gains[part].mean() for part in parts]),
    )


def draw_plane(axes: Axes, axis: Axis) -> None:
    """Gain as colour over two parameters."""
    gains = np.concatenate([gained for _, gained in axis.gains.values()])
    limit = float(np.nanmax(np.abs(gains))) or 1.0
    drawn = [
        axes.scatter(
            *values.T,
            c=gained,
            cmap="RdBu",
            vmin=-limit,
            vmax=limit,
            s=36,
            lw=0.4,
            edgecolor=INK,
            marker=SPLIT_MARKERS[split],
            label=split,
        )
        for split, (values, gained) in axis.gains.items()
    ]
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(axis.horizontal)
    axes.set_ylabel(axis.vertical or "")
    colour_bar(axes, drawn[0], "gain in return")
    legend(axes)


def changes(group: Group) -> Plate | None:
    """What adaptation moves, and where to; None where too few tasks adapted."""
    found = [subject.change for subject in group.subjects if subject.change is not None]
    shown = group.representative
    if not found or shown.change is None:
        return None
    several = len(group.subjects) > 1
    title = f"{group.label}: what adaptation moves, and where the adapted policies lie" + (
        f" (on the right: {shown.label})" if several else ""
    )
    return Plate(title, [layers(group, found), places(group, shown.change)], group.label)


def layers(group: Group, found: list[Change]) -> Picture:
    """How far each entry of the parameters moves, relative to its length: median, 10 to 90 %."""
    names = list(found[0].moved)
    moved = [np.concatenate([change.moved[name] for change in found]) for name in names]
    figure, axes = canvas()
    middle = [float(np.median(way)) for way in moved]
    spread = np.array([np.quantile(way, [0.1, 0.9]) for way in moved]).T
    rows = np.arange(len(names))
    axes.barh(rows, middle, color=group.style.colour, height=0.6)
    axes.hlines(rows, *spread, color=INK, lw=1.2)
    axes.set_yticks(rows, [name.removeprefix(TASK) for name in names])
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xlabel("change / length before; line: 10 to 90 % of tasks")
    most = names[int(np.argmax(middle))]
    alt = (
        f"How far adaptation moves each layer, median over tasks. Most: {most}, by "
        f"{max(middle):.2g} of its length."
    )
    return Picture(f"layers-{group.slug}", figure, alt)


def places(group: Group, change: Change) -> Picture:
    """The adapted policies on the plane in which they differ most, coloured by task."""
    figure, axes = canvas()
    parameter = group.subjects[0].family.parameters[0]
    numbers = change.tasks.values[parameter.name].reshape(len(change.tasks), -1).numpy()
    unit = "" if parameter.unit == "1" else f", {parameter.unit}"
    match numbers.shape[1]:
        case 1:
            shown, label, colours = numbers[:, 0], f"{parameter.name}{unit}", "viridis"
        case 2:
            shown = np.arctan2(numbers[:, 1], numbers[:, 0])
            label, colours = f"direction of {parameter.name}, rad", "twilight"
        case _:
            shown = numbers.mean(axis=1)
            label, colours = f"mean of {parameter.name}{unit}", "viridis"
    drawn = axes.scatter(*change.places.T, c=shown, cmap=colours, s=40, lw=0.4, edgecolor=INK)
    colour_bar(axes, drawn, label)
    axes.set_title(
        f"a plane with {change.share:.0%} of their variance", loc="left", fontsize=FONT, color=INK
    )
    axes.set_xlabel("adapted parameters")
    alt = (
        f"Where the adapted policies of {len(change.tasks)} tasks lie in parameter space, on a "
        f"plane that shows {change.share:.0%} of their variance, coloured by {label}."
    )
    return Picture(f"places-{group.slug}", figure, alt)
