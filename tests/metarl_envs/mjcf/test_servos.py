"""Controls by which servos hold a pose, of every kind of servo."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from support.actuated import KINDS, model_text

from metarl_envs.mjcf.servos import complete_keyframes, has_servos, holding_controls, target_law

# Force 5 u + 2 - 10 * (2 q): at rest where u = 4 q - 0.4.
REMAPPED = (
    '<general name="remapped" joint="hinge" gear="2" gainprm="5" biastype="affine" '
    'biasprm="2 -10 0"/>'
)


def model_of(*actuators: str, keyframe: str = "") -> mujoco.MjModel:
    text = model_text("".join(KINDS.get(name, name) for name in actuators))
    return mujoco.MjModel.from_xml_string(text.replace("</mujoco>", f"{keyframe}</mujoco>"))


def turned(model: mujoco.MjModel, angle: float) -> np.ndarray:
    """The initial pose with the hinge at an angle."""
    qpos = model.qpos0.copy()
    qpos[0] = angle
    return qpos


@pytest.mark.parametrize(
    ("name", "controls"),
    [
        ("servo", [0.3]),
        ("filtered", [0.3]),
        (REMAPPED, [0.8]),
        ("grip", [(100 * 0.3 - 3) / 0.2]),
        ("pid", [0.3, 0.0]),
        ("feedforward", [0.3, 0.0, 0.0]),
        ("drive", [0.3, 0.0]),
        ("winch", [0.0]),  # a speed: its activation is the target
        ("motor", [0.0]),
        ("speed", [0.0]),
        ("muscle", [0.0]),
        ("dc", [0.0]),
        ("wrist", [0.0, 0.0, 0.0]),
    ],
)
def test_a_servo_has_no_force_with_the_controls_that_hold_its_pose(name, controls):
    model = model_of(name)
    pose = turned(model, 0.3)
    held = holding_controls(model, pose)
    assert held.tolist() == pytest.approx(controls)
    assert has_servos(model) == any(controls)
    if not any(controls):
        return
    data = mujoco.MjData(model)
    data.qpos[:], data.ctrl[:] = pose, held
    if name == "filtered":
        data.act[:] = held
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.actuator_force, 0, atol=1e-9)


def test_a_control_pulls_to_the_length_that_its_law_says():
    model = model_of(REMAPPED, "winch", "pid", "motor")
    assert target_law(model, 0) == pytest.approx((0.2, 0.5))
    # An integrator's control is a speed, as is a PID servo's second one.
    assert [target_law(model, control) for control in range(1, 5)] == [None, (0, 1), None, None]


def test_keyframes_that_name_no_controls_are_held():
    pose = "0.3 1 0 0 0 2 0 0.1 1 0 0 0"
    keys = (
        f'<keyframe><key qpos="{pose}"/><key qpos="{pose}" ctrl="0.5 0 0.4 0"/>'
        f'<key qpos="{pose}" act="0.7 0.6"/></keyframe>'
    )
    model = model_of("servo", "winch", "filtered", "motor", keyframe=keys)
    complete_keyframes(model)
    np.testing.assert_allclose(
        model.key_ctrl, [[0.3, 0, 0.3, 0], [0.5, 0, 0.4, 0], [0.3, 0, 0.3, 0]]
    )
    # The filter has followed its control for long; the integrator's activation is its target.
    np.testing.assert_allclose(model.key_act, [[0.3, 0.3], [0.3, 0.4], [0.7, 0.6]])
