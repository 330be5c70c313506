"""Factors on actuators mean one physical thing each, whatever kind the actuator is of."""

from __future__ import annotations

import numpy as np
import pytest
from support.actuated import (
    model_text,
    moving,
    robot_of,
    robot_with,
    settled,
    still,
    varied,
    with_value,
)

from metarl_envs import InputError, vary

HALF, DOUBLE = 0.5, 2.0
GRAVITY = 9.81
SLIDE = """
<mujoco>
  <option timestep="0.002" integrator="implicitfast"/>
  <worldbody>
    <body><joint name="slide" type="slide" axis="0 0 1" damping="1"/>
      <geom size="0.05" mass="0.5"/></body>
  </worldbody>
  <actuator>{}</actuator>
</mujoco>"""
GRIP = (
    '<general name="grip" joint="slide" biastype="affine" ctrlrange="0 255" '
    'gainprm="0.01568627451" biasprm="0 -100 -10"/>'
)


@pytest.mark.parametrize(
    "name",
    [
        *("motor", "limited", "servo", "grip", "filtered", "speed", "winch", "damper"),
        *("cylinder", "muscle", "puller", "sucker", "pid", "wrist", "odd", "rotor"),
    ],
)
@pytest.mark.parametrize("factor", [0.0, HALF, DOUBLE])
@pytest.mark.parametrize("control", [0.6, 9.0])
def test_strength_is_a_factor_on_the_force_at_the_same_control_and_state(
    tmp_path, name, factor, control
):
    robot = robot_with(tmp_path, name)
    plain = moving(robot.load_model(), control).actuator_force
    assert np.abs(plain).min() > 0.01
    changed = moving(with_value(robot, vary.strength(robot, "*", (0, 3)), factor), control)
    np.testing.assert_allclose(changed.actuator_force, factor * plain, rtol=1e-12, atol=0)


def test_a_weaker_muscle_is_weaker_where_it_is_only_stretched_too(tmp_path):
    weak = varied(tmp_path, "puller", vary.strength, HALF)
    plain = robot_with(tmp_path, "puller").load_model()
    force, weaker = (still(model, position=3.0).actuator_force[0] for model in (plain, weak))
    assert force < -0.1
    assert weaker == pytest.approx(HALF * force, rel=1e-12)


@pytest.mark.parametrize("make", [vary.stiffness, vary.gain])
@pytest.mark.parametrize("factor", [HALF, 1.0, DOUBLE])
def test_a_servo_of_another_stiffness_keeps_its_target_and_sags_by_the_load(tmp_path, make, factor):
    robot = robot_of(tmp_path, SLIDE.format(GRIP))
    model = with_value(robot, make(robot, "grip", (0.1, 3)), factor)
    sag = 0.5 * GRAVITY / (100 * factor)
    assert settled(model, 255).qpos[0] == pytest.approx(0.04 - sag, abs=1e-6)
    model.opt.gravity[:] = 0
    assert settled(model, 255).qpos[0] == pytest.approx(0.04, abs=1e-6)


@pytest.mark.parametrize("kv", [10, 50])  # once the same number as kp
@pytest.mark.parametrize("make", [vary.stiffness, vary.gain])
def test_damping_is_none_of_the_stiffness_whatever_its_number(tmp_path, make, kv):
    servo = f'<position joint="slide" kp="50" kv="{kv}" ctrlrange="-1 1"/>'
    robot = robot_of(tmp_path, SLIDE.format(servo))
    model = with_value(robot, make(robot, "*", (0.1, 3)), HALF)
    data = still(model, control=0.5, position=0.1, speed=0.2)
    assert data.actuator_force[0] == pytest.approx(25 * (0.5 - 0.1) - kv * 0.2)


