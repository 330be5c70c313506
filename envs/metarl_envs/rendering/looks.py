"""Looks of hidden parameters: colours of actuators, sizes of loads, arrows of wind, the floor.

    actuators: what they move turns yellow the weaker they are and green the stronger, red without
        any force, violet in reverse.
    loads: as large as their mass is at the density of the model's own; mass that other bodies gain
        is a box on them, of the density of water.
    wind, and gravity that pulls sideways: arrows whose length is its share of the family's largest.
    friction on the floor: the floor turns to ice or to rubber.
    encoders that are off: the pale robot that they report.

All of it is made of geoms of the scene that is drawn; neither models nor simulation change.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import torch
from torch import Generator

from metarl_envs.family import TaskFamily
from metarl_envs.mjcf.fields import read_field
from metarl_envs.parameters import EncoderError, model_fields, varied_fields
from metarl_envs.rendering.drawing import Vector, add_arrow, add_geom
from metarl_envs.rendering.floor import DARK, LIGHT
from metarl_envs.rendering.hidden import SAME, Differences, Nominal
from metarl_envs.scene.markers import TaskValues
from metarl_envs.tasks import Tasks

DEAD, WEAK = np.array([230, 68, 28]) / 255, np.array([250, 205, 30]) / 255
REVERSED, STRONG = np.array([150, 80, 220]) / 255, np.array([60, 185, 95]) / 255
LOAD, AIR = np.array([240, 142, 42]) / 255, np.array([110, 225, 245]) / 255
ICE = np.array([184, 222, 242]) / 255, np.array([140, 190, 220]) / 255  # light and dark squares
RUBBER = np.array([122, 76, 48]) / 255, np.array([78, 46, 28]) / 255
HALF_AS_STRONG = 0.75
"""Share of yellow in parts with half of their force."""
DENSITY = 1000.0
"""Of boxes that show added mass, kg/m^3."""
LONGEST, APART, LIFT = 0.2, 0.22, 0.03
"""Over the camera's distance: length of the arrows of the family's strongest wind, distance from
one to the next, height above what is looked at."""
PALE_COLOUR = np.array([190, 200, 212]) / 255
PALE = 0.3
"""Opacity of the robot that the encoders report."""
TASKS = 256
"""Tasks of each split among which the strongest wind is looked for."""
PUSHES = ("opt.wind", "opt.gravity")

Legend = tuple[tuple[str, tuple[int, int, int]], ...]
"""Words and colours (0 to 255) of what a picture shows of hidden parameters."""


class Looks:
    """Draws the hidden parameters of worlds of one family."""

    def __init__(self, family: TaskFamily, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Finds all that depends on the nominal model.

        Args:
            family: of the worlds.
            model: its nominal model; not to be changed but for its looks.
            data: at the start, after `mj_forward`.
        """
        self._nominal = Nominal(model, data)
        self._strongest = strongest_pushes(family, model)
        self._upright = data.xmat.reshape(-1, 3, 3).copy()
        self._tops = np.array([_top(model, data, body) for body in range(model.nbody)])
        self._encoders = {
            p.name: list(p.effect.signals.positions)
            for p in family.parameters
            if isinstance(p.effect, EncoderError)
        }

    def differences(self, model: mujoco.MjModel) -> Differences:
        """All that is hidden in a world's model."""
        return self._nominal.differences(model)

    def paint(self, scene: Any, data: mujoco.MjData, shown: Differences) -> None:  # noqa: ANN401
        """Colour actuators and size loads in a scene that has the model's own geoms alone."""
        bodies, tints = self._nominal.model.geom_bodyid, self._tints(shown)
        for geom in scene.geoms[: scene.ngeom]:
            if geom.objtype != mujoco.mjtObj.mjOBJ_GEOM:
                continue
            colour, share = tints.get(geom.objid, (LOAD, 0.0))
            if share:
                geom.rgba[:3] = (1 - share) * geom.rgba[:3] + share * colour
                geom.matid = -1  # a texture would hide the colour
            body = bodies[geom.objid]
            if (growth := shown.growth[body]) != 1.0:
                geom.size[:] = growth * np.array(geom.size)
                geom.pos[:] = data.xpos[body] + growth * (np.array(geom.pos) - data.xpos[body])

    def add(
        self,
        scene: Any,  # noqa: ANN401 - mujoco ships no types
        data: mujoco.MjData,
        shown: Differences,
        at: Vector,
        distance: float,
    ) -> None:
        """Add boxes of mass, and arrows around the point `at` seen from `distance` metres."""
        for body in np.flatnonzero(shown.added > 0):
            side = float(np.cbrt(shown.added[body] / DENSITY))
            half = side / 2, side / 2, side / 2
            axes = data.xmat[body].reshape(3, 3)
            upright = axes @ self._upright[body].T
            place = data.xpos[body] + axes @ self._tops[body] + upright[:, 2] * side / 2
            add_geom(scene, mujoco.mjtGeom.mjGEOM_BOX, half, place, LOAD, upright)
        for push, strongest in zip((shown.wind, shown.pull), self._strongest, strict=True):
            size = float(np.linalg.norm(push))
            if size > SAME * strongest:
                arrow = LONGEST * distance * np.array([*push, 0.0]) / max(strongest, size)
                above = at + np.array([0.0, 0.0, LIFT * distance])
                _add_field(scene, above, arrow, APART * distance)

    def misreports(self, task: TaskValues) -> bool:
        """True if encoders are off."""
        return any(np.any(task.get(name, 0.0)) for name in self._encoders)

    def add_reported(
        self,
        scene: Any,  # noqa: ANN401 - mujoco ships no types
        model: mujoco.MjModel,
        data: mujoco.MjData,
        task: TaskValues,
    ) -> None:
        """Add the robot as its encoders report it, where they are off."""
        if not self.misreports(task):
            return
        reported = mujoco.MjData(model)
        reported.qpos[:] = data.qpos
        for name, positions in self._encoders.items():
            reported.qpos[positions] += task[name]
        mujoco.mj_kinematics(model, reported)
        first, moving = scene.ngeom, mujoco.mjtCatBit.mjCAT_DYNAMIC
        options, none = mujoco.MjvOption(), mujoco.MjvPerturb()
        mujoco.mjv_addGeoms(model, reported, options, none, moving, scene)
        for geom in scene.geoms[first : scene.ngeom]:
            geom.rgba[3], geom.castshadow = PALE * geom.rgba[3], 0

    def _tints(self, shown: Differences) -> dict[int, tuple[Vector, float]]:
        """Colour and share by geom; of several actuators that move it, the worst one counts."""
        tints: dict[int, tuple[Vector, float]] = {}
        for geoms, force in zip(self._nominal.parts, shown.forces, strict=True):
            colour, share = tint(float(force))
            for geom in geoms.tolist() if share else ():
                if share > tints.get(geom, (colour, 0.0))[1]:
                    tints[geom] = colour, share
        return tints


