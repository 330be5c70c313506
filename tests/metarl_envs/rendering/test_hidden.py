"""Differences of a world's model from the nominal one, whatever parameter has made them."""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np
import pytest
import torch
from support.small_models import robot_of
from torch import Generator

from metarl_envs import FAMILIES, BatchEnv, TaskFamily, get_family, mujoco_robot, vary
from metarl_envs.rendering.hidden import Nominal

LEG = """<mujoco><compiler autolimits="true"/><option density="1.2"/><worldbody>
<geom name="floor" type="plane" size="9 9 .1" friction="0.5"/>
<body name="trunk" pos="0 0 2"><freejoint/>
  <geom name="trunk" type="box" size=".2 .1 .1" friction="0.4"/>
  <geom name="fan" type="sphere" size=".05" pos="-.2 0 0" contype="0" conaffinity="0"/>
  <site name="blow" pos="-.19 0 0"/>
  <body name="bag" pos="0 0 .1">
    <geom name="bag" type="box" size=".05 .05 .05" pos="0 0 .05" mass="1" contype="0"
          conaffinity="0"/></body>
  <body name="thigh" pos="0 0 -.1"><joint name="hip" axis="0 1 0" range="-1 1"/>
    <geom name="thigh" type="capsule" size=".03" fromto="0 0 0 0 0 -.4" friction="0.1"/>
    <body name="shank" pos="0 0 -.4">
      <joint name="knee" axis="0 1 0" range="-1 1" actuatorfrcrange="-9 9"/>
      <geom name="shank" type="capsule" size=".02" fromto="0 0 0 0 0 -.4" friction="0.1"/>
      <body name="foot" pos="0 0 -.4">
        <geom name="foot" type="sphere" size=".04" friction="1" priority="1"/></body>
    </body></body>
</body></worldbody><actuator>
  <position name="hip" joint="hip" kp="50" kv="1" forcerange="-20 20" ctrlrange="-1 1"/>
  <motor name="knee" joint="knee" gear="3" ctrlrange="-1 1"/>
  <motor name="blow" site="blow" gear="1 0 0 0 0 0" ctrlrange="-1 1"/>
</actuator></mujoco>"""
NAMES = ("hip", "knee", "blow")


@pytest.fixture
def leg(tmp_path):
    return robot_of(tmp_path, LEG)


def differences(robot, parameter, value):
    """Those of a world with this value, as an engine makes it."""
    family = TaskFamily(
        name="leg", robot=robot, parameters=(parameter,), horizon=9, reward=lambda t: t.action[:, 0]
    )
    env = BatchEnv(family, 1, 1)
    env.set_tasks(family.make_task({parameter.name: value}))
    env.reset(Generator().manual_seed(0))
    return nominal(robot).differences(env.engine.host_world(0)[0])


def nominal(robot) -> Nominal:
    model = robot.load_model()
    data = mujoco.MjData(model)
    data.qpos[:] = robot.initial_state()[0].numpy()
    mujoco.mj_forward(model, data)
    return Nominal(model, data)


@pytest.mark.parametrize(
    ("make", "value", "forces"),
    [
        (lambda r: vary.dead_actuator(r, "*"), 1, (1, 0, 1)),
        (lambda r: vary.dead_actuator(r, "*"), -1, (1, 1, 1)),
        (lambda r: vary.reversed_actuator(r, "*"), 0, (-1, 1, 1)),
        (lambda r: vary.strength(r, ["hip", "blow"], (0, 2)), 0.25, (0.25, 1, 0.25)),
        (lambda r: vary.strength(r, "hip", (0, 2)), 0.0, (0, 1, 1)),
        (lambda r: vary.stiffness(r, "hip", (0, 2)), 0.5, (0.5, 1, 1)),
        (lambda r: vary.servo_damping(r, "hip", (0, 2)), 0.5, (1, 1, 1)),
        (lambda r: vary.gain(r, "knee", (-2, 2)), -1.5, (1, -1.5, 1)),
        (lambda r: vary.gear(r, "knee", (-2, 2)), 2.0, (1, 2, 1)),
        (lambda r: vary.force_limit(r, "hip", (0, 2)), 0.5, (0.5, 1, 1)),
        (lambda r: vary.force_limit(r, "knee", (0, 2)), 0.5, (1, 0.5, 1)),
        (lambda r: vary.action_delay(2), 1, (1, 1, 1)),
    ],
)
def test_force_of_an_actuator_whichever_parameter_changes_it(leg, make, value, forces):
    assert differences(leg, make(leg), value).forces == pytest.approx(forces)


def test_an_encoder_that_is_off_makes_no_servo_weak(leg):
    moved = robot_with_angles(leg)
    parameter = vary.encoder_offset(moved, "hip", (-0.2, 0.2), name="offset")
    assert differences(moved, parameter, 0.2).forces == pytest.approx((1, 1, 1))


def robot_with_angles(robot):
    return dataclasses.replace(
        robot, observation=lambda state: state["qpos"][:, 7:].clone(), observation_size=2
    )


def test_an_actuator_moves_its_link_up_to_the_next_one_that_is_driven(leg):
    found = nominal(leg)
    moved = {
        n: {found.model.geom(g).name for g in p} for n, p in zip(NAMES, found.parts, strict=True)
    }
    assert moved == {"hip": {"thigh"}, "knee": {"shank", "foot"}, "blow": {"fan"}}


