"""The robot in a picture: the bodies that it consists of, their size and their reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (n, 3), m

NEAR = 1.0
"""Robot radii within which something else that moves, such as a ball, belongs in the picture."""
WIDE = 6.0
"""Robot radii of a rail that is too long to be shown as a whole."""
POSES = 64
"""Random poses that show the reach of a robot that stays in place."""


@dataclass(frozen=True)
class Subject:
    """The robot in the picture, in its start state."""

    body: int
    """The subtree of this body is followed; 0: nothing moves."""
    low: Points  # (3,) corners of the box around it
    high: Points
    radius: float
    """Of the sphere around it, with the box's centre, m: an arm does not reach the corners."""
    travels: bool
    """True if it can leave its place, unlike an arm on a table."""

    @property
    def centre(self) -> Points:
        """Of the box: (3,)."""
        return (self.low + self.high) / 2


def find_subject(model: mujoco.MjModel, data: mujoco.MjData, body: str = "") -> Subject:
    """Find the robot: the bodies that actuators drive, and others that move near them; or one body.

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
    """The subject with these points, (n, 3); one that travels turns, so its radius is the box's."""
    low, high = points.min(axis=0), points.max(axis=0)
    outer = _corners(low, high) if travels else points
    radius = float(np.linalg.norm(outer - (low + high) / 2, axis=1).max())
    return Subject(body, low, high, radius, travels)


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
    """True if the joint is free, or slides without limits or over more than `wide` metres."""
    if mujoco.mjtJoint(model.jnt_type[joint]) != mujoco.mjtJoint.mjJNT_SLIDE:
        return mujoco.mjtJoint(model.jnt_type[joint]) == mujoco.mjtJoint.mjJNT_FREE
    low, high = model.jnt_range[joint]
    return not model.jnt_limited[joint] or bool(high - low > wide)


def _corners(low: Points, high: Points) -> Points:
    """Of a box: (8, 3)."""
    return np.stack(np.meshgrid(*zip(low, high, strict=True)), axis=-1).reshape(8, 3)


def _points(model: mujoco.MjModel, data: mujoco.MjData, bodies: Sequence[int]) -> Points:
    """Corners around each geom of bodies, or around bodies without geoms: (n, 3)."""
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
