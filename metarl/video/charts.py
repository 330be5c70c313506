"""Line charts of a film, which grow with time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

# Okabe and Ito's palette (2008), distinct with every kind of colour blindness.
BEFORE, AFTER, CHANGE = (230, 159, 0), (86, 180, 233), (213, 94, 0)
COLOURS: tuple[Colour, ...] = (BEFORE, AFTER, (0, 158, 115), (204, 121, 167))
"""Of the worlds."""
COMPONENTS: tuple[Colour, ...] = ((238, 241, 245), (240, 228, 66), (204, 121, 167))
"""Of a belief."""
BACKGROUND, BAR = (15, 19, 26), (24, 30, 40)
TEXT, MUTED, RULE = (238, 241, 245), (156, 166, 178), (58, 68, 82)


@dataclass(frozen=True)
class Line:
    """A number over time."""

    values: NDArray[np.float64]  # (T+1,)
    colour: Colour
    length: int
    """Steps that it grows for, <= T."""


@dataclass(frozen=True)
class Look:
    """Sizes of a film: lengths are given as in one with columns of 480 pixels."""

    px: Callable[[float], int]
    """Length in pixels."""
    font: Callable[[float], ImageFont.FreeTypeFont]
    dt_s: float


@dataclass(frozen=True)
class Chart:
    """Lines over the steps of an episode."""

    label: str
    lines: tuple[Line, ...]
    span: tuple[float, float]
    """Values at the lower and upper end of the vertical axis."""
    changes: tuple[int, ...] = ()
    """Steps at which the task changes: vertical lines, bright from then on."""
    targets: tuple[float, ...] = ()
    """Values to reach before and after each change: dashed lines."""
    scales: bool = True
    """Numbers on both axes."""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.lines[0].values) - 1

    @property
    def decimals(self) -> int:
        """Places that tell the values apart: none of hundreds, three of hundredths."""
        size = max(abs(end) for end in self.span)
        return max(0, 1 - math.floor(math.log10(size))) if size > 1e-6 else 0

    def draw(self, size: tuple[int, int], step: int, look: Look) -> Image.Image:
        """The chart after `step` steps, drawn at twice the size and shrunk."""
        (width, height), px = size, look.px
        chart = Image.new("RGB", (2 * width, 2 * height), BACKGROUND)
        draw = ImageDraw.Draw(chart)
        left, right = 2 * px(110 if self.scales else 76), 2 * (width - px(24))
        upper, lower = 2 * px(16), 2 * (height - px(26 if self.scales else 8))
        low, high = self.span

        def point(index: int, value: float) -> tuple[float, float]:
            share = (value - low) / (high - low)
            return left + (right - left) * index / self.steps, lower - (lower - upper) * share

        zero = point(0, 0.0)[1]
        draw.line((left, zero, right, zero), RULE, 2)
        for change in self.changes:
            x = point(change, 0.0)[0]
            ends = (x, upper - 2 * px(8), x, lower + 2 * px(4))
            draw.line(ends, CHANGE if change <= step else MUTED, 2 * max(1, px(1.5)))
        edges = [0, *self.changes, self.steps]
        for value, (start, end) in zip(self.targets, itertools.pairwise(edges), strict=False):
            (x, y), (stop, _) = point(start, value), point(end, value)
            for dash in np.arange(x, stop, 2 * px(12)):
                draw.line((dash, y, min(dash + 2 * px(6), stop), y), TEXT, max(2, 2 * px(1.5)))
        thick, dot = max(3, 2 * px(3 if self.scales else 2)), 2 * px(5 if self.scales else 3)
        for line in self.lines:
            shown = min(step, line.length)
            path = [point(t, line.values[t]) for t in range(shown + 1)]
            if len(path) > 1:
                draw.line(path, line.colour, thick, joint="curve")
            x, y = path[-1]
            draw.ellipse((x - dot, y - dot, x + dot, y + dot), line.colour)
        shrunk = chart.resize((width, height), Image.Resampling.LANCZOS)
        labels = ImageDraw.Draw(shrunk)
        middle = (px(16), (upper + lower) / 4)
        labels.text(middle, self.label, MUTED, look.font(14), anchor="lm", spacing=px(2))
        if self.scales:
            self._label_time(labels, (left, right), lower, look)
            self._label_values(labels, (upper, zero, lower), look)
        return shrunk

    def _label_time(
        self, draw: ImageDraw.ImageDraw, ends: tuple[float, float], lower: float, look: Look
    ) -> None:
        left, right = ends[0] / 2, ends[1] / 2
        y = lower / 2 + look.px(8)
        anchors = {0: "lt", **dict.fromkeys(self.changes, "mt"), self.steps: "rt"}
        for step, anchor in anchors.items():
            x = left + (right - left) * step / self.steps
            text = f"{step * look.dt_s:.3g} s"
            draw.text((x, y), text, MUTED, look.font(14), anchor=anchor)

    def _label_values(
        self, draw: ImageDraw.ImageDraw, heights: tuple[float, float, float], look: Look
    ) -> None:
        (upper, zero, lower), (low, high) = heights, self.span
        near = 2 * look.px(16)  # no label on top of another
        for value, y in ((high, upper), (0.0, zero), (low, lower)):
            if value == 0.0 or abs(y - zero) >= near:
                place, text = (look.px(100), y / 2), f"{value:z.{self.decimals}f}"
                draw.text(place, text, MUTED, look.font(14), anchor="rm")


def span(numbers: Iterable[Any]) -> tuple[float, float]:
    """Lowest and highest of all numbers, which are arrays or floats, with zero."""
    every = np.concatenate([np.zeros(1), *(np.ravel(each) for each in numbers)])
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    return low, max(high, low + 1e-9)
