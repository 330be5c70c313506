"""Style of the report's figures: form, palette, canvas and legend."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

# Okabe and Ito's palette (2008), legible on white and on black; markers say the same.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "*")
ROUNDS = ("-", "--", "-.")
"""Line styles once all colours are taken."""
INK, FAINT, GREY = "#1c2530", "#c9d1d9", "#7a8794"
"""Text and grid, which the page replaces by colours that fit its background; and a grey that fits
either."""
FIXED = (("--", GREY), (":", GREY), ("-.", GREY), ((0, (5, 1)), INK), ((0, (1, 1)), INK))
"""Lines of methods that do not adapt and have no style of their own."""
NAMED = {
    "robust": ("--", INK),
    "oracle": ("-", INK),
    "random": (":", GREY),
    "scratch": ("-.", GREY),
}
"""Lines of the baselines that do not adapt."""
SPLIT_MARKERS = {"train": "o", "test": "s", "extrapolation": "^"}
FONT = 10
WIDTH, HEIGHT = 4.7, 3.4  # in
LEGEND_ROW = 0.21  # in
FOOTNOTE_LETTERS = 85
"""Of a line."""
LONG_LABEL = 20
"""Two labels of this many letters fit side by side."""


class Picture(NamedTuple):
    """A figure with its name for files and what it shows in words."""

    name: str
    figure: Figure
    alt: str


class Plate(NamedTuple):
    """Pictures side by side under one title."""

    title: str
    pictures: list[Picture]
    method: str = ""
    """The label of the method that it is about; empty: about all of them."""
    opening: bool = False
    """True if the page opens with it."""


class Style(NamedTuple):
    """Colour, line and marker of a method in every figure."""

    colour: str
    line: str | tuple[int, tuple[int, ...]]
    marker: str


def method_styles(kinds: Sequence[tuple[str, bool]]) -> list[Style]:
    """A style for each method, given by its registered name and whether it adapts.

    Those that adapt take the colours in turn, the others lines in ink and grey.
    """
    styles: list[Style] = []
    turns = itertools.product(ROUNDS, zip(COLOURS, MARKERS, strict=True))
    colours = itertools.cycle(Style(colour, line, marker) for line, (colour, marker) in turns)
    for name, adapts in kinds:
        if adapts:
            styles.append(next(colours))
            continue
        own = [Style(colour, line, "") for line, colour in (NAMED.get(name, FIXED[0]), *FIXED)]
        styles.append(next((style for style in own if style not in styles), own[0]))
    return styles


def canvas(
    labels: Sequence[str] = (), height: float = HEIGHT, *, title: str = "", x: str = "", y: str = ""
) -> tuple[Figure, Axes]:
    """An empty figure in colours that the page can exchange, with room for a legend above.

    Args:
        labels: of the legend.
        height: without the legend, in.
        title, x, y: texts above the axes and beside them.
    """
    rows = legend_shape(labels)[0] if len(labels) > 1 else 0
    figure = Figure(figsize=(WIDTH, height + LEGEND_ROW * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, labelsize=FONT)
    axes.set_xlabel(x, color=INK, fontsize=FONT)
    axes.set_ylabel(y, color=INK, fontsize=FONT)
    if title:
        axes.set_title(title, loc="left", fontsize=FONT + 1, color=INK, fontweight="bold")
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def legend_shape(labels: Sequence[str]) -> tuple[int, int]:
    """Rows and columns of a legend above the axes."""
    columns = 2 if max(map(len, labels), default=0) <= LONG_LABEL else 1
    return -(-len(labels) // columns), columns


def legend(axes: Axes) -> None:
    """Above the axes, where it covers nothing; none for a single line."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) < 2:
        return
    figure_of(axes).legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=legend_shape(labels)[1],
        frameon=False,
        fontsize=FONT,
        labelcolor=INK,
        handlelength=2.4,
        borderaxespad=0.1,
        labelspacing=0.3,
    )


def footnote(axes: Axes, text: str) -> None:
    """Small below the axes."""
    wrapped = textwrap.fill(text, FOOTNOTE_LETTERS)
    figure_of(axes).supxlabel(wrapped, fontsize=FONT - 2.5, color=GREY)


def colour_bar(axes: Axes, drawn: PathCollection, label: str) -> None:
    """A scale of the colours beside the axes."""
    bar = figure_of(axes).colorbar(drawn, ax=axes)
    bar.set_label(label, color=INK, fontsize=FONT)
    bar.ax.tick_params(colors=INK, labelsize=FONT)
    bar.ax.spines["outline"].set_visible(False)


def figure_of(axes: Axes) -> Figure:
    """The figure that axes belong to."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # axes of ours belong to one
    return figure
