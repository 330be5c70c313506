"""The picture of a film: worlds side by side with captions, and charts below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from metarl.video.charts import (
    BACKGROUND,
    BAR,
    CHANGE,
    COMPONENTS,
    MUTED,
    TEXT,
    Chart,
    Colour,
    Line,
    Look,
    span,
)
from metarl.video.encode import Frame
from metarl.video.legend import draw_legend
from metarl_envs import InputError
from metarl_envs.rendering.looks import Legend

CHART = 104
"""Least height of the chart below the worlds, as in a film with columns of 480 pixels."""


@dataclass(frozen=True)
class Side:
    """One world of the picture, in a column of its own."""

    title: str
    subtitle: str
    colour: Colour
    returns: NDArray[np.float64]  # (T+1,) running return before the first and after each step
    quantity: NDArray[np.float64]  # (T+1,) running mean of the physical quantity
    way: NDArray[np.float64]  # (T+1,) its integral over time: of a velocity the distance
    trace: NDArray[np.float64]  # (T+1,) its mean over the last moments
    length: int
    """Steps until the episode's end, <= T."""
    ending: str
    """Kind of its end, shown from then on; empty where only the time was up."""
    belief: NDArray[np.float64] | None = None  # (T+1, k) components; None: there is none


@dataclass(frozen=True)
class Stage:
    """A part of the episode with one task."""

    start: int
    """Its first step."""
    task: str
    change: str = ""
    """Description of what changed at its start; empty for the first one."""
    target: float | None = None
    """The value that the task asks of the physical quantity."""


