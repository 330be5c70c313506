"""The report's figures, each with a text that says what it shows to those who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metarl.adaptation_curve import SplitEvaluation
from metarl.captions import task_text
from metarl.params import TASK
from metarl.report.change import Change
from metarl.report.subject import Subject
from metarl.report.taskspace import Axis, task_axes
from metarl.reporting import smooth
from metarl_envs import SPLITS

# Okabe and Ito's palette (2008), legible on white and on black; markers say the same.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#7F7F7F")
MARKERS = "os^Dv*P"
INK, FAINT = "#1c2530", "#c9d1d9"
"""Text and grid; the page replaces both by colours that fit its background."""
SPLIT_MARKERS = {"train": "o", "test": "s", "extrapolation": "^"}
FONT = 9


class Picture(NamedTuple):
    """A figure with its name for files and what it shows in words."""

    name: str
    figure: Figure
    alt: str


class Plate(NamedTuple):
    """Pictures side by side under one title."""

    title: str
    pictures: list[Picture]


def learning(subjects: Sequence[Subject]) -> Plate | None:
    """Return against environment steps, after and before adaptation; None without any run."""
    trained = [subject for subject in subjects if subject.metrics]
    if not trained:
        return None
    figure, axes = canvas()
    words = []
    for index, subject in enumerate(trained):
        steps = column(subject, "rollout/env_steps") / 1e6
        post, pre = (column(subject, f"rollout/return_{when}") for when in ("post", "pre"))
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(steps, post, color=colour, lw=0.7, alpha=0.35)
        axes.plot(steps, smooth(post), color=colour, lw=2, label=subject.label)
        axes.plot(steps, smooth(pre), color=colour, lw=1.2, ls="--")
        after, before = smooth(post)[-1], smooth(pre)[-1]
        words.append(
            f"{subject.label} ends at {after:.0f} after and {before:.0f} before adaptation, "
            f"{steps[-1]:.1f} million steps"
        )
    axes.set_xlabel("million environment steps, adaptation included")
    axes.set_ylabel("return of the iteration's tasks")
    legend(axes)
    alt = f"Learning curves. {'; '.join(words)}."
    title = "Meta-training: return after (solid) and before (dashed) adaptation"
    return Plate(title, [Picture("learning", figure, alt)])


def adaptation(subjects: Sequence[Subject]) -> Plate:
    """Return against adaptation episodes with 95 % bands, a picture per split."""
    found = {result.split for subject in subjects for result in subject.evaluation.splits}
    pictures = []
    for split in (split for split in SPLITS if split in found):
        figure, axes = canvas()
        words = [
            draw_curve(axes, subject, result, index)
            for index, subject in enumerate(subjects)
            for result in subject.evaluation.splits
            if result.split == split
        ]
        axes.set_title(split, loc="left", fontsize=FONT + 1)
        axes.set_xlabel("adaptation episodes")
        axes.set_ylabel("return")
        legend(axes)
        alt = f"Adaptation curves on {split} tasks. {'; '.join(words)}."
        pictures.append(Picture(f"adaptation-{split}", figure, alt))
    return Plate("Return after so many episodes of a new task, with 95 % bands", pictures)


def draw_curve(axes: Axes, subject: Subject, result: SplitEvaluation, index: int) -> str:
    """One line with its band; the same in words."""
    points = subject.evaluation.curve(result)
    episodes = [point.adaptation_episodes for point in points]
    means, lows, highs = (np.array([p.returns[i] for p in points]) for i in range(3))
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    axes.fill_between(episodes, lows, highs, color=colour, alpha=0.2, lw=0)
    axes.plot(episodes, means, color=colour, marker=marker, lw=2, ms=6, label=subject.label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return f"{subject.label}: {means[0]:.1f} before, {means[-1]:.1f} after {episodes[-1]} episodes"


def gain(subject: Subject) -> Plate:
    """Gain of every task against each of its parameters, the training range shaded."""
    results = subject.evaluation.splits
    sound = np.concatenate([r.gains[-1][np.isfinite(r.gains[-1])] for r in results])
    best = max(results, key=lambda r: np.nanmax(r.gains[-1]))
    where = task_text(subject.family, best.tasks, int(np.nanargmax(best.gains[-1])))
    pictures = []
    for number, axis in enumerate(task_axes(subject.family, results)):
        figure, axes = canvas()
        draw_plane(axes, axis) if axis.vertical is not None else draw_gains(axes, axis)
        alt = (
            f"Gain from adaptation over {axis.horizontal}. {len(sound)} tasks, median gain "
            f"{np.median(sound):.1f}, worst {sound.min():.1f}, best {sound.max():.1f} at {where}; "
            f"{np.mean(sound > 0):.0%} of the tasks gain."
        )
        pictures.append(Picture(f"gain-{subject.slug}-{number}", figure, alt))
    return Plate(f"{subject.label}: gain from adaptation, task by task", pictures)


def draw_gains(axes: Axes, axis: Axis) -> None:
    """Gain against one parameter; the training range is the shaded band."""
    for low, high in axis.trained:
        axes.axvspan(low, high, color=FAINT, alpha=0.35, lw=0)
    for index, (split, (values, gains)) in enumerate(axis.gains.items()):
        marker, colour = SPLIT_MARKERS[split], COLOURS[index]
        axes.plot(values, gains, marker, color=colour, ms=5, alpha=0.75, mew=0, label=split)
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xlabel(axis.horizontal + (" (shaded: training range)" if axis.trained else ""))
    axes.set_ylabel("gain in return")
    legend(axes)


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
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure(root=True)
    assert figure is not None  # axes of ours belong to one
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize=FONT,
        labelcolor=INK,
    )


def layers(subject: Subject, change: Change) -> Picture:
    """How far each entry of the parameters moves, relative to its length: median, 10 to 90 %."""
    figure, axes = canvas()
    names = list(change.moved)
    middle = [float(np.median(change.moved[name])) for name in names]
    spread = np.array([np.quantile(change.moved[name], [0.1, 0.9]) for name in names]).T
    rows = np.arange(len(names))
    axes.barh(rows, middle, color=COLOURS[0], height=0.6)
    axes.hlines(rows, *spread, color=INK, lw=1.2)
    axes.set_yticks(rows, [name.removeprefix(TASK) for name in names])
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xlabel("change over length before: median, 10 to 90 % of the tasks")
    most = names[int(np.argmax(middle))]
    alt = f"How far adaptation moves each layer. Most: {most}, by {max(middle):.2g} of its length."
    return Picture(f"layers-{subject.slug}", figure, alt)


def places(subject: Subject, change: Change) -> Picture:
    """The adapted policies on the plane in which they differ most, coloured by task."""
    figure, axes = canvas()
    parameter = subject.family.parameters[0]
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
    axes.set_xlabel(f"adapted parameters: a plane with {change.share:.0%} of their variance")
    alt = (
        f"Where the adapted policies of {len(change.tasks)} tasks lie in parameter space, on a "
        f"plane that shows {change.share:.0%} of their variance, coloured by {label}."
    )
    return Picture(f"places-{subject.slug}", figure, alt)


def changes(subject: Subject, change: Change) -> Plate:
    """What adaptation moves, and where to."""
    title = f"{subject.label}: what adaptation moves, and where the adapted policies lie"
    return Plate(title, [layers(subject, change), places(subject, change)])


def column(subject: Subject, key: str) -> np.ndarray:
    """One metric over the iterations, NaN where it is missing."""
    values = [line.get(key) for line in subject.metrics]
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def canvas() -> tuple[Figure, Axes]:
    """An empty figure in colours that the page can exchange."""
    figure = Figure(figsize=(5.2, 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, labelsize=FONT)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set(color=INK, fontsize=FONT)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def colour_bar(axes: Axes, drawn: PathCollection, label: str) -> None:
    """What the colours mean."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # axes of ours belong to one
    bar = figure.colorbar(drawn, ax=axes)
    bar.set_label(label, color=INK, fontsize=FONT)
    bar.ax.tick_params(colors=INK, labelsize=FONT)
    bar.ax.spines["outline"].set_visible(False)


def legend(axes: Axes) -> None:
    """Without a frame, in the ink of the rest; none for a single line."""
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(frameon=False, fontsize=FONT, labelcolor=INK)
