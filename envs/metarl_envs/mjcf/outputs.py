"""Fields of `mujoco.MjData` that a robot's functions may read: `outputs=` of `mujoco_robot`.

Allowed are the fields that `mj_forward` computes in every world. MuJoCo leaves the others as an
earlier call wrote them, possibly for another world: those are refused, with a field to read
instead.
"""

from __future__ import annotations

from collections.abc import Iterable

import mujoco
import mujoco.batch

from metarl_envs.errors import InputError, unknown_name

STATE = (
    *("time", "qpos", "qvel", "act", "history", "plastic", "qacc_warmstart"),
    *("ctrl", "qfrc_applied", "xfrc_applied", "eq_active", "mocap_pos", "mocap_quat"),
    "userdata",
)
"""MuJoCo's integration state, from which a step starts. It is current without `mj_forward`."""
PLACES = (
    *("xpos", "xquat", "xmat", "xipos", "ximat", "xanchor", "xaxis", "subtree_com"),
    *("geom_xpos", "geom_xmat", "site_xpos", "site_xmat"),
)
"""Places and directions: fields that follow from positions and mocap poses alone."""
SENSORS = {
    "cacc": '<accelerometer site="..."/>',
    "cfrc_ext": '<touch site="..."/> or <contact body1="..." data="force"/>',
    "cfrc_int": '<force site="..."/> or <torque site="..."/>',
    "subtree_angmom": '<subtreeangmom body="..."/>',
    "subtree_linvel": '<subtreelinvel body="..."/>',
}
"""Fields that MuJoCo computes only for a sensor that needs them, and such sensors."""
WORKSPACE = {
    "actuator_length, actuator_velocity or qfrc_actuator": (
        *("actuator_moment", "moment_colind", "moment_rowadr", "moment_rownnz", "nJ"),
    ),
    "M, qacc or qfrc_smooth": (*("qDeriv", "qH", "qHDiagInv", "qLD", "qLDiagInv", "qLU"),),
    "ten_length or ten_velocity": ("ten_wrapadr", "ten_wrapnum", "wrap_obj", "wrap_xpos"),
    "geom_xpos or ncon": ("bvh_aabb_dyn", "bvh_active"),
    "flexvert_xpos, flexedge_length or flexedge_velocity": (
        *("flex_hessian_valid", "flexedge_J", "flexedge_hessian", "flexelem_aabb"),
        *("flexelem_krot", "flexvert_conage", "flexvert_hessian", "flexvert_lambda"),
    ),
    "qvel": (
        *("body_awake", "body_awake_ind", "dof_awake_ind", "parent_awake_ind"),
        *("tree_asleep", "tree_awake"),
    ),
    "nefc, ncon or qfrc_constraint": (
        *("nA", "nidof", "nisland", "solver_fwdinv", "solver_niter", "solver_nnz"),
    ),
    "plugin_state or sensordata": ("plugin", "plugin_data"),
}
"""MuJoCo's own workspace, whose content depends on its solver, by the fields to read instead."""
INSTEAD = {name: instead for instead, names in WORKSPACE.items() for name in names}
REFUSED = frozenset(SENSORS) | frozenset(INSTEAD) | {"qfrc_inverse"}
"""Fields that are refused for every model; "energy" depends on the model."""


def check_outputs(model: mujoco.MjModel, names: Iterable[str]) -> None:
    """Refuse fields that are not there, or that `mj_forward` does not compute for this model.

    Raises:
        InputError: naming the field and what to read instead.
    """
    for name in names:
        if name not in mujoco.batch.DATA_FIELDS:
            raise unknown_name("output", name, mujoco.batch.DATA_FIELDS - REFUSED)
        if problem := _problem(model, name):
            raise InputError(f"output '{name}': {problem}")


def need_forward(names: Iterable[str]) -> bool:
    """True if any of the fields is computed from the state, rather than a part of it."""
    return not set(names) <= set(STATE)


def stage_of(names: Iterable[str]) -> mujoco.mjtStage:
    """The stage of `mj_forward` up to which it computes all of the fields."""
    computed = set(names) - set(STATE)
    if not computed:
        return mujoco.mjtStage.mjSTAGE_NONE
    stages = mujoco.mjtStage
    return stages.mjSTAGE_POS if computed <= set(PLACES) else stages.mjSTAGE_ACC


def _problem(model: mujoco.MjModel, name: str) -> str:
    """The reason that a field cannot be read, and what to do; "" if it can."""
    if name in SENSORS:
        return (
            "MuJoCo computes it only where a sensor needs it; give the model's <sensor> "
            f'{SENSORS[name]} and read "sensordata"'
        )
    if name in INSTEAD:
        return f"is MuJoCo's own workspace; read {INSTEAD[name]}"
    if name == "qfrc_inverse":
        return "inverse dynamics are not computed; read qfrc_actuator or qfrc_constraint"
    if name == "energy" and not model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_ENERGY):
        return 'this model does not compute it; give its <option> <flag energy="enable"/>'
    return ""
