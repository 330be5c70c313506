"""Actuators that fail: no force reaches anything, or what is reversed is the whole actuator."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from support.actuated import KINDS, moving, robot_of, robot_with, settled, with_value

from metarl_envs import InputError, vary
from metarl_envs.distributions import Choice

HAVE_NO_STRENGTH = ("dc", "drive", "feedforward")


@pytest.mark.parametrize("name", KINDS)
def test_a_dead_actuator_of_any_kind_gives_no_force(tmp_path, name):
    robot = robot_with(tmp_path, name)
    dead = vary.dead_actuator(robot, name)
    plain = moving(with_value(robot, dead, -1.0))
    np.testing.assert_array_equal(plain.qfrc_actuator, moving(robot.load_model()).qfrc_actuator)
    assert np.abs(plain.actuator_force).max() > 0.01
    fault = moving(with_value(robot, dead, 0.0))
    assert np.abs(fault.qfrc_actuator).max() == 0
    if name not in HAVE_NO_STRENGTH:
        assert np.abs(fault.actuator_force).max() == 0


def test_a_dead_adhesion_actuator_does_not_hold_what_it_would_hold(tmp_path):
    robot = robot_with(tmp_path, "sucker")
    dead = vary.dead_actuator(robot, "sucker")
    heights = []
    for value in (-1.0, 0.0):
        model = with_value(robot, dead, value)
        model.opt.gravity[2] = 5.0  # upwards: 4 N against 7 N of suction
        heights.append(settled(model, 1.0, seconds=0.5).qpos[7])
    assert heights[0] < 0.11 < 0.5 < heights[1]


def test_damping_and_armature_of_a_dead_motor_remain(tmp_path):
    motor = '<motor joint="hinge" gear="3" damping="2 0 0" armature="0.1" ctrlrange="-1 1"/>'
    text = f"""<mujoco><option gravity="0 0 0"/><worldbody><body><joint name="hinge"/>
    <geom size="0.1" mass="1"/></body></worldbody><actuator>{motor}</actuator></mujoco>"""
    robot = robot_of(tmp_path, text)
    data = mujoco.MjData(with_value(robot, vary.dead_actuator(robot, "hinge"), 0.0))
    data.qvel[0], data.ctrl[0] = 1.0, 1.0
    mujoco.mj_forward(data.model, data)
    inertia = 0.4 * 1 * 0.1**2 + 9 * 0.1
    assert data.qacc[0] == pytest.approx(-9 * 2 / inertia)


def test_a_leg_fails_as_a_whole_and_groups_may_overlap(tmp_path):
    robot = robot_with(tmp_path, "motor", "servo", "speed")
    dead = vary.dead_actuator(robot, ["s*", "motor"])
    alive = [moving(with_value(robot, dead, value)).actuator_force != 0 for value in (-1, 0, 1)]
    assert np.array(alive).tolist() == [
        [True, True, True],
        [True, False, False],
        [False, True, True],
    ]
    both = vary.dead_actuator(robot, np.array(["s*", "speed"]), train=np.array([0, 1]))
    assert both.description == "the actuator without force: 0 s*, 1 speed; -1 none"
    assert both.train == Choice((0.0, 1.0))
    alive = [moving(with_value(robot, both, value)).actuator_force != 0 for value in (0, 1)]
    assert np.array(alive).tolist() == [[True, False, False], [True, True, False]]


def test_actuators_without_a_name_of_their_own_fail_alone(tmp_path):
    motors = '<motor joint="hinge" ctrlrange="-1 1"/>' * 2
    text = f"""<mujoco><worldbody><body><joint name="hinge"/><geom size="0.1"/></body></worldbody>
    <actuator>{motors}</actuator></mujoco>"""
    robot = robot_of(tmp_path, text)
    dead = vary.dead_actuator(robot, "hinge")
    assert with_value(robot, dead, 1.0).actuator_gainprm[:, 0].tolist() == [1, 0]


def test_a_reversed_motor_pushes_the_other_way(tmp_path):
    robot = robot_with(tmp_path, "motor", "rotor")
    model = with_value(robot, vary.reversed_actuator(robot, "*"), 1.0)
    plain, changed = moving(robot.load_model()), moving(model)
    assert changed.qfrc_actuator[0] == plain.qfrc_actuator[0] == 0.6
    np.testing.assert_array_equal(changed.qfrc_actuator[4:], -plain.qfrc_actuator[4:])


@pytest.mark.parametrize("name", ["servo", "pid"])
def test_a_reversed_position_servo_is_stable_and_goes_to_the_negative_target(tmp_path, name):
    robot = robot_with(tmp_path, name)
    model = with_value(robot, vary.reversed_actuator(robot, name), 0.0)
    model.opt.gravity[:] = 0
    assert settled(model, [0.5, 0.0][: model.nu]).qpos[0] == pytest.approx(-0.5, abs=2e-3)


def test_a_reversed_velocity_servo_turns_the_other_way(tmp_path):
    robot = robot_with(tmp_path, "speed")
    model = with_value(robot, vary.reversed_actuator(robot, "speed"), 0.0)
    model.opt.gravity[:] = 0
    assert settled(model, 0.5).qvel[0] == pytest.approx(-0.5 * 5 / 5.1, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("muscle", "can only pull"),
        ("sucker", "can only pull"),
        ("damper", "damps both ways alike"),
        ("wrist", "has no gear to reverse"),
    ],
)
def test_what_has_no_other_way_round_is_refused(tmp_path, name, why):
    robot = robot_with(tmp_path, "motor", name)
    with pytest.raises(InputError, match=rf"actuator '{name}', of the kind .*, {why}; leave it"):
        vary.reversed_actuator(robot, "*")
