"""A MuJoCo model on Warp with fields of its own in every world, as C MuJoCo would have it.

Derived constants are computed on the device, by `mujoco_warp.set_const`, in single precision;
only the template is computed on the host. Differences from C MuJoCo, and their treatment:

- Solver PGS does not exist in mujoco_warp; such a model is refused. All robots here use Newton.
- The solver's tolerance is raised to 1e-6, the least that single precision reaches.
- A capsule that stands steeply on a plane gets contact axes along the world there and along the
  capsule in C. With pyramidal friction cones that changes the force (the ant's legs: up to 0.4 in
  a substep's velocities), so `capsule_contact_frames` turns them as C does.
- Constraints and contacts have room for a fixed number; more are dropped, and that is a fault.
- `mj_setConst` also refreshes tendon_lengthspring, actuator_length0, dof_length and the flexes'
  constants, which mujoco_warp does not; fields that need them are refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp
from torch import Tensor

from metarl_envs.engines.warp_contacts import capsule_contact_frames
from metarl_envs.errors import InputError
from metarl_envs.mjcf.fields import OPTION, owner_of

OPTIONS = ("gravity", "wind", "magnetic", "density", "viscosity")
"""Options that may differ between worlds. The time step may not: a robot's dt is one number."""
NEED_SET_CONST = frozenset(
    {
        "qpos0",
        *(f"body_{name}" for name in ("mass", "inertia", "ipos", "iquat", "pos", "quat")),
        "dof_armature",
        "tendon_armature",
        "actuator_gear",
        "geom_size",
        "eq_data",
    }
)
"""Varied fields from which others are derived."""
DERIVED = (
    "body_subtreemass",
    "body_invweight0",
    "dof_invweight0",
    "actuator_acc0",
    "tendon_invweight0",
    "tendon_length0",
)
"""Physical fields that `set_const` writes. Each needs a row per world, or worlds overwrite each
other. Of cameras and lights there is one row: pictures are drawn from the host's own model."""
DERIVED_OF_SIZE = ("geom_aabb", "geom_rbound")
NOT_FOLLOWED = ("cam_", "light_", "qpos_spring", "tendon_lengthspring", "actuator_armature")
"""Beginnings of fields that could differ between worlds, unlike the fields derived from them."""


def batched_model(
    model: mujoco.MjModel, num_worlds: int, varied: Sequence[str]
) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
    """The model on Warp's current device, with N rows of what varies or is derived from it.

    Args:
        model: the template.
        num_worlds: N.
        varied: model fields, and options such as "opt.gravity".

    Returns:
        The `mujoco_warp` model; live tensors of the varied fields, (N, ...); those of the fields
        derived from them, empty if there are none.

    Raises:
        InputError: for a solver or a varied field that mujoco_warp does not have.
    """
    _check(model, varied)
    derived: tuple[str, ...] = ()
    if NEED_SET_CONST & set(varied):
        derived = DERIVED + (DERIVED_OF_SIZE if "geom_size" in varied else ())
    rows = [name for name in (*varied, *derived) if not name.startswith(OPTION)]
    on_device = mjw.put_model(model, batch_sizes=dict.fromkeys(rows, num_worlds))
    on_device.opt.warn_overflow = 0  # printing from a kernel serialises; the engine reads the bits
    # The solver stops when it has converged, in a graph too, but for drivers before CUDA 12.4.
    on_device.opt.graph_conditional = wp.get_device().is_cpu or wp.is_conditional_graph_supported()
    on_device.callback.contactfilter = capsule_contact_frames
    # These two say whether any tendon has some, and are taken from the template.
    on_device.has_tendon_stiffness |= bool({"tendon_stiffness", "tendon_stiffnesspoly"} & {*varied})
    on_device.has_tendon_damping |= bool({"tendon_damping", "tendon_dampingpoly"} & {*varied})
    for name in varied:
        if name.startswith(OPTION):
            _expand_option(on_device, model, name.removeprefix(OPTION), num_worlds)
    return (
        on_device,
        {name: _tensor(on_device, name) for name in varied},
        {name: _tensor(on_device, name) for name in derived},
    )


def write_field(model: mujoco.MjModel, name: str, value: np.ndarray) -> None:
    """Set a field or option of a model on the host; its derived constants are not refreshed."""
    owner, attribute = owner_of(model, name)
    setattr(owner, attribute, value.reshape(np.shape(getattr(owner, attribute))))


def _check(model: mujoco.MjModel, varied: Sequence[str]) -> None:
    if model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
        raise InputError(
            "solver = PGS: mujoco_warp has Newton and CG; change the model's option, or use the "
            "engine cpu"
        )
    allowed = {
        field.name
        for field in dataclasses.fields(mjw.Model)
        if getattr(field.type, "shape", ())[:1] == ("*",)
        and not field.name.startswith(NOT_FOLLOWED)
    }
    allowed |= {OPTION + name for name in OPTIONS}
    for name in varied:
        if name not in allowed:
            raise InputError(
                f"model field '{name}': cannot differ between worlds on the engine warp, which "
                f"has {', '.join(sorted(allowed))}; use the engine cpu"
            )


def _expand_option(on_device: Any, model: mujoco.MjModel, name: str, num_worlds: int) -> None:  # noqa: ANN401
    """Give an option a row per world; to be done before any graph remembers the old array."""
    value = np.asarray(getattr(model.opt, name), dtype=np.float32)
    rows = np.broadcast_to(value, (num_worlds, *value.shape)).copy()
    setattr(on_device.opt, name, wp.array(rows, dtype=getattr(on_device.opt, name).dtype))
    if name in ("density", "viscosity", "wind"):
        on_device.has_fluid = True  # otherwise taken from the template


def _tensor(on_device: Any, name: str) -> Tensor:  # noqa: ANN401
    return wp.to_torch(getattr(*owner_of(on_device, name)))
