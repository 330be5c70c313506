"""Pictures of one world: MuJoCo's renderer for MuJoCo robots, a drawn map for the point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import mujoco
import numpy as np
from PIL import Image, ImageDraw

from metarl_envs.engines import AnalyticEngine
from metarl_envs.errors import InputError
from metarl_envs.family import TaskFamily
from metarl_envs.numbers import whole
from metarl_envs.robots.base import AnalyticRobot
from metarl_envs.robots.kinds import ModelledRobot

if TYPE_CHECKING:
    from metarl_envs.engines import AnyEngine

TaskValues = Mapping[str, float | Sequence[float]]
"""One task as `Tasks.describe` gives it."""

GOAL_COLOUR = (230, 74, 60)
FLOOR_COLOURS = ((66, 78, 92), (98, 112, 128))  # dark and light squares
HORIZON_COLOUR, SKY_COLOUR = (214, 222, 230), (128, 152, 178)


class WorldRenderer(Protocol):
    """Draws single worlds. Close it when done: it may hold an OpenGL context."""

    def frame(self, engine: AnyEngine, world_index: int, task_values: TaskValues) -> np.ndarray:
        """The world as it is now: (H, W, 3) uint8, a new array."""
        ...

    def close(self) -> None:
        """Free what is held; twice is harmless."""
        ...


def picture_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of pictures, pixels.

    Raises:
        InputError: for one below 16 or above 4096.
    """
    size = whole("width", width), whole("height", height)
    for name, pixels in zip(("width", "height"), size, strict=True):
        if not 16 <= pixels <= 4096:
            raise InputError(f"{name} = {pixels} pixels: must be in [16, 4096]")
    return size


def make_renderer(family: TaskFamily, width: int = 480, height: int = 360) -> WorldRenderer:
    """A renderer for worlds of this family, `width` x `height` pixels.

    Raises:
        InputError: if no OpenGL library can be used, or the size is below 16 or above 4096.
    """
    width, height = picture_size(width, height)
    if not isinstance(family.robot, AnalyticRobot):
        return MujocoRenderer(family.robot, width, height)
    return MapRenderer(width, height)


class MujocoRenderer:
    """MuJoCo's off-screen renderer; the camera keeps the robot, or a goal and it, in view."""

    def __init__(self, robot: ModelledRobot, width: int, height: int) -> None:
        self._view = robot.camera
        self._model = robot.load_model()
        _restyle(self._model)
        self._model.vis.global_.offwidth = max(width, self._model.vis.global_.offwidth)
        self._model.vis.global_.offheight = max(height, self._model.vis.global_.offheight)
        self._camera = mujoco.MjvCamera()
        try:
            self._renderer = mujoco.Renderer(self._model, height, width)
        except Exception as error:  # MuJoCo's backends raise whatever their libraries do
            raise InputError(
                f"cannot render without OpenGL ({_first_line(error)}): set MUJOCO_GL=egl (or "
                "osmesa) before Python starts; on Debian or Ubuntu first: "
                "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"
            ) from error

    def frame(self, engine: AnyEngine, world_index: int, task_values: TaskValues) -> np.ndarray:
        """The world as it is now: (H, W, 3) uint8."""
        if isinstance(engine, AnalyticEngine):
            raise TypeError("MujocoRenderer draws worlds of a MuJoCo engine, got an analytic one")
        model, data = engine.host_world(world_index)
        # One OpenGL context serves all worlds: what can be seen of a task lies in these fields.
        for field in ("geom_size", "geom_pos", "geom_quat", "body_pos", "body_quat"):
            getattr(self._model, field)[:] = getattr(model, field)
        goal = task_values.get("goal")
        in_the_plane = isinstance(goal, Sequence) and len(goal) >= 2
        self._aim(data, overview=in_the_plane)
        self._renderer.update_scene(data, camera=self._camera)
        if in_the_plane:
            _add_goal(self._renderer.scene, np.asarray(goal, dtype=np.float64))
        return self._renderer.render().copy()

    def _aim(self, data: mujoco.MjData, overview: bool) -> None:
        view, camera = self._view, self._camera
        camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        camera.azimuth = 90.0
        if overview:
            camera.lookat[:] = 0.0
            camera.distance, camera.elevation = 9.0, -50.0
        else:
            camera.lookat[:] = (*data.subtree_com[1, :2], view.height_m)
            camera.distance, camera.elevation = view.distance_m, view.elevation_deg
        # The model's lamp stays behind as the robot runs, and shadows with it.
        data.light_xpos[:] = camera.lookat + np.array([-1.0, -1.5, 4.0])
        data.light_xdir[:] = np.array([1.0, 1.5, -4.0]) / np.linalg.norm([1.0, 1.5, -4.0])

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()


class MapRenderer:
    """A map of the plane: axes, goal, the point and the way it came."""

    def __init__(self, width: int, height: int, half_extent_m: float = 1.0) -> None:
        self._size = (width, height)
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
        goal = task_values.get("goal")
        if isinstance(goal, Sequence):
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

    def close(self) -> None:
        """Nothing is held."""


def _restyle(model: mujoco.MjModel) -> None:
    """Give every robot the same calm floor and sky in place of its model's own."""
    for texture in range(model.ntex):
        start, channels = int(model.tex_adr[texture]), int(model.tex_nchannel[texture])
        height, width = int(model.tex_height[texture]), int(model.tex_width[texture])
        pixels = model.tex_data[start : start + height * width * channels]
        pixels = pixels.reshape(height, width, channels)
        if model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            # Six square faces one above the other; the height within a face is enough here.
            share = np.linspace(0.0, 1.0, width)[np.arange(height) % width, None, None]
            pixels[:] = (1 - share) * np.array(SKY_COLOUR) + share * np.array(HORIZON_COLOUR)
    for geom in range(model.ngeom):
        material = int(model.geom_matid[geom])
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE and material >= 0:
            if int(model.mat_texid[material].max()) >= 0:
                _recolour_checker(model, material)
            model.geom_rgba[geom] = 1.0
            model.mat_reflectance[material] = 0.0
            model.mat_specular[material] = 0.0


def _recolour_checker(model: mujoco.MjModel, material: int) -> None:
    texture = int(model.mat_texid[material].max())
    start, channels = int(model.tex_adr[texture]), int(model.tex_nchannel[texture])
    count = int(model.tex_height[texture] * model.tex_width[texture])
    pixels = model.tex_data[start : start + count * channels].reshape(count, channels)
    light = pixels.mean(axis=1, keepdims=True) > 100
    pixels[:] = np.where(light, np.array(FLOOR_COLOURS[1]), np.array(FLOOR_COLOURS[0]))


def _add_goal(scene: Any, goal: np.ndarray) -> None:  # noqa: ANN401 - mujoco ships no types
    geom = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(
        geom,
        mujoco.mjtGeom.mjGEOM_CYLINDER,
        np.array([0.25, 0.01, 0.0]),
        np.array([goal[0], goal[1], 0.01]),
        np.eye(3).flatten(),
        np.array([*(np.array(GOAL_COLOUR) / 255), 1.0], dtype=np.float32),
    )
    scene.ngeom += 1


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
