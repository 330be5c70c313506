"""Labels of figures that stand apart: names at the ends of lines, and ticks that are legible."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

LOGARITHMIC = 8
"""Ratio of most to fewest episodes from which their axis is logarithmic."""
APART = 4.0  # pt
"""Between neighbouring labels."""
INDENT = 11
"""Of labels from the axes' edge, in pt; where one had to move, a thin line leads to it."""
LETTERS = 20
"""Of a label's line."""
LEADER = {"arrowstyle": "-", "lw": 0.6, "alpha": 0.6, "shrinkA": 1, "shrinkB": 1}
"""Style of the line from a label to its height."""


class LineLabel(NamedTuple):
    """A name beside the right end of a line."""

    height: float
    """Of the line's end, in data."""
    text: str
    colour: str


def spread(
    centres: Sequence[float], heights: Sequence[float], low: float, high: float
) -> list[float]:
    """Centres of boxes moved as little as possible until none overlaps, in the order of `centres`.

    The moves' sum of squares is the smallest of all that keep the boxes' order and keep them
    between `low` and `high`, if there is room: isotonic regression of the centres less the room
    that the boxes below need, by pooling adjacent violators (Barlow et al. 1972).
    """
    order = np.argsort(centres, kind="stable")
    sizes = np.asarray(heights, dtype=float)[order]
    below = np.concatenate([[0.0], np.cumsum((sizes[:-1] + sizes[1:]) / 2)])
    pools: list[tuple[float, int]] = []  # mean, number of boxes
    for value in np.asarray(centres, dtype=float)[order] - below:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (first, m), (second, n) = pools[-2:]
            pools[-2:] = [((first * m + second * n) / (m + n), m + n)]
    fitted = np.repeat([mean for mean, _ in pools], [number for _, number in pools])
    top = high - sizes[-1] / 2 - below[-1]
    fitted = np.maximum(np.minimum(fitted, top), low + sizes[0] / 2)
    moved = np.empty(len(order))
    moved[order] = fitted + below
    return moved.tolist()


def label_ends(axes: Axes, labels: Sequence[LineLabel], fontsize: float) -> None:
    """Write names right of the axes at the heights of their lines, moved apart where they meet.

    Call it last: it lays the figure out to find the room.
    """
    if not labels:
        return
    texts = [
        axes.annotate(
            "\n".join(textwrap.fill(line, LETTERS) for line in label.text.split("\n")),
            (1, label.height),
            (INDENT, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            fontsize=fontsize,
            color=label.colour,
            linespacing=1.1,
            annotation_clip=False,
            arrowprops=LEADER | {"color": label.colour, "relpos": (0, 0.5)},
        )
        for label in labels
    ]
    figure = axes.get_figure(root=True)
    assert figure is not None  # the axes of a figure
    figure.draw_without_rendering()
    points = 72 / figure.dpi
    boxes = [box_of(text) for text in texts]
    ends = [float(axes.transData.transform((0, label.height))[1]) * points for label in labels]
    frame = axes.get_window_extent()
    heights = [box.height * points + APART for box in boxes]
    places = spread(ends, heights, frame.y0 * points - APART, frame.y1 * points + APART)
    for text, end, place in zip(texts, ends, places, strict=True):
        text.set_position((INDENT, place - end))


def box_of(label: Annotation) -> Bbox:
    """The box of a label's words, without its line, in pixels of the figure as it is laid out."""
    from matplotlib.text import Text

    return Text.get_window_extent(label)


def episode_axis(axes: Axes, places: Sequence[int]) -> None:
    """An axis of whole numbers from 0 with a tick at each of them.

    Logarithmic beyond the first where they are far apart: small numbers of episodes are the
    interesting ones.
    """
    from matplotlib.ticker import NullLocator

    ticks = sorted(set(places))
    fewest = next((tick for tick in ticks if tick > 0), 1)
    if ticks[-1] >= LOGARITHMIC * fewest:
        axes.set_xscale("symlog", linthresh=fewest, linscale=0.5)
        axes.set_xlim(-0.06 * fewest, ticks[-1] * 1.08)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def thin_ticks(axis: Axis) -> None:
    """Empty the tick labels that would touch others: the first and the last stay.

    Call it last: it lays the figure out to find the room.
    """
    figure = axis.get_figure(root=True)
    assert figure is not None  # the axis of a figure
    figure.draw_without_rendering()
    labels = [label for label in axis.get_ticklabels() if label.get_text()]
    boxes = [label.get_window_extent() for label in labels]
    gap = APART * figure.dpi / 72
    kept = 0
    for number in range(1, len(labels)):
        touches_last = number < len(labels) - 1 and boxes[number].x1 + gap > boxes[-1].x0
        if boxes[number].x0 < boxes[kept].x1 + gap or touches_last:
            labels[number].set_visible(False)
        else:
            kept = number
