"""Factors that an actuator does not have, or that mean nothing, are refused."""

from __future__ import annotations

import pytest
from support.actuated import (
    model_text,
    robot_of,
    robot_with,
)

from metarl_envs import InputError, vary


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("motor", vary.stiffness, r"'motor', has no stiffness \(kp\); use vary.strength"),
        ("motor", vary.servo_damping, r"has no damping of its own .* or vary.damping of its joint"),
        ("speed", vary.stiffness, r"of the kind 'velocity servo', has no stiffness"),
        ("damper", vary.gain, r"has no constant gain; use vary.strength, vary.servo_damping"),
        ("cylinder", vary.stiffness, r"of the kind 'cylinder', has no stiffness"),
        ("muscle", vary.gain, r"has no constant gain; use vary.strength, vary.gear or"),
        ("muscle", vary.stiffness, r"actuator 'muscle', of the kind 'muscle', has no stiffness"),
        ("sucker", vary.gear, r"has no gear; use vary.strength, vary.gain or"),
        ("wrist", vary.gear, r"has no gear; use vary.strength, vary.stiffness, vary.servo_damp"),
        ("pid", vary.gain, r"'PID servo', has no constant gain; use vary.strength, vary.stiffness"),
        ("feedforward", vary.strength, r"proportional to; use vary.stiffness, vary.servo_damping"),
        ("dc", vary.strength, r"'DC motor', has no numbers .* use vary.gear or vary.force_limit"),
        (
            "dc",
            vary.stiffness,
            r"has no stiffness \(kp\); use vary.gear, vary.force_limit or vary.j",
        ),
        ("odd", vary.gain, r"has no constant gain; use vary.strength, vary.gear"),
        ("motor", vary.force_limit, r"'motor', has no limit in the model; give it a forcerange"),
    ],
)
def test_what_an_actuator_does_not_have_is_refused_with_what_it_has(tmp_path, name, make, message):
    robot = robot_with(tmp_path, name)
    with pytest.raises(InputError, match=message) as error:
        make(robot, name, (0.5, 1.5), name="p")
    assert str(error.value).startswith(f"p: actuator '{name}', of the kind '")
    assert "\n" not in str(error.value)


def test_one_actuator_of_another_kind_is_enough_to_refuse(tmp_path):
    robot = robot_with(tmp_path, "servo", "muscle")
    with pytest.raises(InputError, match="actuator 'muscle'"):
        vary.stiffness(robot, "*", (0.5, 1.5))


@pytest.mark.parametrize(
    ("law", "make", "message"),
    [
        ('<position joint="hinge" kp="9" ctrlrange="-1 1"/>', vary.servo_damping, "no damping"),
        ('<motor joint="hinge" gear="0" ctrlrange="-1 1"/>', vary.gear, "has no gear"),
        ('<general joint="hinge" gainprm="0" ctrlrange="-1 1"/>', vary.strength, "no numbers"),
    ],
)
def test_a_factor_on_zero_is_refused(tmp_path, law, make, message):
    robot = robot_of(tmp_path, model_text(law))
    with pytest.raises(InputError, match=message):
        make(robot, "hinge", (0.5, 1.5))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("motor", vary.strength),
        ("servo", vary.strength),
        ("servo", vary.stiffness),
        ("servo", vary.gain),
        ("servo", vary.servo_damping),
        ("muscle", vary.gear),
        ("limited", vary.force_limit),
    ],
)
def test_a_factor_below_zero_is_refused_where_it_means_nothing(tmp_path, name, make):
    robot = robot_with(tmp_path, name)
    for ranges in ({"train": (-0.5, 1.5)}, {"train": (0, 1), "extrapolation": (-1, 0)}):
        with pytest.raises(InputError, match=r"range of p = \[-.*must not be below 0"):
            make(robot, name, **ranges, name="p")