@dataclass(frozen=True)
class Composer:
    """Draws the frames of one film.

    All sizes follow from one width, so that a small video is a large one shrunk.
    """

    width: int
    """Of a column, pixels, a multiple of 8; a world alone is as wide as two."""
    height: int
    """Of a world's picture, pixels; a multiple of 8."""
    family: str
    stages: tuple[Stage, ...]
    meaning: str
    """Meaning of the task's numbers, shown where there is room."""
    pace: str
    quantity: str
    unit: str
    dt_s: float
    sides: tuple[Side, ...]
    charted: Literal["return", "quantity"] = "return"
    """Shown over time below the worlds."""

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            if getattr(self, name) % 8 or getattr(self, name) < 64:
                raise InputError(
                    f"{name} = {getattr(self, name)} pixels: must be a multiple of 8, at least 64"
                )
        if self.size[0] % 16:
            raise InputError(
                f"width = {self.width} pixels: must be a multiple of 16 for {len(self.sides)} "
                "worlds side by side"
            )

    @property
    def column(self) -> int:
        """Width of a world's picture, pixels."""
        return column_width(self.width, len(self.sides))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of a frame, multiples of 16 as H.264 wants."""
        free = self._strips[1] + self._px(CHART)
        return self.column * len(self.sides), -(-free // 16) * 16

    def fitted(self, height: int) -> Composer:
        """The same with pictures so high that frames have this height, a multiple of 16."""
        rest = self._strips[1] + self._px(CHART) - self.height
        return replace(self, height=(height - rest) // 8 * 8)

    def frame(self, worlds: Sequence[Frame], step: int, legend: Legend = ()) -> Frame:
        """The frame after `step` steps, from the worlds' pictures, each (height, column, 3)."""
        picture = Image.new("RGB", self.size, BACKGROUND)
        draw = ImageDraw.Draw(picture)
        self._draw_header(draw, step)
        top, bottom = self._pictures
        lefts = range(0, picture.width, self.column)
        for x, side, world in zip(lefts, self.sides, worlds, strict=True):
            picture.paste(Image.fromarray(world), (x, top))
            self._draw_side(draw, x, side, step)
        below_note = top + self._px(46 if self._changes else 12)
        draw_legend(draw, legend, (self._px(12), below_note), self._look)
        for x in lefts[1:]:
            draw.rectangle((x - 1, self._bars[0], x, bottom), BACKGROUND)
        top, bottom = self._strips
        for x, strip in zip(lefts, self._beliefs, strict=False):
            picture.paste(strip.draw((self.column, bottom - top), step, self._look), (x, top))
        chart = self._returns if self.charted == "return" else self._quantities
        drawn = chart.draw((picture.width, picture.height - bottom), step, self._look)
        picture.paste(drawn, (0, bottom))
        return np.asarray(picture)

    def _px(self, length: float) -> int:
        """A length that is `length` pixels at a width of 480."""
        return round(length * self.width / 480)

    @property
    def _look(self) -> Look:
        return Look(self._px, self._font, self.dt_s)

    @cached_property
    def _bars(self) -> tuple[int, int, int]:
        """Heights of the header, of the titles and of the numbers, pixels."""
        return self._px(48), self._px(34), self._px(40)

    @property
    def _pictures(self) -> tuple[int, int]:
        """Upper and lower edge of the worlds' pictures, pixels."""
        top = self._bars[0] + self._bars[1]
        return top, top + self.height

    @property
    def _strips(self) -> tuple[int, int]:
        """Upper and lower edge of the strips with the beliefs, pixels."""
        top = self._pictures[1] + self._bars[2]
        return top, top + (self._px(64) if self._beliefs else 0)

    def _stage(self, step: int) -> Stage:
        """The stage in force after this many steps."""
        return [stage for stage in self.stages if stage.start <= step][-1]

    @cached_property
    def _changes(self) -> tuple[int, ...]:
        """Steps at which the task changes."""
        return tuple(stage.start for stage in self.stages[1:])

    @cached_property
    def _returns(self) -> Chart:
        """Running returns of all worlds."""
        lines = tuple(Line(side.returns, side.colour, side.length) for side in self.sides)
        return Chart("return", lines, span(side.returns for side in self.sides), self._changes)

    @cached_property
    def _quantities(self) -> Chart:
        """The physical quantity in all worlds, and what the task asks of it."""
        lines = tuple(Line(side.trace, side.colour, side.length) for side in self.sides)
        targets = tuple(stage.target for stage in self.stages if stage.target is not None)
        label = "\n".join([*self.quantity.split(), *([self.unit] if self.unit else [])])
        ends = span([*(side.trace for side in self.sides), *targets])
        return Chart(label, lines, ends, self._changes, targets)

    @cached_property
    def _beliefs(self) -> tuple[Chart, ...]:
        """The components of the beliefs, a chart for each world on one scale."""
        shown = [(side.belief, side.length) for side in self.sides if side.belief is not None]
        ends = span(values for values, _ in shown)
        return tuple(
            Chart(
                "belief",
                tuple(
                    Line(line, colour, length)
                    for line, colour in zip(values.T, COMPONENTS, strict=False)
                ),
                ends,
                self._changes,
                scales=False,
            )
            for values, length in shown
        )

    def _font(self, size: float) -> ImageFont.FreeTypeFont:
        return _font(max(9, self._px(size)))

    def _draw_header(self, draw: ImageDraw.ImageDraw, step: int) -> None:
        pad, middle = self._px(16), self._bars[0] // 2
        width = self.size[0]
        time = f"{step * self.dt_s:.2f} s · {self.pace} · mean action"
        small = self._font(15)
        draw.text((width - pad, middle), time, MUTED, small, anchor="rm")
        room = width - 3 * pad - draw.textlength(time, small)
        name, task = f"{self.family}  ", self._stage(step).task
        size = 21.0
        while draw.textlength(name + task, self._font(size)) > room and size > 12:
            size -= 1
        font = self._font(size)
        while draw.textlength(name + task, font) > room and len(task) > 3:
            task = f"{task[:-4]}..."
        draw.text((pad, middle), name, MUTED, font, anchor="lm")
        edge = pad + draw.textlength(name, font)
        draw.text((edge, middle), task, TEXT, font, anchor="lm")
        edge += draw.textlength(f"{task}  ", font)
        if edge + draw.textlength(self.meaning, small) <= pad + room:
            draw.text((edge, middle), self.meaning, MUTED, small, anchor="lm")

    def _draw_side(self, draw: ImageDraw.ImageDraw, x: int, side: Side, step: int) -> None:
        pad, (top, titles, numbers) = self._px(16), self._bars
        draw.rectangle((x, top, x + self.column, top + titles - 1), BAR)
        draw.rectangle((x, top, x + self._px(6), top + titles - 1), side.colour)
        middle = top + titles // 2
        title = self._font(19)
        draw.text((x + pad, middle), side.title, side.colour, title, anchor="lm")
        after_title = x + pad + draw.textlength(side.title + "  ", title)
        draw.text((after_title, middle), side.subtitle, TEXT, self._font(16), anchor="lm")

        stage = self._stage(min(step, side.length - 1))  # one that began after its end is not its
        step = min(step, side.length)
        top = self._pictures[1]
        draw.rectangle((x, top, x + self.column, top + numbers), BAR)
        middle = top + numbers // 2
        number, label = self._font(21), self._font(15)
        edge = x + pad
        draw.text((edge, middle), "return  ", MUTED, label, anchor="lm")
        edge += draw.textlength("return  ", label)
        shown = f"{side.returns[step]:z.{max(1, self._returns.decimals)}f}"
        draw.text((edge, middle), shown, side.colour, number, anchor="lm")
        edge = x + self.column - pad
        since, wanted = f"mean {self.quantity}  ", ""
        if stage.start:
            since = f"mean since {stage.start * self.dt_s:.2f} s  "
        if self.charted == "quantity" and stage.target is not None:
            wanted = f"  target {stage.target:z.2f}"
        for text, font, colour in (
            (wanted, label, TEXT),
            (f" {self.unit}", label, MUTED),
            (f"{side.quantity[step]:z.2f}", number, side.colour),
            (since, label, MUTED),
        ):
            draw.text((edge, middle), text, colour, font, anchor="rm")
            edge -= draw.textlength(text, font)
        if self.unit == "m/s" and "error" not in self.quantity:
            self._draw_track(draw, x, side, step)
        inside = self._px(12)
        if side.ending and step == side.length:
            text = f"{side.ending} at {side.length * self.dt_s:.2f} s"
            self._draw_note(draw, (x + self.column - inside, "r"), text, BACKGROUND)
        if stage.change:
            text = f"{stage.start * self.dt_s:.2f} s: {stage.change}"
            self._draw_note(draw, (x + inside, "l"), text, CHANGE)

    def _draw_track(self, draw: ImageDraw.ImageDraw, x: int, side: Side, step: int) -> None:
        """The distance covered, on a line in front: the camera follows, so the floor moves."""
        low, high = self._travelled
        scale = (self.column - self._px(120)) / (high - low)
        y = self._pictures[1] - self._px(20)
        zero = x + self._px(60) - low * scale
        place = zero + side.way[step] * scale
        ends = (zero + low * scale, zero + high * scale)
        draw.line((ends[0], y, ends[1], y), MUTED, max(1, self._px(1.5)))
        draw.line((zero, y - self._px(5), zero, y + self._px(5)), TEXT, max(1, self._px(1.5)))
        draw.line((zero, y, place, y), side.colour, max(2, self._px(3)))
        dot = self._px(5)
        draw.ellipse((place - dot, y - dot, place + dot, y + dot), side.colour)
        draw.text(
            (place, y - self._px(9)),
            f"{side.way[step]:z.1f} m",
            TEXT,
            self._font(14),
            anchor="mb",
            stroke_width=max(1, self._px(2)),
            stroke_fill=BACKGROUND,
        )

    def _draw_note(
        self, draw: ImageDraw.ImageDraw, side: tuple[int, str], text: str, colour: Colour
    ) -> None:
        """A note in an upper corner of a picture, from its left or right edge on."""
        (edge, anchor), pad = side, self._px(8)
        room, size = self.column - 2 * pad - 2 * self._px(12), 16.0
        while draw.textlength(text, self._font(size)) > room and size > 11:
            size -= 1
        font = self._font(size)
        while draw.textlength(text, font) > room and len(text) > 3:
            text = f"{text[:-4]}..."
        top, width = self._pictures[0] + self._px(12), draw.textlength(text, font) + 2 * pad
        left = edge if anchor == "l" else edge - width
        ends = (left, top, left + width, top + self._px(28))
        draw.rounded_rectangle(ends, pad, colour)
        draw.text((left + pad, top + self._px(14)), text, TEXT, font, anchor="lm")

    @cached_property
    def _travelled(self) -> tuple[float, float]:
        """Distances that all reach backward and forward, at least half a metre each way, m."""
        return span([-0.5, 0.5, *(side.way for side in self.sides)])


def column_width(width: int, worlds: int) -> int:
    """Width of a world's picture: a world alone is as wide as two."""
    return width if worlds > 1 else 2 * width


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, so that frames look the same on every machine.

    Raises:
        InputError: if Pillow was built without FreeType.
    """
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise InputError("Pillow lacks FreeType, which captions need: pip install -U pillow")
    return font
