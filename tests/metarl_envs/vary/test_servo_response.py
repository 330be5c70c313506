"""Stiffness and damping of servos and strength of muscles, seen in the motion that follows."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
from support.actuated import robot_of, still, with_value

from metarl_envs import vary

CART = """
<mujoco>
  <option timestep="0.001" integrator="implicitfast" gravity="0 0 -9.81"/>
  <worldbody>
    <body><joint name="slide" type="slide" axis="{}"/><geom size="0.05" mass="2"/></body>
  </worldbody>
  <actuator>{}</actuator>
</mujoco>"""
SERVO = '<position name="servo" joint="slide" kp="50" dampratio="1" ctrlrange="-2 2"/>'
MUSCLE = '<muscle name="muscle" joint="slide" lengthrange="-1 1" force="30" ctrlrange="0 1"/>'


def highest(model: mujoco.MjModel) -> float:
    """The farthest position after a step of the target to 1 m."""
    data = mujoco.MjData(model)
    data.ctrl[:] = 1.0
    farthest = 0.0
    for _ in range(2000):
        mujoco.mj_step(model, data)
        farthest = max(farthest, float(data.qpos[0]))
    return farthest


def test_kv_of_a_damping_ratio_stays_when_the_stiffness_changes(tmp_path):
    robot = robot_of(tmp_path, CART.format("1 0 0", SERVO))
    plain = robot.load_model()
    assert plain.actuator_biasprm[0, 2] == pytest.approx(-2 * math.sqrt(50 * 2))
    stiff = with_value(robot, vary.stiffness(robot, "servo", (0.1, 9)), 4.0)
    np.testing.assert_allclose(
        stiff.actuator_biasprm[0, :3], [0, -200, plain.actuator_biasprm[0, 2]]
    )
    # Four times kp with the same kv is half of the damping ratio: the overshoot of a second-order
    # system is exp(-pi z / sqrt(1 - z^2)), 16 % at z = 1/2 and none at 1.
    assert highest(plain) <= 1.0
    assert highest(stiff) == pytest.approx(1 + math.exp(-math.pi / math.sqrt(3)), abs=0.005)


def test_stiffness_and_damping_together_keep_the_shape_of_the_response(tmp_path):
    robot = robot_of(tmp_path, CART.format("1 0 0", SERVO))
    soft = with_value(robot, vary.servo_damping(robot, "servo", (0.1, 9)), 0.25)
    z = 0.25
    overshoot = math.exp(-math.pi * z / math.sqrt(1 - z**2))
    assert highest(soft) == pytest.approx(1 + overshoot, abs=0.01)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_muscle_lifts_with_its_strength(tmp_path, factor):
    robot = robot_of(tmp_path, CART.format("0 0 -1", MUSCLE))  # shortening lifts
    # From a length of -1 to 1 its own is 0.75 to 1.05: at 2/3 it is 1, where the force is largest.
    at_best = {"control": 1.0, "activation": 1.0, "position": 2 / 3}
    assert still(robot.load_model(), **at_best).actuator_force[0] == pytest.approx(-30.0)
    model = with_value(robot, vary.strength(robot, "muscle", (0.1, 3)), factor)
    lifted = still(model, **at_best)
    assert lifted.qacc[0] == pytest.approx(9.81 - factor * 30 / 2)
