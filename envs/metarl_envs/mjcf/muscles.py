"""Muscles whose strength does not depend on what they carry."""

from __future__ import annotations

import mujoco
import numpy as np


def fixed_muscle_forces(model: mujoco.MjModel) -> None:
    """Write down the peak force of muscles whose force is automatic, as it is in this model.

    MuJoCo computes it in every step as scale / actuator_acc0, which `mj_setConst` derives from
    masses and gears: without this, a payload would make muscles stronger.
    """
    acc0 = np.maximum(mujoco.mjMINVAL, model.actuator_acc0[model.actuator_outadr])
    for types, muscle, numbers in (
        (model.actuator_gaintype, mujoco.mjtGain.mjGAIN_MUSCLE, model.actuator_gainprm),
        (model.actuator_biastype, mujoco.mjtBias.mjBIAS_MUSCLE, model.actuator_biasprm),
    ):
        automatic = (types == muscle) & (numbers[:, 2] < 0)
        numbers[automatic, 2] = numbers[automatic, 3] / acc0[automatic]
