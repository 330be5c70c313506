"""Bodies, geoms, joints and actuators of a model, found by name or glob pattern."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Literal

import mujoco

from metarl_envs.errors import unknown_name

Kind = Literal["body", "geom", "joint", "actuator"]
Patterns = str | Sequence[str]
"""A name or glob pattern such as "front_*", or several; "*" matches what has no name, too."""


def find(model: mujoco.MjModel, kind: Kind, patterns: Patterns) -> list[int]:
    """Indices of the elements that any of the patterns matches, in the model's order.

    A geom or joint without a name answers to its body's, an actuator to that of its joint: many
    models name only those. The world body is never matched, as nothing of it can vary.

    Raises:
        InputError: for a pattern that matches nothing, with the nearest names.
    """
    known = names(model, kind)
    found: set[int] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matches = [i for i, name in known.items() if fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            raise unknown_name(kind, pattern, {name for name in known.values() if name})
        found.update(matches)
    return sorted(found)


def names(model: mujoco.MjModel, kind: Kind) -> dict[int, str]:
    """What each element answers to, by index; "" where that is nothing."""
    if kind == "body":
        return {i: model.body(i).name for i in range(1, model.nbody)}
    if kind == "geom":
        bodies = (model.body(int(body)).name for body in model.geom_bodyid)
        return {i: model.geom(i).name or body for i, body in enumerate(bodies)}
    if kind == "joint":
        bodies = (model.body(int(body)).name for body in model.jnt_bodyid)
        return {i: model.joint(i).name or body for i, body in enumerate(bodies)}
    return {i: model.actuator(i).name or _driven_joint(model, i) for i in range(model.nu)}


def dofs(model: mujoco.MjModel, joint: int) -> list[int]:
    """Degrees of freedom of a joint: one of a hinge or slide, three of a ball, six if free."""
    sizes = {mujoco.mjtJoint.mjJNT_FREE: 6, mujoco.mjtJoint.mjJNT_BALL: 3}
    first = int(model.jnt_dofadr[joint])
    return list(range(first, first + sizes.get(mujoco.mjtJoint(model.jnt_type[joint]), 1)))


def _driven_joint(model: mujoco.MjModel, actuator: int) -> str:
    """The joint that an actuator drives; "" if it drives something else."""
    of_joints = (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT)
    if mujoco.mjtTrn(model.actuator_trntype[actuator]) not in of_joints:
        return ""
    return names(model, "joint")[int(model.actuator_trnid[actuator, 0])]