AXLE = """
<mujoco><worldbody><body name="car"><freejoint/><geom size="0.2"/>
  <body name="left" pos="0 0.3 0"><joint name="left" axis="0 1 0"/><geom size="0.1"/></body>
  <body name="right" pos="0 -0.3 0"><joint name="right" axis="0 1 0"/><geom size="0.1"/></body>
</body></worldbody>
<tendon><fixed name="axle"><joint joint="left" coef="0.5"/><joint joint="right" coef="0.5"/></fixed>
</tendon>
<actuator><velocity name="throttle" tendon="axle" kv="1" ctrlrange="-9 9"/></actuator></mujoco>
"""


def test_both_wheels_of_a_tendon_are_moved_by_it(tmp_path):
    (tmp_path / "axle.xml").write_text(AXLE)
    found = nominal(mujoco_robot(tmp_path / "axle.xml", frame_skip=2, reset=0.0))
    throttle = {found.model.body(found.model.geom_bodyid[g]).name for g in found.parts[0]}
    assert throttle == {"left", "right"}


@pytest.mark.parametrize(
    ("geom", "value", "expected"),
    [
        ("foot", 0.5, 0.5),  # has priority over the floor
        ("floor", 1.0, 2.0),  # the larger one of a pair: now the floor's, for trunk and legs
        ("floor", 0.3, np.cbrt(0.8 * 0.6 * 0.6)),  # now the trunk's own, and the floor's for legs
        ("thigh", 0.4, 1.0),  # the floor's is larger still
        ("fan", 0.1, 1.0),  # touches nothing
    ],
)
def test_friction_is_that_of_contacts_with_the_floor(leg, geom, value, expected):
    parameter = vary.friction(leg, geom, (0.1, 3.0), how="set", name="friction")
    assert differences(leg, parameter, value).friction == pytest.approx(expected)


@pytest.mark.parametrize("coefficient", [0.1, 0.5])
def test_dry_friction_of_what_slides_by_itself_counts_as_the_floor_s(coefficient):
    puck = get_family("puck-slide")
    shown = differences(puck.robot, puck.parameters[0], coefficient)
    assert shown.friction == pytest.approx(coefficient / 0.25)
    assert shown.forces == pytest.approx([1.0])


def test_dry_friction_of_a_driven_joint_is_not_the_floor_s(tmp_path):
    rail = """<mujoco><worldbody><geom type="plane" size="9 9 .1"/><body pos="0 0 1">
    <joint name="x" type="slide" axis="1 0 0" frictionloss="2"/><geom size=".1"/></body></worldbody>
    <actuator><motor name="push" joint="x" ctrlrange="-1 1"/></actuator></mujoco>"""
    robot = robot_of(tmp_path, rail)
    parameter = vary.friction_loss(robot, "x", (0.1, 2.0), name="loss")
    assert differences(robot, parameter, 0.5).friction == 1.0


def test_wind_is_that_of_the_world(leg):
    shown = differences(leg, vary.wind(leg, (-9, 9)), (3.0, -4.0))
    assert shown.wind.tolist() == [3.0, -4.0] and shown.pull.tolist() == [0.0, 0.0]


def test_gravity_pulls_sideways_where_its_direction_has_changed(leg):
    gravity = vary.gravity(leg, (0.5, 2.0))
    assert differences(leg, gravity, 2.0).pull.tolist() == [0.0, 0.0]
    maze = get_family("navigate-hidden")
    shown = differences(maze.robot, maze.parameters[3], (0.2, -0.1))
    assert shown.pull == pytest.approx((2.0, -1.0))  # 0.2 m/s * 20 N s/m / 2 kg


def test_a_load_grows_with_the_cube_root_of_its_mass(leg):
    bag = leg.load_model().body("bag").id
    shown = differences(leg, vary.mass(leg, "bag", (0.01, 9.0), how="set"), 8.0)
    assert shown.growth[bag] == pytest.approx(2.0) and not shown.added.any()
    assert np.delete(shown.growth, bag).tolist() == [1.0] * (len(shown.growth) - 1)


def test_a_load_whose_geoms_have_grown_grows_no_more(leg):
    shown = differences(leg, vary.payload(leg, "bag", (0.0, 9.0)), 8.0)
    assert (shown.growth == 1.0).all() and not shown.added.any()


def test_mass_of_other_bodies_is_added_to_them(leg):
    model = leg.load_model()
    shown = differences(leg, vary.mass(leg, ["trunk", "foot"], (0.5, 2.0), name="mass"), 1.5)
    trunk, foot = model.body("trunk").id, model.body("foot").id
    assert shown.added[trunk] == pytest.approx(0.5 * model.body_mass[trunk])
    assert shown.added[foot] == 0.0  # a load: it grows
    assert shown.growth[foot] == pytest.approx(np.cbrt(1.5))


@pytest.mark.parametrize("name", [n for n, f in FAMILIES.items() if f.robot.has_model])
def test_nominal_worlds_show_nothing(name):
    family = get_family(name)
    env = BatchEnv(family, 1, 1)
    env.set_tasks(family.nominal_tasks())
    env.reset(Generator().manual_seed(0))
    shown = nominal(family.robot).differences(env.engine.host_world(0)[0])
    assert (shown.forces == 1).all() and len(shown.forces) == len(family.action_bounds()[0])
    assert shown.friction == 1.0 and not (shown.wind.any() or shown.pull.any())
    assert (shown.growth == 1).all() and not shown.added.any()


def test_single_precision_is_no_difference(leg):
    model = leg.load_model()
    for field in ("actuator_gainprm", "actuator_biasprm", "geom_friction", "body_mass"):
        values = getattr(model, field)
        values[:] = torch.from_numpy(values.copy()).float().double().numpy()
    shown = nominal(leg).differences(model)
    assert shown.forces == pytest.approx((1, 1, 1), abs=1e-6)
    assert shown.friction == 1.0 and not shown.added.any() and (shown.growth == 1).all()
