"""Labels that stand apart: by hand, at random, and in the figures that people see."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from metarl.report.line_labels import (
    LineLabel,
    box_of,
    episode_axis,
    label_ends,
    spread,
    thin_ticks,
)


def figure():
    found = Figure(figsize=(4.7, 3.4), layout="constrained")
    FigureCanvasAgg(found)
    return found, found.add_subplot()


def overlaps(boxes) -> int:
    """Pairs of boxes that share some area."""
    return sum(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def shown_ticks(axis):
    axis.get_figure(root=True).draw_without_rendering()
    return [label for label in axis.get_ticklabels() if label.get_visible() and label.get_text()]


@pytest.mark.parametrize(
    ("centres", "heights", "expected"),
    [
        ([1.0, 5.0], [2, 2], [1.0, 5.0]),  # apart already
        ([4.0, 4.0, 4.0], [2, 2, 2], [2.0, 4.0, 6.0]),  # evenly about where they were
        ([9.9, 9.8], [2, 2], [9.0, 7.0]),  # the upper one stays the upper one, below the top
        ([1.0, 1.5, 8.0], [2, 2, 2], [1.0, 3.0, 8.0]),  # above the bottom
        ([4.0, 5.0], [2, 4], [3.0, 6.0]),  # boxes of two sizes
    ],
)
def test_boxes_move_as_little_as_they_can(centres, heights, expected):
    assert spread(centres, heights, 0, 10) == pytest.approx(expected)


def test_no_two_boxes_overlap_and_their_order_stays():
    rng = np.random.default_rng(0)
    for _ in range(200):
        number = int(rng.integers(1, 7))
        centres, heights = rng.uniform(-1, 11, number), rng.uniform(0.2, 1.4, number)
        placed = np.array(spread(centres.tolist(), heights.tolist(), 0, 10))
        order = np.argsort(centres, kind="stable")
        room = np.diff(placed[order]) - (heights[order][1:] + heights[order][:-1]) / 2
        assert (room > -1e-9).all()
        assert (placed - heights / 2 > -1e-9).all() and (placed + heights / 2 < 10 + 1e-9).all()


def test_names_at_the_ends_of_lines_do_not_overlap_nor_leave_the_figure():
    drawn, axes = figure()
    ends = {"oracle:\nobserves the task": 3.0, "A method with a long name": 2.9, "robust": 2.95}
    for height in ends.values():
        axes.plot([0, 20], [0, height])
    label_ends(axes, [LineLabel(height, text, "black") for text, height in ends.items()], 11)
    drawn.draw_without_rendering()
    texts = [child for child in axes.get_children() if isinstance(child, Annotation)]
    boxes = [box_of(text) for text in texts]
    assert len(texts) == 3 and overlaps(boxes) == 0
    assert all(box.x1 <= drawn.bbox.x1 and box.y1 <= drawn.bbox.y1 for box in boxes)
    by_height = sorted(zip(ends.values(), boxes, strict=True), key=lambda pair: pair[0])
    assert [box.y0 for _, box in by_height] == sorted(box.y0 for box in boxes)


@pytest.mark.parametrize(
    "places",
    [[0, 1, 2, 5, 20], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20], [0, 98, 99, 100], [0, 1], [0]],
)
def test_ticks_do_not_touch_and_the_first_and_last_stay(places):
    _, axes = figure()
    axes.plot(places, places)
    episode_axis(axes, places)
    thin_ticks(axes.xaxis)
    labels = shown_ticks(axes.xaxis)
    assert overlaps([label.get_window_extent() for label in labels]) == 0
    texts = [label.get_text() for label in labels]
    assert (texts[0], texts[-1]) == (str(places[0]), str(places[-1]))
    if len(places) == 5:
        assert texts == ["0", "1", "2", "5", "20"]  # there is room for all
