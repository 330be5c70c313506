"""The studio that pictures are taken in: floor with distance marks, sky and light for every robot.

It is made of geoms and lights of the scene that is drawn, not of the model, so that it serves any
model, whatever its textures are, and the simulation knows nothing of it.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from metarl_envs.rendering.drawing import Vector, add_patch
from metarl_envs.rendering.floor import DARK, LIGHT, Floor, FloorFinder, add_floor
from metarl_envs.scene.camera import FIELD_OF_VIEW_DEG, View

HORIZON, SKY = np.array([214, 222, 230]) / 255, np.array([128, 152, 178]) / 255
SKY_STRIPS = 48
UNLIT = 1000.0
"""Emission that light adds nothing visible to."""


class Studio:
    """Floor, sky and light around what a view looks at."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, view: View) -> None:
        """Finds the floor.

        Args:
            model: the nominal one.
            data: at the start, after `mj_forward`.
            view: the camera in its place.
        """
        self._view, self._extent = view, float(model.stat.extent)
        self._finder = FloorFinder(model, data, view.subject)

    def floor(self, model: mujoco.MjModel, data: mujoco.MjData) -> Floor | None:
        """The floor of a world; None where there is a terrain instead."""
        return self._finder.floor(model, data)

    def prepare(self, model: mujoco.MjModel, floor: Floor | None, at: Vector) -> None:
        """Fit what pictures need of a model to the scale of the view; its floor makes way for ours.

        Args:
            model: of which a renderer is made, or that is drawn next.
            floor: of that world.
            at: the point that is looked at, (3,).
        """
        scale = self._view.distance
        height = 0.0 if floor is None else abs(float(floor.local(at)[2]))
        model.stat.extent = scale
        model.vis.map.znear = 0.005
        model.vis.map.zfar = max(60.0, 4 * self._extent / scale, 20 * height / scale)
        model.vis.map.shadowclip = 1.5
        model.vis.quality.shadowsize = 2048
        model.vis.quality.offsamples = 4
        model.vis.global_.fovy = FIELD_OF_VIEW_DEG
        model.vis.global_.orthographic = 0
        model.vis.headlight.active = 1
        self._finder.hide(model)

    def furnish(
        self,
        scene: Any,  # noqa: ANN401 - mujoco ships no types
        floor: Floor | None,
        at: Vector,
        colours: tuple[Vector, Vector] = (LIGHT, DARK),
    ) -> None:
        """Put floor, sky and light into a scene of `mjv_updateScene`, around the point `at`.

        `colours` are those of the floor's light and dark squares.
        """
        flags = mujoco.mjtRndFlag
        for own in (flags.mjRND_SKYBOX, flags.mjRND_FOG, flags.mjRND_HAZE):
            scene.flags[own] = 0
        _add_sky(scene, 0.95 * float(scene.camera[0].frustum_far))
        _set_lights(scene, at, self._view.distance)
        if floor is not None:
            add_floor(scene, floor, at, self._view.distance, colours)


def _set_lights(scene: Any, at: Vector, distance: float) -> None:  # noqa: ANN401
    """A lamp above the shoulder of who looks; the headlight fills the shadows."""
    scene.nlight = 2
    headlight, lamp = scene.lights[:2]
    for light in (headlight, lamp):
        light.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
        light.headlight, light.castshadow, light.texid = light is headlight, light is lamp, -1
    headlight.ambient[:], headlight.diffuse[:], headlight.specular[:] = 0.42, 0.32, 0.1
    lamp.ambient[:], lamp.diffuse[:], lamp.specular[:] = 0.0, 0.42, 0.2
    lamp.dir[:] = np.array([0.35, 0.5, -1.4]) / np.linalg.norm([0.35, 0.5, -1.4])
    lamp.pos[:] = at - distance * lamp.dir


def _add_sky(scene: Any, distance: float) -> None:  # noqa: ANN401 - mujoco ships no types
    """A wall behind everything, square to the view, coloured by the height above the horizon."""
    eye = scene.camera[0]
    forward, up, position = (np.array(v, dtype=np.float64) for v in (eye.forward, eye.up, eye.pos))
    axes = np.stack([np.cross(forward, up), up, -forward], axis=1)
    reach = 1.05 * float(eye.frustum_top / eye.frustum_near)  # tangent of half the field of view
    for k in range(SKY_STRIPS):
        direction = forward + up * reach * ((2 * k + 1) / SKY_STRIPS - 1)
        share = np.clip(2 * direction[2] / np.linalg.norm(direction), 0.0, 1.0)
        size = (4 * reach * distance, 1.02 * reach * distance / SKY_STRIPS)
        colour = (1 - share) * HORIZON + share * SKY
        add_patch(scene, position + distance * direction, axes, size, colour / UNLIT, UNLIT)
