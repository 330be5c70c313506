"""Bounds and middle of a robot's actions, and the controls that it starts with."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import Generator

from metarl_envs import BatchEnv, InputError, MetaEnv, TaskFamily, mujoco_robot, vary

HELD = """
<mujoco model="held">
  <option timestep="0.002"/>
  <worldbody>
    <body name="upper" pos="0 0 1">
      <joint name="shoulder" axis="0 1 0" range="-180 180" damping="2"/>
      <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="2"/>
      <body name="lower" pos="0.4 0 0">
        <joint name="elbow" axis="0 1 0" range="0 150" damping="1"/>
        <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.025" mass="1"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position name="shoulder_servo" joint="shoulder" kp="400" ctrlrange="-3.1 3.1"/>
    <position name="elbow_servo" joint="elbow" kp="400" ctrlrange="0 2.6"/>
    <general name="cylinder" joint="elbow" dyntype="filter" dynprm="0.3" gainprm="20"
             ctrlrange="0 1"/>
  </actuator>
  <keyframe>
    <key name="home" qpos="-1.2 0.4" ctrl="-1.2 0.4 0.5" act="0.5"/>
    <key name="beyond" qpos="0 0" ctrl="-4 0.4 0"/>
    <key name="pose" qpos="0.3 0.4"/>
  </keyframe>
</mujoco>
"""
UNBOUNDED = """
<mujoco model="unbounded">
  <worldbody>
    <body name="cart">
      <joint name="x" type="slide" axis="1 0 0" damping="1" range="-1 1"/>
      <geom size="0.1" mass="1"/>
      <body name="pole" pos="0 0 1">
        <joint name="hinge" axis="0 1 0" range="-90 45"/>
        <geom size="0.1" mass="1"/>
      </body>
    </body>
  </worldbody>
  <actuator>{actuators}</actuator>
