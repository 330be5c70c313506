"""Position servos of a model: the length to which a control pulls, and controls that hold a pose.

A length is the actuator's: of one on a joint, the joint's position times the gear.
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from metarl_envs.mjcf.names import actuator_of

DYN = mujoco.mjtDyn
FILTERS = (DYN.mjDYN_FILTER, DYN.mjDYN_FILTEREXACT)
"""Dynamics by which an activation follows its control, and equals it at rest."""


def target_law(model: mujoco.MjModel, control: int) -> tuple[float, float] | None:
    """(p0, p1) of a control that pulls to the length p0 + p1 * control; None of other controls."""
    actuator = actuator_of(model, control)
    if model.actuator_dyntype[actuator] == DYN.mjDYN_INTEGRATOR:
        return None
    return _law(model, actuator) if control == model.actuator_ctrladr[actuator] else None


def has_servos(model: mujoco.MjModel) -> bool:
    """True if any control is a position servo's."""
    return any(target_law(model, control) is not None for control in range(model.nu))


def holding_controls(model: mujoco.MjModel, qpos: NDArray[np.float64]) -> NDArray[np.float64]:
    """Controls (nu,) by which position servos hold a pose: their force is 0 there. Others are 0."""
    controls = np.zeros(model.nu)
    for actuator, rest in _rests(model, qpos).items():
        if model.actuator_dyntype[actuator] != DYN.mjDYN_INTEGRATOR:  # its control is a speed
            controls[model.actuator_ctrladr[actuator]] = rest
    return controls


def complete_keyframes(model: mujoco.MjModel) -> None:
    """Let position servos hold the pose of keyframes that name no controls, or no activations.

    MuJoCo makes those 0, and the servos would pull the robot out of its pose. A model does not tell
    what was named, so all 0 counts as not named.
    """
    for key in range(model.nkey):
        controls, activations = model.key_ctrl[key], model.key_act[key]
        if not controls.any():
            controls[:] = holding_controls(model, model.key_qpos[key])
        if activations.any():
            continue
        for actuator, rest in _rests(model, model.key_qpos[key]).items():
            kind = DYN(int(model.actuator_dyntype[actuator]))
            if kind in FILTERS:
                held = controls[model.actuator_ctrladr[actuator]]
                activations[model.actuator_actadr[actuator]] = held
            elif kind == DYN.mjDYN_INTEGRATOR:
                activations[model.actuator_actadr[actuator]] = rest


def _rests(model: mujoco.MjModel, qpos: NDArray[np.float64]) -> dict[int, float]:
    """By position servo, the control or activation at which it has no force in a pose."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_fwdPosition(model, data)
    found = {}
    for actuator in range(model.nactuator):
        if (law := _law(model, actuator)) is not None:
            length = float(data.actuator_length[model.actuator_outadr[actuator]])
            found[actuator] = (length - law[0]) / law[1]
    return found


def _law(model: mujoco.MjModel, actuator: int) -> tuple[float, float] | None:
    """The same of an actuator: of its position input, or of an integrator's activation."""
    gain, bias = model.actuator_gainprm[actuator, 0], model.actuator_biasprm[actuator]
    gaintype = mujoco.mjtGain(int(model.actuator_gaintype[actuator]))
    if gaintype in (mujoco.mjtGain.mjGAIN_PID, mujoco.mjtGain.mjGAIN_DCMOTOR):
        inputs = int(model.actuator_ctrlspec[actuator])
        return (0.0, 1.0) if inputs & int(mujoco.mjtCtrlInput.mjINPUT_POS) else None
    if (
        gaintype != mujoco.mjtGain.mjGAIN_FIXED
        or model.actuator_biastype[actuator] != mujoco.mjtBias.mjBIAS_AFFINE
        or not bias[1] < 0
        or gain == 0
    ):
        return None
    # The force, gain * control + bias[0] + bias[1] * length, is 0 there.
    return float(-bias[0] / bias[1]), float(-gain / bias[1])
