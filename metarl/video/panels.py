"""The picture of a before/after video: two worlds side by side, captions, and their returns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from metarl.video.encode import Frame
from metarl_envs import InputError

Colour = tuple[int, int, int]

# Okabe and Ito's palette (2008), distinct with every kind of colour blindness.
BEFORE, AFTER = (230, 159, 0), (86, 180, 233)
BACKGROUND, BAR = (15, 19, 26), (24, 30, 40)
TEXT, MUTED, RULE = (238, 241, 245), (156, 166, 178), (58, 68, 82)


@dataclass(frozen=True)
class Side:
    """One half of the picture."""

    title: str
    subtitle: str
    colour: Colour
    returns: NDArray[np.float64]  # (T+1,) running return before the first and after each step
    quantity: NDArray[np.float64]  # (T+1,) running mean of the physical quantity
    length: int
    """Steps until the episode's end, <= T."""
    ending: str
    """Kind of its end, shown from then on; empty where only the time was up."""


@dataclass(frozen=True)
class Composer:
    """Draws the frames of one before/after video.

    All sizes follow from the width of a world's picture, so that a small video is a large one
    shrunk.
    """

    width: int
    """Of one world's picture, pixels; a multiple of 8."""
    height: int
    """Of one world's picture, pixels; a multiple of 8."""
    family: str
    task: str
    meaning: str
    """Meaning of the task's numbers, shown where there is room."""
    pace: str
    quantity: str
    unit: str
    dt_s: float
    before: Side
    after: Side

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            if getattr(self, name) % 8 or getattr(self, name) < 64:
                raise InputError(
                    f"{name} = {getattr(self, name)} pixels: must be a multiple of 8, at least 64"
                )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of a frame, multiples of 16 as H.264 wants."""
        free = sum(self._bars) + self.height + self._px(104)
        return 2 * self.width, -(-free // 16) * 16

    def frame(self, left: Frame, right: Frame, step: int) -> Frame:
        """The frame after `step` steps, from the two worlds' pictures (height, width, 3)."""
        picture = Image.new("RGB", self.size, BACKGROUND)
        draw = ImageDraw.Draw(picture)
        self._draw_header(draw, step)
        top, bottom = self._pictures
        for x, side, world in ((0, self.before, left), (self.width, self.after, right)):
            picture.paste(Image.fromarray(world), (x, top))
            self._draw_side(draw, x, side, step)
        draw.rectangle((self.width - 1, self._bars[0], self.width, bottom), BACKGROUND)
        self._draw_chart(picture, step)
        return np.asarray(picture)

    def _px(self, length: float) -> int:
        """A length that is `length` pixels at a width of 480."""
        return round(length * self.width / 480)

    @cached_property
    def _bars(self) -> tuple[int, int, int]:
        """Heights of the header, of the titles and of the numbers, pixels."""
        return self._px(48), self._px(34), self._px(40)

    @property
    def _pictures(self) -> tuple[int, int]:
        """Upper and lower edge of the worlds' pictures, pixels."""
        top = self._bars[0] + self._bars[1]
        return top, top + self.height

    def _font(self, size: float) -> ImageFont.FreeTypeFont:
        return _font(max(9, self._px(size)))

    def _draw_header(self, draw: ImageDraw.ImageDraw, step: int) -> None:
        pad, middle = self._px(16), self._bars[0] // 2
        width = 2 * self.width
        time = f"{step * self.dt_s:.2f} s · {self.pace} · mean action"
        small = self._font(15)
        draw.text((width - pad, middle), time, MUTED, small, anchor="rm")
        room = width - 3 * pad - draw.textlength(time, small)
        name, task = f"{self.family}  ", self.task
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
        draw.rectangle((x, top, x + self.width, top + titles - 1), BAR)
        draw.rectangle((x, top, x + self._px(6), top + titles - 1), side.colour)
        middle = top + titles // 2
        title = self._font(19)
        draw.text((x + pad, middle), side.title, side.colour, title, anchor="lm")
        after_title = x + pad + draw.textlength(side.title + "  ", title)
        draw.text((after_title, middle), side.subtitle, TEXT, self._font(16), anchor="lm")

        step = min(step, side.length)
        top = self._pictures[1]
        draw.rectangle((x, top, x + self.width, top + numbers), BAR)
        middle = top + numbers // 2
        number, label = self._font(21), self._font(15)
        edge = x + pad
        draw.text((edge, middle), "return  ", MUTED, label, anchor="lm")
        edge += draw.textlength("return  ", label)
        shown = f"{side.returns[step]:z.{max(1, self._decimals)}f}"
        draw.text((edge, middle), shown, side.colour, number, anchor="lm")
        edge = x + self.width - pad
        for text, font, colour in (
            (f" {self.unit}", label, MUTED),
            (f"{side.quantity[step]:z.2f}", number, side.colour),
            (f"mean {self.quantity}  ", label, MUTED),
        ):
            draw.text((edge, middle), text, colour, font, anchor="rm")
            edge -= draw.textlength(text, font)
        if "velocity" in self.quantity and self.unit == "m/s":
            self._draw_track(draw, x, side, step)
        if side.ending and step == side.length:
            self._draw_ending(draw, x, side)

    def _draw_track(self, draw: ImageDraw.ImageDraw, x: int, side: Side, step: int) -> None:
        """The distance covered, on a line in front: the camera follows, so the floor moves."""
        low, high = self._travelled
        scale = (self.width - self._px(120)) / (high - low)
        y = self._pictures[1] - self._px(20)
        zero = x + self._px(60) - low * scale
        place = zero + side.quantity[step] * step * self.dt_s * scale
        ends = (zero + low * scale, zero + high * scale)
        draw.line((ends[0], y, ends[1], y), MUTED, max(1, self._px(1.5)))
        draw.line((zero, y - self._px(5), zero, y + self._px(5)), TEXT, max(1, self._px(1.5)))
        draw.line((zero, y, place, y), side.colour, max(2, self._px(3)))
        dot = self._px(5)
        draw.ellipse((place - dot, y - dot, place + dot, y + dot), side.colour)
        draw.text(
            (place, y - self._px(9)),
            f"{side.quantity[step] * step * self.dt_s:z.1f} m",
            TEXT,
            self._font(14),
            anchor="mb",
            stroke_width=max(1, self._px(2)),
            stroke_fill=BACKGROUND,
        )

    def _draw_ending(self, draw: ImageDraw.ImageDraw, x: int, side: Side) -> None:
        font, pad = self._font(16), self._px(8)
        text = f"{side.ending} at {side.length * self.dt_s:.2f} s"
        right, top = x + self.width - self._px(12), self._pictures[0] + self._px(12)
        left = right - draw.textlength(text, font) - 2 * pad
        draw.rounded_rectangle((left, top, right, top + self._px(28)), pad, BACKGROUND)
        draw.text((left + pad, top + self._px(14)), text, TEXT, font, anchor="lm")

    @cached_property
    def _travelled(self) -> tuple[float, float]:
        """Distances that both reach backward and forward, at least half a metre each way, m."""
        ways = [
            side.quantity * np.minimum(np.arange(len(side.quantity)), side.length) * self.dt_s
            for side in (self.before, self.after)
        ]
        return min(-0.5, *map(np.nanmin, ways)), max(0.5, *map(np.nanmax, ways))

    @cached_property
    def _range(self) -> tuple[float, float]:
        """Lowest and highest running return of both, with zero."""
        every = np.concatenate([self.before.returns, self.after.returns, [0.0]])
        low, high = float(np.nanmin(every)), float(np.nanmax(every))
        return low, max(high, low + 1e-9)

    def _draw_chart(self, picture: Image.Image, step: int) -> None:
        """Running return against time for both worlds, drawn at twice the size and shrunk."""
        top = self._pictures[1] + self._bars[2]
        width, height = picture.width, picture.height - top
        chart = Image.new("RGB", (2 * width, 2 * height), BACKGROUND)
        draw = ImageDraw.Draw(chart)
        left, right = 2 * self._px(110), 2 * (width - self._px(24))
        upper, lower = 2 * self._px(16), 2 * (height - self._px(26))
        low, high = self._range
        steps = len(self.before.returns) - 1

        def point(index: int, value: float) -> tuple[float, float]:
            share = (value - low) / (high - low)
            return left + (right - left) * index / steps, lower - (lower - upper) * share

        zero = point(0, 0.0)[1]
        draw.line((left, zero, right, zero), RULE, 2)
        line, dot = max(3, 2 * self._px(3)), 2 * self._px(5)
        for side in (self.before, self.after):
            shown = min(step, side.length)
            path = [point(t, side.returns[t]) for t in range(shown + 1)]
            if len(path) > 1:
                draw.line(path, side.colour, line, joint="curve")
            x, y = path[-1]
            draw.ellipse((x - dot, y - dot, x + dot, y + dot), side.colour)
        picture.paste(chart.resize((width, height), Image.Resampling.LANCZOS), (0, top))
        self._draw_chart_labels(ImageDraw.Draw(picture), top, (upper, zero, lower), steps)

    @property
    def _decimals(self) -> int:
        """Places that tell returns of this film apart: none of hundreds, three of hundredths."""
        size = max(abs(end) for end in self._range)
        return max(0, 1 - math.floor(math.log10(size))) if size > 1e-6 else 0

    def _draw_chart_labels(
        self, draw: ImageDraw.ImageDraw, top: int, heights: Sequence[float], steps: int
    ) -> None:
        font, (upper, zero, lower) = self._font(14), heights
        low, high = self._range
        for x, text, anchor in (
            (self._px(110), "0 s", "lt"),
            (2 * self.width - self._px(24), f"{steps * self.dt_s:.3g} s", "rt"),
        ):
            draw.text((x, top + lower / 2 + self._px(8)), text, MUTED, font, anchor=anchor)
        draw.text((self._px(16), top + (upper + lower) / 4), "return", MUTED, font, anchor="lm")
        near = 2 * self._px(16)  # no label on top of another
        for value, y in ((high, upper), (0.0, zero), (low, lower)):
            if value == 0.0 or abs(y - zero) >= near:
                place = (self._px(100), top + y / 2)
                draw.text(place, f"{value:z.{self._decimals}f}", MUTED, font, anchor="rm")


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, so that frames look the same on every machine.

    Raises:
        InputError: if Pillow was built without FreeType.
    """
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise InputError("Pillow lacks FreeType, which captions need: pip install -U pillow")
    return font