def test_an_offset_of_the_target_stays(tmp_path):
    model = varied(tmp_path, "grip", vary.stiffness, DOUBLE)
    data = still(model, control=10.0, position=(0.2 * 10 + 3) / 100)
    assert data.actuator_force[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "controls", "force"),
    [
        # kp (target - 0.1) - kv 0.3, at control 0.6 and activation 0.2, with kp times 2
        ("servo", 1, 2 * 50 * 0.5 - 5 * 0.3),
        ("winch", 1, 2 * 7 * 0.1 - 2 * 0.3),
        ("pid", 2, 2 * 50 * 0.5 + 5 * 0.3 + 2 * 0.2),
        ("feedforward", 3, 2 * 50 * 0.5 + 5 * 0.3 + 0.6),
        ("drive", 2, 2 * 10 * 0.5 + 3 * 0.3),
    ],
)
def test_stiffness_is_kp_with_one_input_or_several(tmp_path, name, controls, force):
    model = varied(tmp_path, name, vary.stiffness, DOUBLE)
    assert model.nu == controls
    assert moving(model).actuator_force[0] == pytest.approx(force)


@pytest.mark.parametrize(
    ("name", "force"),
    [
        ("servo", 50 * 0.5 - 2 * 5 * 0.3),
        ("speed", 2 * 5 * (0.6 - 0.3)),
        ("winch", 7 * 0.1 - 2 * 2 * 0.3),
        ("damper", -2 * 5 * 0.3 * 0.6),
        ("pid", 50 * 0.5 + 2 * 5 * 0.3 + 2 * 0.2),
        ("drive", 10 * 0.5 + 2 * 3 * 0.3),
    ],
)
def test_servo_damping_is_kv(tmp_path, name, force):
    model = varied(tmp_path, name, vary.servo_damping, DOUBLE)
    assert moving(model).actuator_force[0] == pytest.approx(force)


def test_an_orientation_servo_has_stiffness_and_damping_of_its_own(tmp_path):
    plain = robot_with(tmp_path, "wrist").load_model()
    plain.actuator_forcelimited[:] = False
    parts = []
    for make in (vary.stiffness, vary.servo_damping):
        model = varied(tmp_path, "wrist", make, 0.0)
        model.actuator_forcelimited[:] = False
        parts.append(moving(model).actuator_force)
    np.testing.assert_allclose(parts[0], -2 * np.array([-0.2, 0.1, 0.4]))  # -kv * speed
    np.testing.assert_allclose(sum(parts), moving(plain).actuator_force)


@pytest.mark.parametrize("make", [vary.servo_damping, vary.gain])
@pytest.mark.parametrize("factor", [HALF, DOUBLE])
def test_a_velocity_servo_keeps_its_target_and_lags_by_the_load(tmp_path, make, factor):
    # 0 ... 255 is 0 ... 2 m/s with kv = 20; weight and the joint's damping are the load.
    servo = (
        '<general joint="slide" biastype="affine" ctrlrange="0 255" '
        f'gainprm="{40 / 255}" biasprm="0 0 -20"/>'
    )
    robot = robot_of(tmp_path, SLIDE.format(servo))
    model = with_value(robot, make(robot, "slide", (0.1, 3)), factor)
    speed = (20 * factor * 2 - 0.5 * GRAVITY) / (20 * factor + 1)
    assert settled(model, 255).qvel[0] == pytest.approx(speed, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "force"),
    [
        ("motor", 2 * 0.6),
        ("limited", 0.2),
        ("cylinder", 2 * 5 * 0.2 + 1 - 3 * 0.1 - 2 * 0.3),
        ("sucker", 2 * 7 * 0.6),
    ],
)
def test_gain_of_what_is_no_servo_is_the_force_per_control_alone(tmp_path, name, force):
    model = varied(tmp_path, name, vary.gain, DOUBLE)
    assert moving(model).actuator_force[0] == pytest.approx(force)


@pytest.mark.parametrize("factor", [HALF, DOUBLE])
def test_a_gear_moves_the_target_of_a_servo_and_says_so(tmp_path, factor):
    robot = robot_of(tmp_path, SLIDE.format(GRIP))
    parameter = vary.gear(robot, "grip", (0.1, 3))
    assert parameter.description == (
        "factor on gear of grip, which measures with it: a servo settles at target / factor"
    )
    sag = 0.5 * GRAVITY / (100 * factor**2)
    found = settled(with_value(robot, parameter, factor), 255).qpos[0]
    assert found == pytest.approx(0.04 / factor - sag, abs=1e-6)
    strong = with_value(robot, vary.strength(robot, "grip", (0.1, 3)), factor)
    strong.opt.gravity[:] = 0
    assert settled(strong, 255).qpos[0] == pytest.approx(0.04, abs=1e-6)


