"""Where pictures are taken from: what the robot of a model is, how large, and how to follow it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
from numpy.typing import NDArray

from metarl_envs.errors import InputError, unknown_name
from metarl_envs.inputs.numbers import shown
from metarl_envs.inputs.plain import PlainFields
from metarl_envs.mjcf.names import names

Points = NDArray[np.float64]  # (n, 3), m

FIELD_OF_VIEW_DEG = 45.0  # vertical; the model's own cameras have theirs
ROOM_FOLLOWED, ROOM_LEAVING, ROOM_STAYING = 1.7, 5.0, 1.15
"""Height of the picture over that of the robot: of one that is followed, of one that drives away
from a fixed camera, and of one that stays in place, which is framed with its reach."""
SLACK = 0.4
"""Robot radii that it may rise or fall before the camera does: a hop should be seen as one."""
NEAR = 1.0
"""Robot radii within which something else that moves, such as a ball, belongs into the picture."""
WIDE = 6.0
"""Robot radii of a rail that is too long to be shown as a whole."""
FAR = 2.0
"""Robot radii from which on goals ask for an overview."""
FLAT, FROM_ABOVE = 0.1, -50.0
"""Height over length of robots that are looked at from above, and the elevation of that view."""
POSES = 64
"""Random poses that show what a robot that stays in place can reach."""


@dataclass(frozen=True)
class Camera(PlainFields):
    """Where pictures are taken from: beside the robot, moving along with it."""

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
    """Whether the camera stands still, so that a robot that drives away is seen driving away."""
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


@dataclass(frozen=True)
class Subject:
    """What is to be in the picture, as it is at the start."""

    body: int
    """The subtree of this body is followed; 0: nothing moves."""
    low: Points  # (3,) corners of the box around it
    high: Points
    radius: float
    """Of the sphere around it, with the box's centre, m: what an arm reaches fills no corners."""
    travels: bool
    """Whether it can leave its place, as an arm on a table cannot."""

    @property
    def centre(self) -> Points:
        """Of the box: (3,)."""
        return (self.low + self.high) / 2


def find_subject(model: mujoco.MjModel, data: mujoco.MjData, body: str = "") -> Subject:
    """The robot: what the actuators drive, and what else moves near it; or the body of that name.

    A robot that stays in place is as large as what it can reach.

    Args:
        model: any; bodies without joints above them (mocap and static ones) are no robots.
        data: at the start, after `mj_forward`.
        body: the one to look at instead.
    """
    if body:
        root = int(model.body(body).id)
        return _subject(root, _points(model, data, _subtree(model, root)), travels=True)
    if model.ntree == 0:
        return _subject(0, _points(model, data, list(range(model.nbody))), travels=False)
    trees = _driven_trees(model, data)
    root = int(model.tree_bodyadr[trees[0]])
    robot = _bodies_of(model, trees)
    low, high = _box(model, data, robot)
    radius = float(np.linalg.norm(high - low)) / 2
    for tree in set(range(model.ntree)) - set(trees):
        other_low, other_high = _box(model, data, _bodies_of(model, [tree]))
        gap = np.maximum(0.0, np.maximum(other_low - high, low - other_high))
        if np.linalg.norm(gap) <= NEAR * radius:
            low, high = np.minimum(low, other_low), np.maximum(high, other_high)
    joints = [j for j in range(model.njnt) if int(model.jnt_bodyid[j]) in robot]
    travels = any(_travels(model, joint, WIDE * radius) for joint in joints)
    points = _corners(low, high)
    if not travels:
        points = np.concatenate([points, _reached(model, data, robot, float(low[2]))])
    return _subject(root, points, travels)


def _subject(body: int, points: Points, travels: bool) -> Subject:
    """What has these points, (n, 3); what travels turns, so its radius is that of the box."""
    low, high = points.min(axis=0), points.max(axis=0)
    outer = _corners(low, high) if travels else points
    radius = float(np.linalg.norm(outer - (low + high) / 2, axis=1).max())
    return Subject(body, low, high, radius, travels)


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


def _subtree(model: mujoco.MjModel, root: int) -> list[int]:
    """The body and those below it; a parent comes before its children."""
    inside = {root}
    for body in range(root + 1, model.nbody):
        if int(model.body_parentid[body]) in inside:
            inside.add(body)
    return sorted(inside)


def _bodies_of(model: mujoco.MjModel, trees: Sequence[int]) -> list[int]:
    return [body for body in range(model.nbody) if int(model.body_treeid[body]) in trees]


