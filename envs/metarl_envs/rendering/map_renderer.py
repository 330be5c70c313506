"""A map of the plane: the picture of robots without a body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from metarl_envs.scene.markers import Marker, TaskValues

if TYPE_CHECKING:
    from metarl_envs.engines import AnyEngine
    from metarl_envs.rendering.looks import Legend

GOAL_COLOUR = (230, 74, 60)


class MapRenderer:
    """A map of the plane: axes, goal, the point and the way it came."""

    def __init__(
        self,
        width: int,
        height: int,
        half_extent_m: float = 1.0,
        markers: Sequence[Marker] = (Marker("goal"),),
    ) -> None:
        self._size, self._markers = (width, height), markers
        self._scale = min(width, height) / (2 * half_extent_m)
        self._half_extent_m = half_extent_m
        self._trails: dict[int, list[tuple[float, float, float]]] = {}  # world -> (time, x, y)

    def frame(self, engine: AnyEngine, world_index: int, task_values: TaskValues) -> np.ndarray:
        """The world as it is now: (H, W, 3) uint8, with its trail over this episode's frames."""
        x, y = engine.data["qpos"][world_index, :2].tolist()
        time = float(engine.data["time"][world_index])
        trail = self._trails.setdefault(world_index, [])
        if trail and time < trail[-1][0]:
            trail.clear()  # a new episode
        elif trail and time == trail[-1][0]:
            trail.pop()  # the same moment again
        trail.append((time, x, y))
        # Drawn at twice the size and shrunk, which smooths the lines.
        width, height = 2 * self._size[0], 2 * self._size[1]
        picture = Image.new("RGB", (width, height), (250, 250, 248))
        draw = ImageDraw.Draw(picture)
        self._draw_axes(draw, width, height)
        for marker in self._markers:
            if marker.parameter in task_values:
                goal = marker.place(task_values)
                self._disc(draw, (goal[0], goal[1]), 14, outline=GOAL_COLOUR)
                self._disc(draw, (goal[0], goal[1]), 5, fill=GOAL_COLOUR)
        if len(trail) > 1:
            line = [self._pixel((x, y)) for _, x, y in trail]
            draw.line(line, fill=(70, 130, 200), width=5, joint="curve")
        self._disc(draw, (x, y), 11, fill=(30, 70, 140))
        return np.asarray(picture.resize(self._size, Image.Resampling.LANCZOS)).copy()

    def _pixel(self, point: tuple[float, float]) -> tuple[float, float]:
        width, height = self._size
        return width + 2 * self._scale * point[0], height - 2 * self._scale * point[1]

    def _draw_axes(self, draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
        for step in range(-20, 21):
            at = step / 4
            x, y = self._pixel((at, at))
            colour, line = ((150, 150, 150), 3) if step == 0 else ((226, 226, 222), 2)
            draw.line([(x, 0), (x, height)], fill=colour, width=line)
            draw.line([(0, y), (width, y)], fill=colour, width=line)
            if step != 0 and abs(at) < self._half_extent_m and step % 2 == 0:
                zero = self._pixel((0.0, 0.0))
                draw.text((x + 5, zero[1] + 5), f"{at:g} m", fill=(120, 120, 120), font_size=20)
                draw.text((zero[0] + 5, y + 5), f"{at:g}", fill=(120, 120, 120), font_size=20)

    def _disc(
        self,
        draw: ImageDraw.ImageDraw,
        centre: tuple[float, float],
        radius: float,
        fill: tuple[int, int, int] | None = None,
        outline: tuple[int, int, int] | None = None,
    ) -> None:
        x, y = self._pixel(centre)
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill, outline, width=4)

    def legend(self, engine: AnyEngine, world_index: int, task_values: TaskValues) -> Legend:
        """Nothing: all that is hidden here are goals, which are marked."""
        del engine, world_index, task_values
        return ()

    def close(self) -> None:
        """Nothing is held."""