def tint(force: float) -> tuple[Vector, float]:
    """Colour and its share of what an actuator moves with `force` times the nominal force."""
    if abs(force - 1) <= SAME:
        return WEAK, 0.0
    if abs(force) <= SAME:
        return DEAD, 1.0
    if force < 0:
        return REVERSED, 1.0
    loss = 1 - min(force, 1 / force)
    return WEAK if force < 1 else STRONG, min(1.0, 2 * HALF_AS_STRONG * loss)


def floor_colours(friction: float) -> tuple[Vector, Vector]:
    """Light and dark squares of a floor with `friction` times the nominal friction.

    The share of ice or rubber is |f^2 - 1| / (f^2 + 1): 0.6 at half or twice of it.
    """
    share = (friction**2 - 1) / (friction**2 + 1)
    light, dark = RUBBER if share > 0 else ICE
    return LIGHT + abs(share) * (light - LIGHT), DARK + abs(share) * (dark - DARK)


def legend(shown: Differences, misreports: bool = False) -> Legend:
    """Words and colours of what is to be seen."""
    wind, pull = (float(np.linalg.norm(push)) for push in (shown.wind, shown.pull))
    kinds = {id(colour) for colour, share in map(tint, shown.forces.tolist()) if share}
    entries = (
        (id(DEAD) in kinds, "no force", DEAD),
        (id(WEAK) in kinds, "weak motors", WEAK),
        (id(STRONG) in kinds, "strong motors", STRONG),
        (id(REVERSED) in kinds, "in reverse", REVERSED),
        (bool((shown.added > 0).any()), f"added {shown.added.clip(0).sum():.2g} kg", LOAD),
        (wind > 0, f"wind {wind:.2g} m/s", AIR),
        (pull > 0, "pulled along", AIR),
        (misreports, "pale: as the encoders report", PALE_COLOUR),
        (shown.friction < 1, "slippery floor", ICE[0]),
        (shown.friction > 1, "grippy floor", RUBBER[0]),
    )
    return tuple(
        (words, tuple((255 * colour).round().astype(int).tolist()))
        for seen, words, colour in entries
        if seen
    )


def strongest_pushes(family: TaskFamily, model: mujoco.MjModel) -> tuple[float, float]:
    """Largest wind (m/s) and sideways gravity (m/s^2) among many tasks of all splits."""
    pushing = [p for p in family.parameters if set(PUSHES) & {*varied_fields([p])}]
    base = {name: read_field(model, name) for name in {*varied_fields(pushing), *PUSHES}}
    splits = [family.sample_tasks(TASKS, Generator().manual_seed(0), s) for s in family.splits]
    tasks = Tasks.concatenate([family.nominal_tasks(), *splits])
    fields = model_fields(pushing, base, tasks.values)
    plain = {"opt.wind": torch.zeros(3, dtype=torch.float64), "opt.gravity": base["opt.gravity"]}
    wind, pull = (float((fields[n] - plain[n])[:, :2].norm(dim=1).max()) for n in PUSHES)
    return wind, pull


def _add_field(scene: Any, at: Vector, arrow: Vector, apart: float) -> None:  # noqa: ANN401
    """Eight arrows in the level plane around a point, in rows along them."""
    along = arrow / np.linalg.norm(arrow)
    across = np.array([-along[1], along[0], 0.0])
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            if i or j:
                start = at + apart * (i * along + j * across) - arrow / 2
                add_arrow(scene, start, start + arrow, 0.024 * apart, AIR)


def _top(model: mujoco.MjModel, data: mujoco.MjData, body: int) -> Vector:
    """The point above a body's centre of mass where its geoms end, in its own frame: (3,)."""
    centre, down = data.xipos[body], np.array([0.0, 0.0, -1.0])
    high, top = centre - 100 * float(model.stat.extent) * down, centre[2]
    for geom in np.flatnonzero(model.geom_bodyid == body):
        kind, place, axes = model.geom_type[geom], data.geom_xpos[geom], data.geom_xmat[geom]
        if model.geom_dataid[geom] < 0 and model.geom_group[geom] < 3:
            way = mujoco.mju_rayGeom(place, axes, model.geom_size[geom], high, down, kind)
            top = max(top, high[2] - way) if way >= 0 else top
    above = np.array([centre[0], centre[1], top])
    return data.xmat[body].reshape(3, 3).T @ (above - data.xpos[body])
