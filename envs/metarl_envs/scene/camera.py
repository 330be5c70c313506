"""The camera of pictures: its place beside the robot, and its motion along with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from metarl_envs.errors import InputError, unknown_name
from metarl_envs.inputs.numbers import shown
from metarl_envs.inputs.plain import PlainFields
from metarl_envs.mjcf.names import names
from metarl_envs.scene.subject import Points, find_subject

FIELD_OF_VIEW_DEG = 45.0  # vertical; the model's own cameras have theirs
ROOM_FOLLOWED, ROOM_LEAVING, ROOM_STAYING = 1.7, 5.0, 1.15
"""Height of the picture over that of the robot: of one that is followed, of one that drives away
from a fixed camera, and of one that stays in place, which is framed with its reach."""
SLACK = 0.4
"""Robot radii that it may rise or fall before the camera does: a hop should be seen as one."""
FAR = 2.0
"""Robot radii from which on goals ask for an overview."""
FLAT, FROM_ABOVE = 0.1, -50.0
"""Height over length of robots that are looked at from above, and the elevation of that view."""


@dataclass(frozen=True)
class Camera(PlainFields):
    """Settings of the camera; by default it is beside the robot and moves along with it."""

    distance_m: float | None = None
    """From the point that is looked at; None: from the robot's size."""
    elevation_deg: float | None = None
    """Of the view: -90 looks straight down, 0 is level; None: -15, or -50 for flat robots and for
    distant goals."""
    height_m: float | None = None
    """Height of the point that is looked at; None: the robot's, also when it climbs."""
    azimuth_deg: float = 90.0
    """Direction of the view: 0 looks along x, 90 along y."""
    body: str = ""
    """The body to follow; "": the first one that moves, or the root of what the actuators drive."""
    fixed: bool = False
    """True for a camera that stands still, so that a robot that drives away leaves the picture."""
    name: str = ""
    """A camera of the model, to be used as it is; "": none of them."""

    def __post_init__(self) -> None:
        if self.distance_m is not None and self.distance_m <= 0:
            raise InputError(f"distance_m = {self.distance_m:g}: must be above 0")
        if self.elevation_deg is not None and not -90 <= self.elevation_deg <= 90:
            raise InputError(f"elevation_deg = {self.elevation_deg:g}: must be in [-90, 90]")
        if self.name and replace(self, name="") != Camera():
            raise InputError(
                f"name = '{self.name}': must be alone, since a camera of the model has a place and "
                "a direction of its own; leave out the name, or everything else"
            )

    def check(self, model: mujoco.MjModel) -> None:
        """Refuse names that the model does not have.

        Raises:
            InputError: with the nearest names.
        """
        bodies = {name for name in names(model, "body").values() if name}
        if self.body and self.body not in bodies:
            raise unknown_name("body for the camera to follow", self.body, bodies)
        own = [model.camera(i).name for i in range(model.ncam)]
        if self.name and not any(own):
            raise InputError(
                f"unknown camera '{self.name}': the model names none of its own; leave out the "
                "name, and give azimuth_deg, elevation_deg or distance_m instead"
            )
        if self.name and self.name not in own:
            raise unknown_name("camera of the model", self.name, own)


def as_camera(given: object) -> Camera:
    """The camera that a person gave; None: one with nothing said.

    Raises:
        InputError: for anything else, such as a name by itself.
    """
    if given is None:
        return Camera()
    if not isinstance(given, Camera):
        raise InputError(
            f"camera = {shown(given)}: must be a metarl_envs.Camera, such as "
            "Camera(azimuth_deg=45), or Camera(name='side') for one of the model's own"
        )
    return given


class View:
    """A camera that has been put up in front of its subject."""

    def __init__(
        self,
        camera: Camera,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        aspect: float,
        goals: Sequence[Points] = (),
    ) -> None:
        """Looks at the start.

        Args:
            camera: as it was asked for.
            model: the nominal one.
            data: at the start, after `mj_forward`.
            aspect: the picture's width over its height.
            goals: where goals may be, each (3,): those that are far ask for an overview.

        Raises:
            InputError: for a body or a camera that the model does not have.
        """
        camera.check(model)
        subject = find_subject(model, data, camera.body)
        self._start = data.subtree_com[subject.body].copy()
        self.subject, self._body, self._height = subject, subject.body, camera.height_m
        self._follows = not camera.fixed and subject.travels
        self._centre, half = subject.centre, math.radians(FIELD_OF_VIEW_DEG / 2)
        half = math.atan(math.tan(half) * min(1.0, aspect))
        room = ROOM_LEAVING if subject.travels else ROOM_STAYING
        room = ROOM_FOLLOWED if self._follows else room
        distance, size = room * subject.radius / math.sin(half), subject.high - subject.low
        elevation = -15.0 if size[2] > FLAT * size.max() else FROM_ABOVE
        away = [np.abs(goal - self._centre).max() for goal in goals]
        if away and max(away) > FAR * subject.radius and not (camera.body or camera.distance_m):
            low = np.min([subject.low, *goals], axis=0)
            high = np.max([subject.high, *goals], axis=0)
            self._centre, self._follows = (low + high) / 2, False
            distance, elevation = float((high - low).max()) / 2 / math.tan(half), FROM_ABOVE
        self.distance = distance if camera.distance_m is None else camera.distance_m
        self.camera = mujoco.MjvCamera()
        if camera.name:
            self.camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
            self.camera.fixedcamid = model.camera(camera.name).id
            away = np.linalg.norm(data.cam_xpos[self.camera.fixedcamid] - subject.centre)
            self.distance = max(float(away), 2 * subject.radius)
            return
        self.camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        self.camera.azimuth, self.camera.distance = camera.azimuth_deg, self.distance
        self.camera.elevation = elevation if camera.elevation_deg is None else camera.elevation_deg
        self.aim(data)

    def aim(self, data: mujoco.MjData) -> Points:
        """Look at the subject as it is now: the point that is looked at, (3,).

        What is looked at depends on the state alone, not on earlier pictures.
        """
        at, moved = self._centre.copy(), data.subtree_com[self._body] - self._start
        if self._follows and np.isfinite(moved).all():
            slack = SLACK * self.subject.radius
            at += [*moved[:2], moved[2] - np.clip(moved[2], -slack, slack)]
        if self._height is not None:
            at[2] = self._height
        self.camera.lookat[:] = at
        return at
