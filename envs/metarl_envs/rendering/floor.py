"""The floor of pictures: squares that show motion, and numbers that show how far it went."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from metarl_envs.rendering.drawing import add_patch
from metarl_envs.scene.subject import Subject, floors

Vector = NDArray[np.float64]

DARK, LIGHT = np.array([66, 78, 92]) / 255, np.array([98, 112, 128]) / 255
PAINT = np.array([222, 228, 234]) / 255
TILES = 12
"""Squares that are drawn to each side of what is looked at; beyond, the floor is of one colour."""
ROWS = 4
"""Squares from one row of numbers to the next."""
READABLE = 5
"""Squares from what is looked at within which there are numbers."""
HAIR = 0.002
"""Squares that what is painted lies above the floor, so that it shows."""
WIDE_FLOOR = 3.0
"""Robot radii from the middle to the side of a box that is a floor."""

SEGMENTS = (  # of a digit 0.6 wide and 1 high: x, y, half width, half height
    (0.3, 1.0, 0.3, 0.07), (0.6, 0.75, 0.07, 0.25), (0.6, 0.25, 0.07, 0.25), (0.3, 0.0, 0.3, 0.07),
    (0.0, 0.25, 0.07, 0.25), (0.0, 0.75, 0.07, 0.25), (0.3, 0.5, 0.3, 0.07),
)  # fmt: skip
"""As in a calculator: top, upper right, lower right, bottom, lower left, upper left, middle."""
DIGITS = {
    "0": "012345", "1": "12", "2": "01346", "3": "01236", "4": "1256", "5": "02356", "6": "023456",
    "7": "012", "8": "0123456", "9": "012356", "-": "6",
}  # fmt: skip
OTHERS = {
    ".": ((0.0, 0.0, 0.08, 0.08),),
    "m": (
        (0.4, 0.6, 0.4, 0.07), (0.0, 0.3, 0.07, 0.3), (0.4, 0.3, 0.07, 0.3), (0.8, 0.3, 0.07, 0.3),
    ),
}  # fmt: skip
WIDTHS = {".": 0.3, " ": 0.25, "m": 1.1, "-": 0.85}
DIGIT_WIDTH = 0.95


@dataclass(frozen=True)
class Floor:
    """A rectangle, mostly without end, with the world's origin below or above its own."""

    origin: Vector  # (3,)
    axes: Vector  # (3, 3), columns; the third one is the normal
    low: Vector  # (2,) in its own coordinates, m
    high: Vector

    def local(self, point: Vector) -> Vector:
        """A point of the world, (3,), in the floor's coordinates: the third one is its height."""
        return (point - self.origin) @ self.axes

    def below(self, place: Vector) -> Vector:
        """The point of the floor above or below a place, (3,), whose height is not read."""
        normal = self.axes[:, 2]
        height = (normal @ self.origin - normal[:2] @ place[:2]) / normal[2]
        return np.array([place[0], place[1], height])

    def paint(self, scene: Any, low: Vector, high: Vector, colour: Vector, lift: float) -> None:  # noqa: ANN401
        """Colour what the floor has of a rectangle, (2,) to (2,)."""
        low, high = np.maximum(low, self.low), np.minimum(high, self.high)
        if (low < high).all():
            middle, half = (low + high) / 2, (high - low) / 2
            place = self.origin + self.axes @ [*middle, lift]
            add_patch(scene, place, self.axes, (float(half[0]), float(half[1])), colour)


class FloorFinder:
    """Knows which geom of a model is the floor, or where one has to be."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, subject: Subject) -> None:
        """Takes the highest floor below the robot.

        Args:
            model: the nominal one.
            data: at the start, after `mj_forward`.
            subject: the robot.
        """
        feet = float(subject.low[2]) + 0.1 * subject.radius
        self._tops = floors(model, WIDE_FLOOR * subject.radius)
        heights = {g: float(data.geom_xpos[g, 2]) + top for g, top in self._tops.items()}
        below = {g: z for g, z in heights.items() if z <= feet} or heights
        self._geom = max(below, key=below.__getitem__) if below else -1
        self._has_terrain = bool((model.geom_type == mujoco.mjtGeom.mjGEOM_HFIELD).any())
        # Nothing holds a flyer: its floor is a landmark. What stays in place has it below.
        depth = 2.0 * subject.radius if subject.travels else 0.0
        self._height = float(subject.low[2]) - depth

    def floor(self, model: mujoco.MjModel, data: mujoco.MjData) -> Floor | None:
        """The floor of a world; None where there is a terrain instead."""
        endless = np.array([np.inf, np.inf])
        if self._geom < 0:
            origin = np.array([0.0, 0.0, self._height])
            return None if self._has_terrain else Floor(origin, np.eye(3), -endless, endless)
        axes = data.geom_xmat[self._geom].reshape(3, 3).copy()
        middle = data.geom_xpos[self._geom] + self._tops[self._geom] * axes[:, 2]
        origin = axes[:, 2] * (axes[:, 2] @ middle)
        if model.geom_type[self._geom] == mujoco.mjtGeom.mjGEOM_PLANE:
            return Floor(
                origin, axes, -endless, endless
            )  # as it is for contacts, whatever its size
        centre, half = ((middle - origin) @ axes)[:2], model.geom_size[self._geom, :2]
        return Floor(origin, axes, centre - half, centre + half)

    def hide(self, model: mujoco.MjModel) -> None:
        """Let a floor of the model's own make way."""
        if self._geom >= 0 and model.geom_type[self._geom] == mujoco.mjtGeom.mjGEOM_PLANE:
            model.geom_matid[self._geom] = -1
            model.geom_rgba[self._geom, 3] = 0.0  # such geoms are not drawn


