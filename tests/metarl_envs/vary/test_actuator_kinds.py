"""Kinds of actuators: recognised by their law of force, also where there are several inputs."""

from __future__ import annotations

import mujoco
import pytest
from support.actuated import KINDS, ORDER, model_text

from metarl_envs.vary.actuator_kinds import actuators

MODEL = mujoco.MjModel.from_xml_string(model_text("\n".join(KINDS.values())))
EXPECTED = {
    "motor": "motor",
    "limited": "motor",
    "servo": "position servo",
    "grip": "position servo",
    "filtered": "position servo",
    "speed": "velocity servo",
    "winch": "integrated-velocity servo",
    "damper": "damper",
    "cylinder": "cylinder",
    "muscle": "muscle",
    "puller": "muscle",
    "sucker": "adhesion actuator",
    "pid": "PID servo",
    "feedforward": "PID servo",
    "wrist": "orientation servo",
    "dc": "DC motor",
    "drive": "DC motor",
    "odd": "general actuator",
    "rotor": "motor",
    "parent": "motor",
    "line": "motor",
    "crank": "motor",
}


def test_every_kind_is_recognised_in_a_model_with_more_controls_than_actuators():
    assert (MODEL.nu, MODEL.nactuator, MODEL.nout) == (28, 22, 24)
    found = actuators(MODEL, "*")
    assert [actuator.name for actuator in found] == ORDER
    assert {actuator.name: actuator.kind for actuator in found} == EXPECTED


@pytest.mark.parametrize(
    ("law", "kind"),
    [
        ('gainprm="2"', "motor"),
        ('gainprm="2" biasprm="0 -5 -1"', "motor"),  # biastype none: the bias is not used
        ('gainprm="2" biastype="affine" biasprm="7 0 0"', "motor"),
        ('gainprm="2" biastype="affine" biasprm="0 -9 0"', "position servo"),
        ('gainprm="2" biastype="affine" biasprm="0 0 -9"', "velocity servo"),
        ('gainprm="2" biastype="affine" biasprm="0 9 0"', "general actuator"),
        ('gaintype="affine" gainprm="0 0 -2"', "damper"),
        ('gaintype="affine" gainprm="1 0 -2"', "general actuator"),
        ('gaintype="user"', "user-defined actuator"),
    ],
)
def test_a_general_actuator_is_of_the_kind_of_its_law(law, kind):
    text = model_text(f'<general joint="hinge" {law} ctrlrange="-1 1"/>')
    (found,) = actuators(mujoco.MjModel.from_xml_string(text), "hinge")
    assert found.kind == kind


def test_factors_that_an_actuator_has_only_as_zero_are_not_among_its():
    text = model_text('<position name="soft" joint="hinge" kp="50" ctrlrange="-1 1"/>')
    (found,) = actuators(mujoco.MjModel.from_xml_string(text), "soft")
    assert list(found.entries) == ["strength", "stiffness", "gain", "gear"]
