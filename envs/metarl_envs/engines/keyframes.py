"""A keyframe as MuJoCo restores it, with the controls that were under way."""

from __future__ import annotations

import mujoco
import numpy as np


def held_data(model: mujoco.MjModel, keyframe: int) -> mujoco.MjData:
    """The state of a keyframe, in which its controls have been held for long.

    `mj_resetDataKeyframe` leaves the history of an actuator with a `delay` empty, so that such a
    servo would let its joint go until the first control arrives.
    """
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, keyframe)
    for actuator, (samples, _) in enumerate(model.actuator_history):
        control = int(model.actuator_ctrladr[actuator])
        if samples and model.actuator_ctrlnum[actuator] == 1:
            held = np.full(samples, data.ctrl[control])
            mujoco.mj_initCtrlHistory(model, data, actuator, None, held)
    return data