@pytest.mark.parametrize("name", ["motor", "rotor", "parent", "line", "crank", "dc"])
def test_a_gear_scales_what_the_driven_part_gets_through_any_transmission(tmp_path, name):
    models = robot_with(tmp_path, name).load_model(), varied(tmp_path, name, vary.gear, DOUBLE)
    plain, changed = (still(model, control=1.0).qfrc_actuator for model in models)
    assert np.abs(plain).max() > 0.01
    np.testing.assert_allclose(changed, 2 * plain, rtol=1e-12)


def test_a_damper_is_as_strong_as_the_square_of_its_gear(tmp_path):
    model = varied(tmp_path, "damper", vary.gear, DOUBLE)
    assert moving(model).qfrc_actuator[0] == pytest.approx(4 * -5 * 0.3 * 0.6)


@pytest.mark.parametrize("axis", range(6))
def test_a_rotor_may_push_along_any_axis(tmp_path, axis):
    numbers = " ".join("2" if i == axis else "0" for i in range(6))
    rotor = f'<motor name="rotor" site="rotor" gear="{numbers}" ctrlrange="0 5"/>'
    robot = robot_of(tmp_path, model_text(rotor))
    models = robot.load_model(), with_value(robot, vary.gear(robot, "rotor", (0.5, 1)), HALF)
    plain, changed = (still(model, control=1.0).qfrc_actuator[4:] for model in models)
    assert np.abs(plain).max() == pytest.approx(2)
    np.testing.assert_allclose(changed, plain / 2)


def test_each_rotor_has_a_gear_of_its_own_and_thrust_is_its_share_of_the_weight(tmp_path):
    sites = "".join(
        f'<site name="r{i}" pos="{x} {y} 0"/>'
        for i, (x, y) in enumerate([(0.1, 0.1), (-0.1, 0.1), (-0.1, -0.1), (0.1, -0.1)])
    )
    rotors = "".join(
        f'<motor name="rotor{i}" site="r{i}" gear="0 0 1 0 0 {0.02 * (-1) ** i}" ctrlrange="0 5"/>'
        for i in range(4)
    )
    robot = robot_of(
        tmp_path,
        f"""<mujoco><worldbody><body pos="0 0 1"><freejoint/>
        <geom type="box" size="0.1 0.1 0.02" mass="0.8"/>{sites}</body></worldbody>
        <actuator>{rotors}</actuator></mujoco>""",
    )
    hover = 0.8 * GRAVITY / 4
    parameter = vary.gear(robot, "rotor*", (0.5, 1.5), each=True)
    data = still(with_value(robot, parameter, [0.6, 1.0, 0.6, 1.0]), control=hover)
    assert data.qacc[2] == pytest.approx((0.8 - 1) * GRAVITY)
    # Drag turns with the thrust that it belongs to.
    assert data.qfrc_actuator[5] == pytest.approx(0.02 * hover * (0.6 - 1 + 0.6 - 1))
    alike = vary.strength(robot, "rotor*", (0.5, 1.5))
    data = still(with_value(robot, alike, 0.7), control=hover)
    assert data.qacc[2] == pytest.approx((0.7 - 1) * GRAVITY)


