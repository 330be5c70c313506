"""Finding bodies, geoms, joints and actuators by name."""

import mujoco
import pytest

from metarl_envs import InputError
from metarl_envs.mjcf.names import dofs, find, listed, names

MODEL = mujoco.MjModel.from_xml_string("""
<mujoco>
  <worldbody>
    <geom type="plane" size="1 1 1"/>
    <body name="torso">
      <freejoint/>
      <geom size="0.1"/>
      <body name="front_leg">
        <joint name="front_hip" axis="0 1 0"/><geom name="front" size="0.1"/>
      </body>
      <body name="back_leg"><joint type="ball"/><geom name="back" size="0.1"/></body>
    </body>
    <body><geom size="0.1"/></body>
  </worldbody>
  <actuator><motor joint="front_hip"/></actuator>
</mujoco>""")


def test_names_and_patterns_give_indices_in_the_models_order():
    assert find(MODEL, "body", "torso") == [1]
    assert find(MODEL, "body", ["back_leg", "front_*"]) == [2, 3]
    assert find(MODEL, "joint", "*_hip") == [1]
    assert find(MODEL, "body", ["*_leg", "back_leg"]) == [2, 3]


def test_a_star_matches_what_has_no_name_but_never_the_world():
    assert find(MODEL, "body", "*") == [1, 2, 3, 4]


def test_what_has_no_name_answers_to_its_body_or_joint():
    assert names(MODEL, "geom") == {0: "world", 1: "torso", 2: "front", 3: "back", 4: ""}
    assert find(MODEL, "joint", "torso") == [0]
    assert find(MODEL, "actuator", "front_hip") == [0]


def test_what_drives_no_joint_answers_to_its_tendon_site_or_body():
    model = mujoco.MjModel.from_xml_string("""
    <mujoco>
      <worldbody>
        <site name="slider"/>
        <body name="foot">
          <joint name="ankle"/><geom size="0.1"/><site name="jet"/><site name="pin" pos="0 0 1"/>
        </body>
        <body name="eye">
          <joint name="ball" type="ball"/><geom size="0.1"/><site name="gaze"/>
        </body>
      </worldbody>
      <tendon><fixed name="cord"><joint joint="ankle" coef="1"/></fixed></tendon>
      <actuator>
        <orientation joint="ball"/>
        <orientation site="gaze" refsite="jet"/>
        <motor tendon="cord"/>
        <pid joint="ankle"/>
        <motor site="jet"/>
        <adhesion body="foot" ctrlrange="0 1"/>
        <motor cranksite="pin" slidersite="slider" cranklength="2"/>
        <motor name="own" jointinparent="ball"/>
      </actuator>
    </mujoco>""")
    assert model.nu == 13
    expected = ["ball", "gaze", "cord", "ankle", "jet", "foot", "pin", "own"]
    assert list(names(model, "actuator").values()) == expected
    assert find(model, "actuator", "own") == [7]


@pytest.mark.parametrize("patterns", [3, None, [], [3], ["front", None]])
def test_patterns_that_are_no_text_are_refused(patterns):
    with pytest.raises(InputError, match=r"names = .*: must be a name or pattern such as"):
        find(MODEL, "geom", patterns)


def test_joints_own_one_three_or_six_degrees_of_freedom():
    assert dofs(MODEL, 0) == [0, 1, 2, 3, 4, 5]
    assert dofs(MODEL, 1) == [6]
    assert dofs(MODEL, 2) == [7, 8, 9]


@pytest.mark.parametrize(
    ("kind", "pattern", "message"),
    [
        ("body", "trso", "unknown body 'trso': did you mean torso"),
        ("joint", "front_hop", "unknown joint 'front_hop': did you mean front_hip"),
        ("actuator", "zzz", "unknown actuator 'zzz': known: front_hip"),
        ("geom", ["front", "bck"], "unknown geom 'bck': did you mean back"),
    ],
)
def test_a_misspelt_name_answers_with_the_nearest(kind, pattern, message):
    with pytest.raises(InputError, match=message):
        find(MODEL, kind, pattern)


def test_elements_are_listed_by_name_and_many_by_their_pattern():
    text = "<mujoco><worldbody>{}</worldbody></mujoco>"
    few, many = (
        mujoco.MjModel.from_xml_string(
            text.format("".join(f'<body name="b{i}"><geom size="1"/></body>' for i in range(n)))
        )
        for n in (2, 12)
    )
    assert listed(few, "body", "b*") == listed(few, "body", "*") == "b0, b1"
    assert listed(many, "body", "*") == "every body"
    assert listed(many, "body", ["b1*", "b*"]) == "b1*, b*"


def test_nameless_geoms_of_a_body_are_listed_once():
    geoms = '<geom size="0.1"/>' * 3
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><body name="wheel">{geoms}</body></worldbody></mujoco>'
    )
    assert listed(model, "geom", "wheel") == "wheel"
