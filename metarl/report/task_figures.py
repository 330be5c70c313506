"""The figures of one method: its gain over the task parameters, and its change by adaptation."""

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
from metarl.report.task_axes import Axis, task_axes, with_unit

OPACITY = {"train": 0.35, "test": 0.9, "extrapolation": 0.9}
BINS, SMALLEST_BIN = 8, 5
"""The line through a cloud of tasks: most points, and fewest tasks per point."""
NEIGHBOURS = "mean of neighbours"
POINT = {"lw": 0.4, "edgecolor": INK}
"""Style of points whose colour is a number."""


def gain(group: Group) -> Plate:
    """Gain of every task, the mean over seeds, against its parameters; training range shaded."""
    results = group.pooled()
    words = _gain_words(group, results)
    pictures = []
    for number, axis in enumerate(task_axes(group.subjects[0].family, results)):
        figure, axes = canvas([*axis.gains, NEIGHBOURS])
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
    gains = [np.where(np.isfinite(r.gains[-1]), r.gains[-1], -np.inf) for r in results]
    every = np.concatenate(gains)
    valid = every[np.isfinite(every)]
    if len(valid) == 0:
        return "Every task diverged in one seed or another."
    split = int(np.argmax([np.max(of, initial=-np.inf) for of in gains]))
    family, best = group.subjects[0].family, int(np.argmax(gains[split]))
    return (
        f"{len(valid)} tasks, median gain {np.median(valid):.1f}, worst {valid.min():.1f}, best "
        f"{valid.max():.1f} at {task_text(family, results[split].tasks, best)}; "
        f"{np.mean(valid > 0):.0%} of the tasks gain."
    )


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
        axes.plot(*line, color=INK, lw=1.8, label=NEIGHBOURS)
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xlabel(axis.horizontal + (" (shaded: training)" if axis.trained else ""))
    axes.set_ylabel("gain in return")
    legend(axes)


def binned(values: np.ndarray, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Means of the values and gains of neighbouring tasks.

    None for a few tasks, or where many of them have the same value.
    """
    valid = np.isfinite(gains)
    values, gains = values[valid], gains[valid]
    count = min(BINS, len(values) // SMALLEST_BIN)
    if count < 3 or len(np.unique(values)) < len(values) // 2:
        return None
    parts = np.array_split(np.argsort(values, kind="stable"), count)
    means = np.array([(values[part].mean(), gains[part].mean()) for part in parts])
    return means[:, 0], means[:, 1]


def draw_plane(axes: Axes, axis: Axis) -> None:
    """Gain as colour over two parameters."""
    every = np.concatenate([gained for _, gained in axis.gains.values()])
    limit = float(np.nanmax(np.abs(every))) or 1.0
    style = {"cmap": "RdBu", "vmin": -limit, "vmax": limit, "s": 36} | POINT
    drawn = [
        axes.scatter(*values.T, c=gained, marker=SPLIT_MARKERS[split], label=split, **style)
        for split, (values, gained) in axis.gains.items()
    ]
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(axis.horizontal)
    axes.set_ylabel(axis.vertical or "")
    colour_bar(axes, drawn[0], "gain in return")
    legend(axes)


def changes(group: Group) -> Plate | None:
    """Change of each layer, and the adapted policies; None where too few tasks adapted."""
    every = [subject.change for subject in group.subjects if subject.change is not None]
    shown = group.representative
    if not every or shown.change is None:
        return None
    which = f" (on the right: {shown.label})" if len(group.subjects) > 1 else ""
    title = f"{group.label}: change of each layer by adaptation, and the adapted policies{which}"
    return Plate(title, [layers(group, every), places(group, shown.change)], group.label)


def layers(group: Group, every: list[Change]) -> Picture:
    """Change of each entry of the parameters relative to its length: median, 10 to 90 %."""
    names = list(every[0].moved)
    moved = [np.concatenate([change.moved[name] for change in every]) for name in names]
    low, middle, high = np.array([np.quantile(way, [0.1, 0.5, 0.9]) for way in moved]).T
    figure, axes = canvas(x="change / length before; line: 10 to 90 % of tasks")
    rows = np.arange(len(names))
    axes.barh(rows, middle, color=group.style.colour, height=0.6)
    axes.hlines(rows, low, high, color=INK, lw=1.2)
    axes.set_yticks(rows, [name.removeprefix(TASK) for name in names])
    axes.invert_yaxis()
    axes.grid(visible=False)
    alt = (
        f"Change of each layer by adaptation, median over tasks. Most: "
        f"{names[int(np.argmax(middle))]}, by {middle.max():.2g} of its length."
    )
    return Picture(f"layers-{group.slug}", figure, alt)


def places(group: Group, change: Change) -> Picture:
    """The adapted policies on the plane in which they differ most, coloured by task."""
    parameter = group.subjects[0].family.parameters[0]
    numbers = change.tasks.values[parameter.name].reshape(len(change.tasks), -1).numpy()
    shown, label, colours = numbers.mean(axis=1), with_unit(parameter), "viridis"
    if numbers.shape[1] == 2:
        shown = np.arctan2(numbers[:, 1], numbers[:, 0])
        label, colours = f"direction of {parameter.name}, rad", "twilight"
    elif numbers.shape[1] > 2:
        label = f"mean of {label}"
    figure, axes = canvas(x="adapted parameters")
    colour_bar(axes, axes.scatter(*change.places.T, c=shown, cmap=colours, s=40, **POINT), label)
    variance = f"{change.share:.0%} of their variance"
    axes.set_title(f"a plane with {variance}", loc="left", fontsize=FONT, color=INK)
    alt = (
        f"The adapted policies of {len(change.tasks)} tasks in parameter space, on a plane that "
        f"shows {variance}, coloured by {label}."
    )
    return Picture(f"places-{group.slug}", figure, alt)