def add_floor(
    scene: Any,  # noqa: ANN401 - mujoco ships no types
    floor: Floor,
    at: Vector,
    distance: float,
    colours: tuple[Vector, Vector] = (LIGHT, DARK),
) -> None:
    """Squares and numbers around the point `at`, (3,), that is seen from `distance` metres."""
    light, dark = colours
    eye, local = scene.camera[0], floor.local(at)
    ahead = np.array(eye.forward) @ floor.axes
    height = max(0.0, float(local[2]))
    local += height / max(-ahead[2], 0.2) * ahead  # where the view meets the floor
    step = nice_length(max(distance, 2 * height) / 4)  # larger when seen from high above
    far, middle = 0.9 * float(eye.frustum_far), np.round(local[:2] / step).astype(int)
    floor.paint(scene, local[:2] - far, local[:2] + far, light, HAIR * step)
    for i in range(middle[0] - TILES, middle[0] + TILES):
        for j in range(middle[1] - TILES, middle[1] + TILES):
            corner = np.array([i, j]) * step
            away = np.linalg.norm(corner + step / 2 - local[:2]) / (step * TILES)
            if (i + j) % 2 and away < 1:  # dark squares, fading into the distance
                colour = light + min(1.0, 2.0 * (1.0 - away)) * (dark - light)
                floor.paint(scene, corner, corner + step, colour, 2 * HAIR * step)
    onward = (ahead + np.array(eye.up) @ floor.axes)[:2]  # of who looks down, too
    turn = round(math.degrees(math.atan2(onward[1], onward[0])) / 90) % 4
    _add_numbers(scene, floor, middle, step, turn)


def _add_numbers(
    scene: Any,  # noqa: ANN401 - mujoco ships no types
    floor: Floor,
    middle: NDArray[np.int_],
    step: float,
    turn: int,
) -> None:
    """Distances at the lines that run away from who looks `turn` quarters left of x."""
    up = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)][turn], dtype=float)
    right = np.array([up[1], -up[0]])
    along = turn % 2  # the axis that runs away
    columns = range(int(middle[1 - along]) - READABLE, int(middle[1 - along]) + READABLE + 1)
    texts = {column: f"{round(column * step, 9) + 0.0:.6g} m" for column in columns}
    height = step * min(0.25, 0.85 / max(text_width(text) for text in texts.values()))
    for row in range(int(middle[along]) - READABLE, int(middle[along]) + READABLE):
        if (row + 1) % ROWS:  # the first one is in front of the start
            continue
        for column, text in texts.items():
            place = np.array([row, column] if along == 0 else [column, row]) * step
            place = place + 0.06 * step * (right + up)
            for x, y, half_width, half_height in strokes(text):
                spot = place + height * (x * right + y * up)
                half = np.abs(half_width * right + half_height * up) * height
                floor.paint(scene, spot - half, spot + half, PAINT, 3 * HAIR * step)


def nice_length(length: float) -> float:
    """1, 2 or 5 times a power of ten, the nearest on a logarithmic scale."""
    power = math.floor(math.log10(length))
    every = [m * 10.0**p for p in (power, power + 1) for m in (1, 2, 5)]
    return min(every, key=lambda nice: abs(math.log(nice / length)))


def text_width(text: str) -> float:
    """Of a text of height 1."""
    return sum(WIDTHS.get(character, DIGIT_WIDTH) for character in text)


def strokes(text: str) -> list[tuple[float, float, float, float]]:
    """Rectangles that write a text of height 1: x and y of the middle, half width, half height."""
    drawn, left = [], 0.0
    for character in text:
        segments = OTHERS.get(character) or [SEGMENTS[int(s)] for s in DIGITS.get(character, "")]
        drawn += [(left + x, y, width, height) for x, y, width, height in segments]
        left += WIDTHS.get(character, DIGIT_WIDTH)
    return drawn