</mujoco>
"""
SERVO = '<position name="servo" joint="x" kp="10"/>'
# Force 5 u + 2 - 10 * (2 q): at rest where u = 4 q - 0.4.
REMAPPED = (
    '<general name="remapped" joint="x" gear="2" gainprm="5" biastype="affine" biasprm="2 -10 0"/>'
)
MOTOR = '<motor name="motor" joint="hinge"/>'
BOUNDED = '<motor name="bounded" joint="hinge" ctrlrange="-3 2"/>'


@pytest.fixture
def held(tmp_path):
    (tmp_path / "held.xml").write_text(HELD)

    def made(**arguments):
        arguments = {"frame_skip": 10, "keyframe": "home", "reset": 0.0} | arguments
        return mujoco_robot(tmp_path / "held.xml", **arguments)

    return made


def family(robot, *parameters):
    return TaskFamily(
        name="held",
        robot=robot,
        horizon=50,
        parameters=parameters or (vary.mass(robot, "upper", (0.5, 2.0)),),
        reward=lambda transition: -transition.after["qpos"][:, 0].square(),
    )


def test_the_middle_is_the_keyframes_controls_where_it_has_any(held):
    assert held().action_middle == (-1.2, 0.4, 0.5)
    assert held(keyframe="").action_middle is None
    assert held(keyframe="beyond").action_middle == (-3.1, 0.4, 0.0)
    assert family(held()).action_middle() == (-1.2, 0.4, 0.5)


def test_the_middle_of_the_range_is_no_middle_of_ones_own(held):
    assert held(action_middle=[0.0, 1.3, 0.5]).action_middle is None
    assert held(action_low=[-2.4, 0.0, 0.0], action_high=[0.0, 0.8, 1.0]).action_middle is None


def test_a_keyframes_controls_are_clipped_into_the_bounds_that_are_given(held):
    robot = held(action_low=[-1.0, 0.5, 0.1], action_high=[1.0, 2.0, 0.3])
    assert robot.action_middle == (-1.0, 0.5, 0.3)
    assert [bound.tolist() for bound in robot.action_bounds()] == [[-1, 0.5, 0.1], [1, 2.0, 0.3]]


@pytest.mark.parametrize(
    "of_type",
    [
        list,
        tuple,
        np.array,
        np.float32,
        torch.tensor,
        lambda row: torch.nn.Parameter(torch.tensor(row)),
    ],
)
def test_bounds_and_middle_are_numbers_of_any_type_and_kept_as_plain_ones(held, of_type):
    robot = held(
        action_low=of_type([-2.0, 0.25, 0.0]),
        action_high=of_type([1.0, 1.0, 1.0]),
        action_middle=of_type([-1.5, 0.5, 0.0]),
    )
    assert robot.action_low == (-2.0, 0.25, 0.0)
    assert robot.action_high == (1.0, 1.0, 1.0)
    assert robot.action_middle == (-1.5, 0.5, 0.0)
    found = (*robot.action_low, *robot.action_high, *robot.action_middle)
    assert {type(value) for value in found} == {float}
    one = held(action_low=np.float32(0.25), action_high=np.array(1.0), action_middle=np.int64(1))
    assert (one.action_low, one.action_high) == ((0.25,) * 3, (1.0,) * 3)
    assert one.action_middle == (1.0,) * 3


def test_spaces_are_the_bounds_that_are_given(held):
    env = MetaEnv(family(held(action_low=[-2.0, 0.1, 0.0], action_high=[1.0, 1.0, 0.5])))
    np.testing.assert_allclose(env.action_space.low, np.float32([-2.0, 0.1, 0.0]))
    np.testing.assert_allclose(env.action_space.high, np.float32([1.0, 1.0, 0.5]))
    check_env(env, skip_render_check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action_low": [0, 0]}, r"action_low = \[0.0, 0.0\]: must be one number, or one for each"),
        ({"action_high": "high"}, "action_high = 'high': must be numbers in a row"),
        ({"action_low": [0, 0, np.nan]}, r"action_low\[2\] = nan: must be a finite number"),
        (
            {"action_low": [-3.2, 0, 0]},
            r"action_low\[0\] = -3.2 \(actuator 'shoulder_servo'\): must be within its control "
            r"range, \[-3.1, 3.1\]",
        ),
        ({"action_high": 2.0}, r"action_high\[2\] = 2 \(actuator 'cylinder'\): must be within"),
        (
            {"action_low": [1, 0, 0], "action_high": [1, 1, 1]},
            r"action_low\[0\] = 1 \(actuator 'shoulder_servo'\): must be below action_high",
        ),
        (
            {"action_middle": [0, -0.1, 0]},
            r"action_middle\[1\] = -0.1 \(actuator 'elbow_servo'\): must be within \[0, 2.6\]",
        ),
    ],
)
def test_bounds_that_cannot_be_are_refused(held, arguments, message):
    with pytest.raises(InputError, match=message):
        held(**arguments)


@pytest.mark.parametrize(
    ("actuators", "name", "hint"),
    [
        (SERVO, "servo", r"action_low=-1 and action_high=1, as it positions joint 'x', whose"),
        (REMAPPED, "remapped", r"action_low=-4.4 and action_high=3.6, as it .* \[-1, 1\]"),
        (MOTOR, "motor", r"action_low=-1 and action_high=1, as an example"),
        (
            BOUNDED + '<position name="angle" joint="hinge" kp="3"/>',
            "angle",
            r"action_low=\[-3, -1.571\] and action_high=\[2, 0.7854\], as it positions "
            r"joint 'hinge', whose range is \[-1.571, 0.7854\]",
        ),
    ],
)
def test_an_actuator_without_a_range_asks_for_bounds_and_suggests_them(
    tmp_path, actuators, name, hint
):
    (tmp_path / "cart.xml").write_text(UNBOUNDED.format(actuators=actuators))
    with pytest.raises(InputError, match=f"'{name}' has no control range; .*{hint}") as caught:
        mujoco_robot(tmp_path / "cart.xml", frame_skip=5)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="has no control range"):
        mujoco_robot(tmp_path / "cart.xml", frame_skip=5, action_low=-1)


def test_bounds_serve_an_actuator_without_a_range(tmp_path):
    (tmp_path / "cart.xml").write_text(UNBOUNDED.format(actuators=SERVO))
    robot = mujoco_robot(
        tmp_path / "cart.xml",
        frame_skip=5,
        reset=0.0,
        outputs=["actuator_force"],
        action_low=-0.5,
        action_high=2,
    )
    assert [bound.tolist() for bound in robot.action_bounds()] == [[-0.5], [2.0]]
    env = BatchEnv(family(robot, vary.mass(robot, "cart", (0.5, 2.0))), 1, 1)
    env.reset(Generator().manual_seed(0))
    for action in (2.0, -0.5):
        env.step(torch.tensor([[action]]))
        # A spring of 10 N/m to where the control says.
        force = 10 * (action - float(env.engine.data["qpos"][0, 0]))
        assert float(env.engine.data["actuator_force"][0, 0]) == pytest.approx(force)


def test_an_episode_starts_with_the_keyframes_controls_and_holds_itself(held):
    env = BatchEnv(family(held(outputs=["act"])), 2, 1)
    env.reset(Generator().manual_seed(0))
    env.engine.data["ctrl"].zero_()
    env.step(torch.zeros(2, 3))
    env.reset(Generator().manual_seed(0), torch.tensor([True, False]))
    assert env.engine.data["ctrl"].tolist() == [[-1.2, 0.4, 0.5], [0.0, 0.0, 0.0]]
    assert env.engine.data["act"][0].tolist() == [0.5]
    middle = torch.tensor(env.family.action_middle()).expand(2, -1)
    env.reset(Generator().manual_seed(0))
    for _ in range(25):
        env.step(middle)
    assert (env.engine.data["qpos"][:, 0] + 1.2).abs().max() < 0.02


def test_a_keyframe_without_controls_is_held_by_its_servos(held):
    robot = held(keyframe="pose")
    assert robot.action_middle == (0.3, 0.4, 0.0)
    env = BatchEnv(family(robot), 1, 1)
    env.reset(Generator().manual_seed(0))
    assert env.engine.data["ctrl"].tolist() == [[0.3, 0.4, 0.0]]
    for _ in range(25):
        env.step(torch.tensor([robot.action_middle]))
    # It sags by load / kp: 3 kg in the middle of 0.7 m are at most 10 N m, against 400 N m/rad.
    assert (env.engine.data["qpos"][0] - torch.tensor([0.3, 0.4])).abs().max() < 0.04


ALOFT = """
<mujoco>
  <worldbody><body><joint name="j" axis="0 1 0" ref="{ref}" damping="1"/>
    <geom type="capsule" fromto="0 0 0 .3 0 0" size=".02" mass="1"/></body></worldbody>
  <actuator><position joint="j" kp="100" ctrlrange="-3 3"/></actuator>
