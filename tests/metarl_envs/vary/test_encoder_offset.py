"""Offsets of encoders: in the observation, in the servos, and at the start; and in nothing else."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator

from metarl_envs import BatchEnv, InputError, TaskFamily, Tasks, get_family, mujoco_robot, vary
from metarl_envs.robots.half_cheetah import HALF_CHEETAH
from metarl_envs.robots.quadruped import QUADRUPED

XML = """
<mujoco><compiler angle="radian"/><option timestep="0.005" gravity="0 0 0"/>
  <worldbody>
    <body name="one"><joint name="servo" axis="0 1 0" damping="1"/><geom size="0.1"/>
      <body name="two" pos="0.3 0 0"><joint name="motor" axis="0 1 0" damping="1"/>
        <geom size="0.1"/><body name="three"><joint name="pid" type="slide" axis="1 0 0"/>
        <geom size="0.1"/></body></body></body>
    <body name="ball" pos="0 0 1"><joint name="ball" type="ball"/><geom size="0.1"/></body>
  </worldbody>
  <actuator>
    <position name="servo" joint="servo" kp="40" kv="4" gear="2" ctrlrange="-2 2"/>
    <motor name="motor" joint="motor" ctrlrange="-1 1"/>
    <general name="odd" joint="pid" gaintype="affine" gainprm="1 1 0" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""


@pytest.fixture
def robot(tmp_path):
    (tmp_path / "robot.xml").write_text(XML)
    return mujoco_robot(tmp_path / "robot.xml", frame_skip=4, reset=0.0)


def family(robot, *parameters) -> TaskFamily:
    return TaskFamily(
        name="own",
        robot=robot,
        parameters=parameters,
        reward=lambda t: -t.action.square().sum(dim=1),
        horizon=200,
    )


def worlds(family: TaskFamily, *offsets) -> BatchEnv:
    env = BatchEnv(family, len(offsets), 1)
    tasks = [family.make_task({family.parameters[0].name: offset}) for offset in offsets]
    env.set_tasks(Tasks.concatenate(tasks))
    return env


def test_policy_servo_and_start_read_the_encoder(robot):
    env = worlds(family(robot, vary.encoder_offset(robot, "servo", (-0.3, 0.3))), [0.0], [0.2])
    first = env.reset(Generator().manual_seed(0)).clone()
    assert env.engine.data["qpos"][:, 0].tolist() == pytest.approx([0.0, -0.2])
    assert first[0].tolist() == pytest.approx(first[1].tolist())
    action = torch.tensor([[1.0, 0.0, 0.0]] * 2, dtype=torch.float64)
    for _ in range(200):
        step = env.step(action)
    # The servo's length is 2 (q + b): it settles at q + b = 0.5.
    assert step.observations[:, 0].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    assert env.engine.data["qpos"][:, 0].tolist() == pytest.approx([0.5, 0.3], abs=1e-3)
    # The reward sees the action that was sent.
    assert step.rewards.tolist() == [-1.0, -1.0]


def test_fields_hold_the_offset_times_stiffness_and_gear(robot):
    env = worlds(family(robot, vary.encoder_offset(robot, "servo", (-0.3, 0.3))), [0.0], [0.2])
    bias = env.engine.state()["actuator_biasprm"]
    assert bias[:, 0, 0].tolist() == pytest.approx([0.0, -40 * 2 * 0.2])
    assert torch.equal(bias[0, 1:], bias[1, 1:])
    assert env.engine.host_world(1)[0].actuator_biasprm[0, 0] == pytest.approx(-16.0)


@pytest.mark.parametrize("stiffness_first", [True, False])
def test_offset_and_stiffness_go_together_in_any_order(robot, stiffness_first):
    offset = vary.encoder_offset(robot, "servo", (-0.3, 0.3), name="offset")
    kp = vary.stiffness(robot, "servo", (0.5, 2.0), name="kp")
    both = family(robot, *((kp, offset) if stiffness_first else (offset, kp)))
    env = BatchEnv(both, 1, 1)
    env.set_tasks(both.make_task({"offset": [0.2], "kp": 2.0}))
    assert env.engine.state()["actuator_biasprm"][0, 0, :2].tolist() == pytest.approx([-32.0, -80])