def _driven_trees(model: mujoco.MjModel, data: mujoco.MjData) -> list[int]:
    """Kinematic trees that actuators act on, most of them first; the first tree if there is none.

    An actuator's moment arms say which: that holds for joints, tendons, sites and cranks alike.
    """
    count = np.zeros(model.ntree, dtype=int)
    for actuator in range(model.nu):
        first = int(data.moment_rowadr[actuator])
        dofs = data.moment_colind[first : first + int(data.moment_rownnz[actuator])]
        count[np.unique(model.dof_treeid[dofs])] += 1
    return [int(tree) for tree in np.argsort(-count, kind="stable") if count[tree]] or [0]


def _travels(model: mujoco.MjModel, joint: int, wide: float) -> bool:
    """Whether the joint is free, or slides without limits or over more than `wide` metres."""
    if mujoco.mjtJoint(model.jnt_type[joint]) != mujoco.mjtJoint.mjJNT_SLIDE:
        return mujoco.mjtJoint(model.jnt_type[joint]) == mujoco.mjtJoint.mjJNT_FREE
    low, high = model.jnt_range[joint]
    return not model.jnt_limited[joint] or bool(high - low > wide)


def _corners(low: Points, high: Points) -> Points:
    """Of a box: (8, 3)."""
    return np.stack(np.meshgrid(*zip(low, high, strict=True)), axis=-1).reshape(8, 3)


def _points(model: mujoco.MjModel, data: mujoco.MjData, bodies: Sequence[int]) -> Points:
    """Corners around each geom of bodies, or around what has none: (n, 3)."""
    planar = (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_HFIELD)
    corners = _corners(-np.ones(3), np.ones(3))
    points = []
    for g in range(model.ngeom):
        if int(model.geom_bodyid[g]) in bodies and model.geom_type[g] not in planar:
            local = model.geom_aabb[g, :3] + corners * model.geom_aabb[g, 3:]
            points.append(data.geom_xpos[g] + local @ data.geom_xmat[g].reshape(3, 3).T)
    if not points:
        margin = max(float(model.stat.meansize), 1e-3)
        points = [data.xipos[bodies] + margin, data.xipos[bodies] - margin]
    return np.concatenate(points)


def _box(
    model: mujoco.MjModel, data: mujoco.MjData, bodies: Sequence[int]
) -> tuple[Points, Points]:
    """Lowest and highest corner of bodies, each (3,)."""
    points = _points(model, data, bodies)
    return points.min(axis=0), points.max(axis=0)


def _reached(
    model: mujoco.MjModel, data: mujoco.MjData, bodies: Sequence[int], low_m: float
) -> Points:
    """Points that the bodies come to in random poses, (n, 3), not below a floor or `low_m`."""
    rng, moved = np.random.default_rng(0), mujoco.MjData(model)
    ground = [float(data.geom_xpos[g, 2]) for g in floors(model)]
    lowest = min(low_m, *ground) if ground else -np.inf
    reached = []
    for _ in range(POSES):
        moved.qpos[:], moved.mocap_pos[:] = data.qpos, data.mocap_pos
        for joint in range(model.njnt):
            at, kind = int(model.jnt_qposadr[joint]), mujoco.mjtJoint(model.jnt_type[joint])
            if int(model.jnt_bodyid[joint]) in bodies and kind != mujoco.mjtJoint.mjJNT_BALL:
                low_end, high_end = -np.pi, np.pi
                if model.jnt_limited[joint]:
                    low_end, high_end = model.jnt_range[joint].tolist()
                moved.qpos[at] = rng.uniform(low_end, high_end)
        mujoco.mj_kinematics(model, moved)
        reached.append(_points(model, moved, bodies))
    points = np.concatenate(reached)
    points[:, 2] = np.maximum(points[:, 2], lowest)
    return points


def floors(model: mujoco.MjModel, least: float = math.inf) -> dict[int, float]:
    """Geoms that are floors, and how high above their middle: planes, and boxes that are large.

    They do not move, and look upward.

    Args:
        model: the nominal one.
        least: half the side that a box must have at least, m.
    """
    start, found = mujoco.MjData(model), {}
    mujoco.mj_kinematics(model, start)
    for g in range(model.ngeom):
        is_static = model.body_weldid[model.geom_bodyid[g]] == 0
        if not is_static or start.geom_xmat[g, 8] < 0.5:  # tilted by more than 60 degrees
            continue
        if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_PLANE:
            found[g] = 0.0
        elif (
            model.geom_type[g] == mujoco.mjtGeom.mjGEOM_BOX and min(model.geom_size[g, :2]) > least
        ):
            found[g] = float(model.geom_size[g, 2])
    return found
