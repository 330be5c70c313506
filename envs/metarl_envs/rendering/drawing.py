"""Additions to the scene that MuJoCo is about to draw: they are in pictures, in no model."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

GEOM = mujoco.mjtGeom
MARKER_COLOUR, POLE_COLOUR = np.array([230, 74, 60]) / 255, np.array([222, 228, 234]) / 255
UPRIGHT = np.eye(3)
MAX_GEOMS = 20_000
"""Room in the scene besides that for the model's own geoms; a studio needs about 700."""


def add_marker(scene: Any, shape: str, place: Vector, radius: float) -> None:  # noqa: ANN401
    """A disc, a sphere or a flag at a place, (3,)."""
    above = np.array([0.0, 0.0, radius])
    if shape == "sphere":
        add_geom(scene, GEOM.mjGEOM_SPHERE, (radius, 0, 0), place, MARKER_COLOUR)
    elif shape == "disc":
        size, middle = (radius, 0.04 * radius, 0), place + 0.04 * above
        add_geom(scene, GEOM.mjGEOM_CYLINDER, size, middle, MARKER_COLOUR)
    else:
        pole, cloth = (0.06 * radius, 2 * radius, 0), (0.6 * radius, 0.03 * radius, 0.4 * radius)
        top = place + 3.6 * above + np.array([0.6 * radius, 0.0, 0.0])
        add_geom(scene, GEOM.mjGEOM_CYLINDER, pole, place + 2 * above, POLE_COLOUR)
        add_geom(scene, GEOM.mjGEOM_BOX, cloth, top, MARKER_COLOUR)


def add_patch(
    scene: Any,  # noqa: ANN401 - mujoco ships no types
    place: Vector,
    axes: Vector,
    half_size: tuple[float, float],
    colour: Vector,
    emission: float = 0.0,
) -> None:
    """A flat rectangle."""
    add_geom(scene, GEOM.mjGEOM_PLANE, (*half_size, 1.0), place, colour, axes, emission)


def add_geom(
    scene: Any,  # noqa: ANN401 - mujoco ships no types
    kind: mujoco.mjtGeom,
    size: tuple[float, float, float],
    place: Vector,
    colour: Vector,
    axes: Vector = UPRIGHT,
    emission: float = 0.0,
) -> None:
    """A geom of one dull colour; nothing where the scene is full. Planes cast no shadow."""
    if scene.ngeom == scene.maxgeom:
        return
    geom, rgba = scene.geoms[scene.ngeom], np.array([*colour, 1.0], dtype=np.float32)
    mujoco.mjv_initGeom(geom, kind, np.array(size), place, axes.flatten(), rgba)
    geom.emission, geom.specular, geom.reflectance = emission, 0.0, 0.0
    geom.category = mujoco.mjtCatBit.mjCAT_DECOR
    geom.castshadow = int(kind != GEOM.mjGEOM_PLANE)
    scene.ngeom += 1


def add_arrow(scene: Any, start: Vector, end: Vector, width: float, colour: Vector) -> None:  # noqa: ANN401
    """An arrow between two points, (3,), that casts no shadow; nothing where the scene is full."""
    if scene.ngeom == scene.maxgeom:
        return
    add_geom(scene, GEOM.mjGEOM_ARROW, (width, width, 1.0), start, colour, emission=0.3)
    arrow = scene.geoms[scene.ngeom - 1]
    mujoco.mjv_connector(arrow, GEOM.mjGEOM_ARROW, width, start, end)
    arrow.castshadow = 0