</mujoco>
"""


def test_without_a_keyframe_a_late_servo_holds_the_pose_of_the_model(tmp_path):
    (tmp_path / "aloft.xml").write_text(ALOFT.format(ref="60"))
    robot = mujoco_robot(tmp_path / "aloft.xml", frame_skip=10, reset=0.0)
    late = TaskFamily(
        name="aloft",
        robot=robot,
        horizon=50,
        parameters=(vary.action_delay(20),),
        reward=lambda transition: transition.after["qpos"][:, 0],
    )
    env = BatchEnv(late, 1, 1)
    env.set_tasks(late.make_task({"action_delay": 20}))
    env.reset(Generator().manual_seed(0))
    for _ in range(20):
        env.step(torch.tensor([[-3.0]]))
    # At rest the servo sags by weight * arm / kp; to a target of 0 it would swing by 60 degrees.
    start, sag = math.radians(60), 9.81 * 0.15 / 100
    assert float(env.engine.data["qpos"][0, 0]) == pytest.approx(start + sag, abs=2e-3)
    env.step(torch.tensor([[-3.0]]))
    assert env.engine.data["ctrl"].tolist() == [[-3.0]]


@pytest.mark.parametrize(
    ("keyframe", "bounds", "first"),
    [
        ("home", {}, [-1.2, 0.4, 0.5]),
        ("pose", {}, [0.3, 0.4, 0.0]),  # names no controls: its servos hold it
        ("", {"action_low": [0.5, 0.1, 0.0], "action_high": [1.0, 1.0, 1.0]}, [0.5, 0.1, 0.0]),
    ],
)
def test_until_a_late_action_arrives_the_controls_are_those_at_the_start(
    held, keyframe, bounds, first
):
    robot = held(keyframe=keyframe, **bounds)
    late = family(robot, vary.action_delay(3))
    env = BatchEnv(late, 1, 1)
    env.set_tasks(late.make_task({"action_delay": 3}))
    env.reset(Generator().manual_seed(0))
    action = torch.tensor([[1.0, 0.5, 0.25]], dtype=torch.float64)
    arrived = []
    for _ in range(4):
        env.step(action)
        arrived.append(env.engine.data["ctrl"][0].tolist())
    assert arrived == [first] * 3 + [action[0].tolist()]


BALL = """
<mujoco><worldbody>
  <body name="free"><freejoint/><geom size="0.1" mass="1"/></body>
  <body name="ball" pos="1 0 0"><joint type="ball"/><geom size="0.1" pos="0 0 .3" mass="1"/></body>
  <body name="x" pos="2 0 0"><joint name="x" type="slide"/><geom size="0.1" mass="1"/></body>
</worldbody>
<actuator><motor joint="x" ctrlrange="-1 1"/></actuator>
<keyframe><key name="turned" qpos="1 2 3 0.6 0.8 0 0 0.28 0 0.96 0 0.5"/></keyframe></mujoco>
"""


def test_reset_noise_leaves_quaternions_of_length_1_and_everything_else_as_drawn(tmp_path):
    (tmp_path / "ball.xml").write_text(BALL)
    robot = mujoco_robot(tmp_path / "ball.xml", frame_skip=1, keyframe="turned", reset=0.3)
    qpos, qvel = robot.reset_state(*robot.initial_state(), 200, Generator().manual_seed(0))
    for first in (3, 7):
        torch.testing.assert_close(
            qpos[:, first : first + 4].norm(dim=1), torch.ones(200, dtype=torch.float64)
        )
    for entry, middle in ((0, 1.0), (2, 3.0), (11, 0.5)):
        spread = qpos[:, entry] - middle
        assert spread.abs().max() <= 0.3
        assert float(spread.std()) == pytest.approx(0.3 / 3**0.5, rel=0.15)
    assert float(qvel.std()) == pytest.approx(0.3, rel=0.1)
    still = mujoco_robot(tmp_path / "ball.xml", frame_skip=1, keyframe="turned", reset=0.0)
    qpos, _ = still.reset_state(*still.initial_state(), 2, Generator().manual_seed(0))
    assert torch.equal(qpos[0], still.initial_state()[0])