def test_a_joint_that_a_motor_drives_is_only_seen_wrong(robot):
    both = family(robot, vary.encoder_offset(robot, ["servo", "motor"], (-0.3, 0.3)))
    env = worlds(both, [0.0, 0.0], [0.0, 0.25])
    assert env.reset(Generator().manual_seed(0))[1, 1] == 0
    action = torch.tensor([[0.0, 0.5, 0.0]] * 2, dtype=torch.float64)
    step = env.step(action)
    moved = env.engine.data["qpos"]
    assert moved[0, 1] > 1e-3
    assert (step.observations - torch.cat([moved, env.engine.data["qvel"]], 1))[:, 1].tolist() == [
        pytest.approx(0.0),
        pytest.approx(0.25),
    ]
    assert torch.equal(
        env.engine.state()["actuator_biasprm"][0], env.engine.state()["actuator_biasprm"][1]
    )


def test_one_offset_for_all_joints(robot):
    one = vary.encoder_offset(robot, ["servo", "motor"], (-0.3, 0.3), each=False, name="offset")
    env = worlds(family(robot, one), 0.1)
    env.reset(Generator().manual_seed(0))
    assert env.engine.data["qpos"][0, :2].tolist() == pytest.approx([-0.1, -0.1])
    assert (one.shape, one.unit, one.nominal) == ((), "rad", 0.0)


def test_a_partial_reset_leaves_the_other_worlds(robot):
    env = worlds(family(robot, vary.encoder_offset(robot, "servo", (-0.3, 0.3))), [0.1], [0.2])
    env.reset(Generator().manual_seed(0))
    env.step(torch.ones(2, 3, dtype=torch.float64))
    before = env.engine.data["qpos"][1].clone()
    env.reset(Generator().manual_seed(0), torch.tensor([True, False]))
    assert env.engine.data["qpos"][0, 0] == pytest.approx(-0.1)
    assert torch.equal(env.engine.data["qpos"][1], before)


def test_the_reward_may_tell_what_the_encoders_do_not(robot):
    offset = vary.encoder_offset(robot, "servo", (-0.3, 0.3))
    assert family(robot, offset).reward_may_tell
    assert not family(robot, vary.stiffness(robot, "servo", (0.5, 2.0))).reward_may_tell
    assert get_family("arm-encoder").reward_may_tell


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("ball", "neither hinge nor slide"),
        ("pid", "'odd' of joint 'pid' is of the kind 'general actuator'"),
        ("serve", "serve"),
    ],
)
def test_joints_whose_encoder_has_no_meaning_are_refused(robot, names, message):
    with pytest.raises(InputError, match=message):
        vary.encoder_offset(robot, names, (-0.1, 0.1))


def test_the_position_must_be_observed_itself(robot):
    blind = dataclasses.replace(
        robot, observation=lambda s: s["qpos"].sin(), observation_size=int(robot.load_model().nq)
    )
    with pytest.raises(InputError, match="0 entries of the observation"):
        vary.encoder_offset(blind, "servo", (-0.1, 0.1))
    # Half-cheetah's motors have no target; the observation leaves out x.
    effect = vary.encoder_offset(HALF_CHEETAH, "bthigh", (-0.1, 0.1)).perturbation
    assert (effect.entries, effect.positions) == ((2,), (3,))
    # The quadruped's angles are observed from home: gyro and gravity, then 12 of them.
    effect = vary.encoder_offset(QUADRUPED, ["FL_calf", "RR_hip"], (-0.1, 0.1)).perturbation
    assert (effect.entries, effect.positions) == ((8, 15), (9, 16))
