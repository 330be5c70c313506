"""Bodies, geoms, joints, tendons and actuators of a model, found by name or glob pattern."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Literal

import mujoco
import numpy as np

from metarl_envs.errors import InputError, unknown_name
from metarl_envs.inputs.numbers import shown

Kind = Literal["body", "geom", "joint", "tendon", "actuator"]
Patterns = str | Sequence[str]
"""A name or glob pattern such as "front_*", or several; "*" also matches unnamed elements."""
LISTED = 8
"""Elements that are listed one by one."""


def find(model: mujoco.MjModel, kind: Kind, patterns: Patterns) -> list[int]:
    """Indices of the elements that any of the patterns matches, in the model's order.

    A geom or joint without a name is found by its body's, an actuator by that of what it drives:
    many models name only those. The world body is never matched, as nothing of it can vary.

    Raises:
        InputError: for a pattern that matches nothing, with the nearest names, or no pattern.
    """
    known = names(model, kind)
    found: set[int] = set()
    for pattern in texts(patterns):
        matches = [i for i, name in known.items() if fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            raise unknown_name(kind, pattern, {name for name in known.values() if name})
        found.update(matches)
    return sorted(found)


def texts(patterns: Patterns) -> list[str]:
    """Patterns of any type of text and row, such as an array of NumPy's, as plain ones.

    Raises:
        InputError: for anything else than texts, or for none at all.
    """
    single = isinstance(patterns, str) or not isinstance(patterns, Iterable)
    found = [patterns] if single else list(patterns)
    if not found or not all(isinstance(pattern, str) for pattern in found):
        raise InputError(
            f"names = {shown(patterns)}: must be a name or pattern such as 'front_*', or several "
            "in a list"
        )
    return [str(pattern) for pattern in found]


def listed(model: mujoco.MjModel, kind: Kind, patterns: Patterns) -> str:
    """Names of the elements that the patterns match, each once; the patterns of many elements."""
    known = names(model, kind)
    found = list(dict.fromkeys(known[i] for i in find(model, kind, patterns)))
    if len(found) <= LISTED and all(found):
        return ", ".join(found)
    return ", ".join(f"every {kind}" if text == "*" else text for text in texts(patterns))


def names(model: mujoco.MjModel, kind: Kind) -> dict[int, str]:
    """The name by which each element is found, by index; "" for none."""
    if kind == "body":
        return {i: model.body(i).name for i in range(1, model.nbody)}
    if kind == "geom":
        bodies = (model.body(int(body)).name for body in model.geom_bodyid)
        return {i: model.geom(i).name or body for i, body in enumerate(bodies)}
    if kind == "joint":
        bodies = (model.body(int(body)).name for body in model.jnt_bodyid)
        return {i: model.joint(i).name or body for i, body in enumerate(bodies)}
    if kind == "tendon":
        return {i: model.tendon(i).name for i in range(model.ntendon)}
    return {i: model.actuator(i).name or _driven(model, i) for i in range(model.nactuator)}


def actuator_of(model: mujoco.MjModel, control: int) -> int:
    """The actuator of a control: an actuator of MuJoCo may have several."""
    return int(np.searchsorted(model.actuator_ctrladr, control, side="right")) - 1


def control_names(model: mujoco.MjModel) -> list[str]:
    """The name by which the actuator of each control is found, (nu,); "" for none."""
    called = names(model, "actuator")
    return [called[actuator_of(model, control)] for control in range(model.nu)]


def dofs(model: mujoco.MjModel, joint: int) -> list[int]:
    """Degrees of freedom of a joint: one of a hinge or slide, three of a ball, six if free."""
    sizes = {mujoco.mjtJoint.mjJNT_FREE: 6, mujoco.mjtJoint.mjJNT_BALL: 3}
    first = int(model.jnt_dofadr[joint])
    return list(range(first, first + sizes.get(mujoco.mjtJoint(model.jnt_type[joint]), 1)))


def _driven(model: mujoco.MjModel, actuator: int) -> str:
    """The name of the joint, tendon, site or body that an actuator drives."""
    target, reference = model.actuator_trnid[actuator].tolist()
    transmission = mujoco.mjtTrn(int(model.actuator_trntype[actuator]))
    if transmission == mujoco.mjtTrn.mjTRN_TENDON:
        return model.tendon(target).name
    if transmission == mujoco.mjtTrn.mjTRN_BODY:
        return model.body(target).name
    # An orientation servo turns a ball joint, or a site as seen from another.
    on_site = transmission == mujoco.mjtTrn.mjTRN_SO3 and reference >= 0
    if on_site or transmission in (mujoco.mjtTrn.mjTRN_SITE, mujoco.mjtTrn.mjTRN_SLIDERCRANK):
        return model.site(target).name
    return names(model, "joint")[target]