def test_what_comes_after_an_actuator_of_several_outputs_is_changed_itself(tmp_path):
    robot = robot_with(tmp_path, "wrist", "pid", "motor")
    plain = robot.load_model()
    changed = with_value(robot, vary.gear(robot, "motor", (0.1, 3)), DOUBLE)
    assert (changed.actuator_gear - plain.actuator_gear)[:, 0].tolist() == [0, 0, 0, 0, 1]
    changed = with_value(robot, vary.strength(robot, "motor", (0.1, 3)), DOUBLE)
    assert (changed.actuator_gainprm - plain.actuator_gainprm)[:, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("name", ["muscle", "puller"])
@pytest.mark.parametrize("position", [-0.5, 0.0, 0.7])
def test_a_muscle_on_a_longer_lever_pulls_as_hard_in_every_pose(tmp_path, name, position):
    models = robot_with(tmp_path, name).load_model(), varied(tmp_path, name, vary.gear, DOUBLE)
    plain, changed = (still(m, position=position, speed=0.2, activation=0.8) for m in models)
    assert abs(plain.actuator_force[0]) > 1
    assert changed.actuator_force[0] == pytest.approx(plain.actuator_force[0], rel=1e-12)
    assert changed.qfrc_actuator[0] == pytest.approx(2 * plain.qfrc_actuator[0], rel=1e-12)


MOTOR = '<motor name="{}" joint="hinge" ctrlrange="-9 9" {}/>'
JOINT = {"joint": 'actuatorfrcrange="-3 3"'}


@pytest.mark.parametrize(
    ("actuators", "more", "largest"),
    [
        (MOTOR.format("a", 'forcerange="-4 4"'), {}, 2),
        (MOTOR.format("a", ""), JOINT, 1.5),
        (MOTOR.format("a", "") + MOTOR.format("b", ""), JOINT, 1.5),
        ('<position joint="hinge" kp="99" ctrlrange="-9 9" forcerange="-4 4"/>', JOINT, 1.5),
        ('<motor tendon="cord" ctrlrange="-9 9"/>', {"tendon": JOINT["joint"]}, 1.5 * 0.5),
        (
            '<dcmotor joint="hinge" resistance="1" motorconst="1" ctrlrange="-9 9" '
            'saturation="4 0 0"/>',
            {},
            2,
        ),
    ],
)
def test_a_force_limit_is_scaled_wherever_it_stands(tmp_path, actuators, more, largest):
    robot = robot_of(tmp_path, model_text(actuators, **more))
    model = with_value(robot, vary.force_limit(robot, "*", (0.1, 1)), HALF)
    for sign in (1, -1):
        data = still(model, control=9 * sign)
        assert data.qfrc_actuator[0] == pytest.approx(sign * largest)


@pytest.mark.parametrize(("names", "each"), [("pull", False), ("*", True)])
def test_a_limit_that_actuators_share_is_not_split_among_them(tmp_path, names, each):
    robot = robot_of(
        tmp_path, model_text(MOTOR.format("pull", "") + MOTOR.format("push", ""), **JOINT)
    )
    with pytest.raises(InputError, match=r"bounds the sum of 'pull', 'push'; name all of them"):
        vary.force_limit(robot, names, (0.1, 1), each=each)


def test_a_motor_may_be_wired_the_other_way_round(tmp_path):
    robot = robot_with(tmp_path, "motor")
    for make in (vary.gear, vary.gain):
        model = with_value(robot, make(robot, "motor", [(-1.2, -0.8), (0.8, 1.2)]), -1.0)
        assert moving(model).qfrc_actuator[0] == pytest.approx(-0.6)


def test_names_are_texts_of_any_type(tmp_path):
    robot = robot_with(tmp_path, "servo", "speed")
    for names in (
        ["servo", "speed"],
        ("servo", "speed"),
        np.array(["servo", "speed"]),
        [np.str_("servo"), np.str_("speed")],
    ):
        parameter = vary.strength(robot, names, np.array([0.5, 1.5]), each=True)
        assert parameter.name == "servo_speed_strength"
        assert parameter.description == "factor on strength of servo, speed"
        assert parameter.nominal == (1.0, 1.0)
    assert type(vary.strength(robot, np.str_("servo"), (0.5, 1.5)).name) is str
    for wrong in (3, [], [3], None):
        with pytest.raises(InputError, match=r"names = .*: must be a name or pattern"):
            vary.strength(robot, wrong, (0.5, 1.5))


@pytest.mark.parametrize(
    "make", [vary.strength, vary.stiffness, vary.servo_damping, vary.gain, vary.gear]
)
def test_the_nominal_value_leaves_the_model_as_it_is(tmp_path, make):
    robot = robot_with(tmp_path, "servo", "grip", "winch")
    parameter = make(robot, "*", (0.5, 1.5), each=True)
    model, plain = with_value(robot, parameter, parameter.nominal), robot.load_model()
    for field in parameter.effect.fields:
        np.testing.assert_array_equal(getattr(model, field), getattr(plain, field))
