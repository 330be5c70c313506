"""Ranges of actions: placeholders are questioned, what fits is not."""

from __future__ import annotations

import pytest
import torch
from support.small_models import arm, box, family_of, robot_of, servo

from metarl_envs import FAMILIES, TaskFamily, get_family
from metarl_envs.check.actions import actions, drives

GRIP = servo("grip", "-.02 .02")  # centred on its start
REMAPPED = (
    '<general name="turn_servo" joint="turn" ctrlrange="-1 1" gainprm="20" biasprm="5 -10 0" '
    'biastype="affine"/>'
)
HOME = '<keyframe><key name="home" qpos=".9 0" ctrl="-.1 0"/></keyframe>'


def asked(family: TaskFamily) -> list[str]:
    found = list(actions(family))
    assert all(finding.verdict == "note" for finding in found) or len(found) == 1
    return [finding.text for finding in found if finding.verdict == "note"]


def of(tmp_path, actuators: str, limits: str = 'range="-1 1"', **settings) -> list[str]:
    angle, more = settings.pop("angle", "radian"), settings.pop("more", "")
    xml = arm(actuators, limits, more, angle)
    return asked(family_of(robot_of(tmp_path, xml, **settings)))


@pytest.mark.parametrize("name", FAMILIES)
def test_shipped_families_have_sound_ranges(name):
    assert asked(get_family(name)) == []


def test_servos_within_their_joints_are_fine(tmp_path):
    assert of(tmp_path, servo("turn", "-1 1") + GRIP) == []
    assert of(tmp_path, servo("turn", "-1.5 1.5") + GRIP) == []
    assert asked(family_of(robot_of(tmp_path, box()))) == []


@pytest.mark.parametrize(
    ("actuators", "limits", "named"),
    [
        (servo("turn", "-3.14 3.14"), 'range="-1 1"', "from -3.14 to 3.14 rad, its joint moves"),
        (servo("turn", "-3.1416 3.1416"), "", "a whole turn or more of a joint without limits"),
        (servo("turn", "-1000 1000"), 'range="-1 1"', "turn_servo: actions reach 1000 or more"),
        ('<motor name="m" joint="turn" ctrlrange="-1e6 1e6"/>', "", "m: actions reach 1000"),
        (
            '<motor name="m" joint="turn" forcerange="-2 2" ctrlrange="-50 50"/>',
            "",
            "'m' 25 times: actions ask for more force than forcerange allows",
        ),
        (
            servo("turn", "-2 2") + '<motor joint="grip" ctrlrange="-2 2"/>',
            'range="-2 2"',
            "all 2 actions reach from -2 to 2, though they are of different kinds",
        ),
        (servo("turn", ".2 1"), 'range="-1 1"', "'turn_servo' by +0.6 rad (its range 0.2 to 1 le"),
        (servo("turn", "-.2 1"), 'range="-1 1"', "'turn_servo' by +0.4 rad; centre actions on"),
    ],
)
def test_each_placeholder_is_asked_about_once(tmp_path, actuators, limits, named):
    (text,) = of(tmp_path, actuators, limits)
    assert named in text
    assert ("action_middle=" if "' by +" in named else "action_low=") in text


def test_a_start_elsewhere_than_in_the_middle_is_measured_from_the_keyframe(tmp_path):
    (text,) = of(tmp_path, servo("turn", "-1 1") + GRIP, more=HOME, keyframe="home")
    assert "'turn_servo' by -1 rad" in text
    assert "with action_middle=[0.9, " in text
    assert "keyframe=" in text


def test_ranges_of_joints_that_were_meant_in_radians_are_recognised(tmp_path):
    (text,) = of(tmp_path, servo("turn", "-1 1"), angle="degree")
    assert '<compiler angle="radian"/>' in text


def test_a_remapped_servo_is_judged_by_where_it_goes(tmp_path):
    # 20 u + 5 - 10 q = 0: from -1.5 to 2.5 rad.
    robot = robot_of(tmp_path, arm(REMAPPED, 'range="-1.5 2.5"'))
    (drive,) = drives(robot, *robot.action_bounds(), torch.tensor([0.25]))
    assert drive.middle == pytest.approx(1.0)
    assert drive.holding == pytest.approx(-0.25)
    assert drive.positions == pytest.approx((-1.5, 2.5))
    assert drive.limits == pytest.approx((-1.5, 2.5))
    (text,) = of(tmp_path, REMAPPED, 'range="-.5 .5"')
    assert "from -1.5 to 2.5 rad, its joint moves from -0.5 to 0.5" in text
