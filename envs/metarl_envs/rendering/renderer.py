"""Pictures of one world: MuJoCo's renderer for MuJoCo robots, a drawn map for the point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import mujoco
import numpy as np
from PIL import Image
from torch import Generator

from metarl_envs.engines import AnalyticEngine, GymEngine
from metarl_envs.errors import InputError
from metarl_envs.family import TaskFamily
from metarl_envs.inputs.numbers import whole
from metarl_envs.rendering.drawing import MAX_GEOMS, add_marker
from metarl_envs.rendering.floor import Floor
from metarl_envs.rendering.looks import Legend, Looks, floor_colours, legend
from metarl_envs.rendering.map_renderer import MapRenderer
from metarl_envs.rendering.studio import Studio
from metarl_envs.robots.kinds import Robot
from metarl_envs.scene.camera import Camera, View, as_camera
from metarl_envs.scene.markers import TaskValues
from metarl_envs.scene.subject import Points
from metarl_envs.tasks import Tasks

if TYPE_CHECKING:
    from metarl_envs.engines import AnyEngine

MARKER_SIZE = 0.028
"""Radius of a marker over the camera's distance."""
GOALS = 256
"""Tasks of each split whose goals the picture has to include."""


class WorldRenderer(Protocol):
    """Draws single worlds. Close it when done: it may hold an OpenGL context."""

    def frame(self, engine: AnyEngine, world_index: int, task_values: TaskValues) -> np.ndarray:
        """The world as it is now: (H, W, 3) uint8, a new array."""
        ...

    def legend(self, engine: AnyEngine, world_index: int, task_values: TaskValues) -> Legend:
        """Words and colours of what pictures of the world show of its hidden parameters."""
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


def check_camera(robot: Robot, camera: Camera) -> None:
    """Refuse a camera that cannot picture this robot.

    Raises:
        InputError: for a robot without a MuJoCo model, or a name that its model does not have.
    """
    if not robot.has_model:
        raise InputError(f"camera: {robot.name} has no MuJoCo model; leave it out")
    as_camera(camera).check(robot.load_model())


def make_renderer(
    family: TaskFamily, width: int = 480, height: int = 360, camera: Camera | None = None
) -> WorldRenderer:
    """A renderer for worlds of this family, `width` x `height` pixels.

    Args:
        family: whose robot and markers are drawn.
        width, height: pixels.
        camera: where pictures are taken from; None: the robot's own camera.

    Raises:
        InputError: if no OpenGL library can be used, the size is below 16 or above 4096, or the
            robot has no such camera.
    """
    width, height = picture_size(width, height)
    if camera is not None:
        check_camera(family.robot, camera)
    if family.robot.has_model:
        return MujocoRenderer(family, width, height, camera or family.robot.camera)
    if family.robot.source is not None:
        return OwnPictures(width, height)
    return MapRenderer(width, height, markers=family.shown_markers)


class MujocoRenderer:
    """MuJoCo's off-screen renderer, in a studio; the camera keeps the robot in view."""

    def __init__(self, family: TaskFamily, width: int, height: int, camera: Camera) -> None:
        model = self._model = family.robot.load_model()
        start = mujoco.MjData(model)
        if family.robot.xml is not None:
            start.qpos[:] = family.robot.initial_state()[0].numpy()
        mujoco.mj_forward(model, start)
        self._markers, self._looks = family.shown_markers, Looks(family, model, start)
        floor_m = float(start.subtree_com[0, 2])  # near enough to aim
        self._view = View(camera, model, start, width / height, _goals(family, floor_m))
        self._camera = self._view.camera
        self._studio = Studio(model, start, self._view)
        self._studio.prepare(model, self._studio.floor(model, start), self._view.aim(start))
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        try:
            self._renderer = mujoco.Renderer(
                model, height, width, max_geom=MAX_GEOMS + 2 * model.ngeom
            )
        except Exception as error:  # MuJoCo's backends raise whatever their libraries do
            raise InputError(
                f"cannot render without OpenGL ({_first_line(error)}): set MUJOCO_GL=egl (or "
                "osmesa) before Python starts; on Debian or Ubuntu first: "
                "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"
            ) from error
        self._options = mujoco.MjvOption()

    def frame(self, engine: AnyEngine, world_index: int, task_values: TaskValues) -> np.ndarray:
        """The world as it is now: (H, W, 3) uint8."""
        # The world's own model is drawn, so all that a task changes is seen; one OpenGL context,
        # which holds meshes and textures only, serves all worlds.
        model, data = _world(engine, world_index)
        scene, view, hidden = self._renderer.scene, self._view, self._looks.differences(model)
        at = view.aim(data)
        floor = self._studio.floor(model, data)
        self._studio.prepare(model, floor, at)
        drawn = self._place_markers(model, data, floor, task_values)
        kinds = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, self._options, None, self._camera, kinds, scene)
        self._looks.paint(scene, data, hidden)
        self._looks.add(scene, data, hidden, at, view.distance)
        self._looks.add_reported(scene, model, data, task_values)
        self._studio.furnish(scene, floor, at, floor_colours(hidden.friction))
        for shape, place in drawn:
            add_marker(scene, shape, place, MARKER_SIZE * view.distance)
        return self._renderer.render().copy()

    def legend(self, engine: AnyEngine, world_index: int, task_values: TaskValues) -> Legend:
        """Words and colours of what pictures of the world show of its hidden parameters."""
        model, _ = _world(engine, world_index)
        return legend(self._looks.differences(model), self._looks.misreports(task_values))

    def _place_markers(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        floor: Floor | None,
        task_values: TaskValues,
    ) -> list[tuple[str, Points]]:
        """Move sites of the picture to where their markers are; shapes and places of the others."""
        drawn = []
        for marker in self._markers:
            place = marker.place(task_values)
            shape = marker.shape or ("disc" if np.isnan(place[2]) else "sphere")
            if np.isnan(place[2]):
                place = np.nan_to_num(place) if floor is None else floor.below(place)
            if marker.site:
                site = model.site(marker.site).id
                data.site_xpos[site] = place
                model.site_group[site] = 0  # groups from 3 on are not drawn
            else:
                drawn.append((shape, place))
        return drawn

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()


class OwnPictures:
    """Pictures that a Gymnasium environment without MuJoCo draws itself, fitted to the size."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)

    def frame(self, engine: AnyEngine, world_index: int, task_values: TaskValues) -> np.ndarray:
        """The world as it is now: (H, W, 3) uint8."""
        del task_values
        if not isinstance(engine, GymEngine):
            raise TypeError("OwnPictures shows worlds of Gymnasium environments")
        picture = Image.fromarray(engine.own_picture(world_index))
        picture.thumbnail(self._size, Image.Resampling.LANCZOS)
        page = Image.new("RGB", self._size, (250, 250, 248))
        left, top = ((page.size[i] - picture.size[i]) // 2 for i in range(2))
        page.paste(picture, (left, top))
        return np.asarray(page).copy()

    def legend(self, engine: AnyEngine, world_index: int, task_values: TaskValues) -> Legend:
        """Nothing: what the environment draws is its own."""
        del engine, world_index, task_values
        return ()

    def close(self) -> None:
        """Nothing is held."""


def _world(engine: AnyEngine, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Copies of a world's model and state."""
    if isinstance(engine, AnalyticEngine):
        raise TypeError("MujocoRenderer draws worlds of a MuJoCo engine, got an analytic one")
    return engine.host_world(index)


def _goals(family: TaskFamily, floor_m: float) -> list[Points]:
    """Places where markers may be, each (3,), which the picture has to include."""
    if not family.shown_markers:
        return []
    splits = [family.sample_tasks(GOALS, Generator().manual_seed(0), s) for s in family.splits]
    tasks = Tasks.concatenate([family.nominal_tasks(), *splits])
    places = [m.place(tasks.describe(i)) for i in range(len(tasks)) for m in family.shown_markers]
    return [np.nan_to_num(place, nan=floor_m) for place in places]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
