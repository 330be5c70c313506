"""A robot whose actions move a mocap body, and whose observation shows the state before, too."""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np
import pytest
import torch
from support.warp_worlds import needs_warp
from torch import Generator

from metarl_envs import BatchEnv, InputError, MujocoRobot, TaskFamily, vary
from metarl_envs.check.actions import actions
from metarl_envs.check.family_probe import probe
from metarl_envs.distributions import interval
from metarl_envs.interfaces.entry_names import action_names, observation_names
from metarl_envs.parameters import Parameter
from metarl_envs.perturbations import Placement
from metarl_envs.robots.base import never

XML = """<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <geom type="plane" size="5 5 1"/>
    <body name="target" mocap="true" pos="0 0 0.5"/>
    <body name="hand" pos="0 0 0.5">
      <freejoint/>
      <geom type="sphere" size="0.05"/>
      <body name="finger" pos="0.1 0 0">
        <joint name="finger" type="slide" axis="1 0 0" range="-0.05 0.05" limited="true"/>
        <geom type="sphere" size="0.02"/>
      </body>
    </body>
    <body name="ball" pos="1 0 0.1"><freejoint/><geom type="sphere" size="0.1"/></body>
  </worldbody>
  <equality><weld body1="target" body2="hand" torquescale="5"/></equality>
  <actuator><position name="finger" joint="finger" kp="20" ctrlrange="-1 1"/></actuator>
</mujoco>"""
HEIGHT = 0.7
"""Of the mocap body in the keyframe, which the edit adds."""
PLACED = Placement((8, 9))
WARM_START = tuple(0.1 * i for i in range(13))


def lifted(spec: mujoco.MjSpec) -> None:
    spec.add_key(mpos=[0.0, 0.0, HEIGHT], qpos=[0, 0, HEIGHT, 1, 0, 0, 0, 0, 1, 0, 0.1, 1, 0, 0, 0])


def hand(state):
    return state["xpos"][:, 2]


def now_and_before(state):
    return torch.cat([hand(state), state["kept"]], dim=1)


def moved(state, given):
    place = state["mocap_pos"][:, 0] + 0.01 * given[:, :3].clamp(-1.0, 1.0)
    return {"mocap_pos": place[:, None], "ctrl": 0.05 * given[:, 3:]}


def still(qpos, qvel, num_worlds, generator):
    return qpos.expand(num_worlds, -1).clone(), qvel.expand(num_worlds, -1).clone()


def reward(transition):
    return transition.action.sum(dim=1) - transition.task["ball"][:, 2]


@pytest.fixture
def family(tmp_path):
    (tmp_path / "hand.xml").write_text(XML)
    robot = MujocoRobot(
        name="hand",
        xml=tmp_path / "hand.xml",
        frame_skip=2,
        observation=now_and_before,
        observation_size=6,
        reset_state=still,
        terminated=never,
        quantities={"height_m": lambda t: t.after["xpos"][:, 2, 2]},
        outputs=("xpos", "mocap_pos"),
        keyframe=0,
        action_low=(-1.0,) * 4,
        action_high=(1.0,) * 4,
        edit=lifted,
        controls=moved,
        kept=hand,
        warm_start=WARM_START,
    )
    train = interval(-0.5, 0.5)
    ball = Parameter("ball", "m", "its x and y, and a bonus", (0.0,) * 3, train, effect=PLACED)
    parameters = (ball, vary.mass(robot, "ball", (0.5, 2.0)))
    return TaskFamily(name="hand", robot=robot, parameters=parameters, reward=reward, horizon=20)


def test_actions_move_the_mocap_body_of_the_worlds_that_step(family):
    env = BatchEnv(family, 3, 1)
    env.set_tasks(family.sample_tasks(3, Generator().manual_seed(0), "train"))
    env.reset(Generator().manual_seed(0))
    models = [env.engine.host_world(world)[0] for world in range(3)]
    twins = [mujoco.MjData(model) for model in models]
    for model, data, place in zip(models, twins, env.tasks.values["ball"].numpy(), strict=True):
        mujoco.mj_resetDataKeyframe(model, data, 0)
        data.qpos[8:10] = place[:2]
        data.qacc_warmstart[:] = WARM_START
    rng = np.random.default_rng(0)
    mask = torch.tensor([True, False, True])
    for step in range(12):
        given = rng.uniform(-2, 2, (3, 4))
        masked = None if step % 3 else mask
        taken = env.step(torch.from_numpy(given), masked)
        assert torch.equal(taken.transition.action, torch.from_numpy(given))
        for world, (model, data) in enumerate(zip(models, twins, strict=True)):
            if masked is None or masked[world]:
                data.mocap_pos[0] += 0.01 * given[world, :3].clip(-1, 1)
                data.ctrl[:] = 0.05 * given[world, 3]
                mujoco.mj_step(model, data, 2)
            assert np.array_equal(env.engine.data["qpos"][world].numpy(), data.qpos)
            assert np.array_equal(env.engine.data["mocap_pos"][world].numpy(), data.mocap_pos)


def test_the_state_before_is_seen_in_each_world_on_its_own(family):
    env = BatchEnv(family, 2, 1)
    first = env.reset(Generator().manual_seed(0))
    assert torch.equal(first[:, 3:], first[:, :3])
    assert first[:, 2].tolist() == pytest.approx([HEIGHT] * 2)
    act = torch.tensor([[1.0, 0.5, 0.2, 0.0]] * 2)
    second = env.step(act).observations
    assert torch.equal(second[:, 3:], first[:, :3])
    assert not torch.equal(second[:, :3], first[:, :3])
    third = env.step(act, torch.tensor([True, False])).observations
    assert torch.equal(third[0, 3:], second[0, :3])
    assert torch.equal(third[1], second[1])
    again = env.start(env.draw_start(2, Generator().manual_seed(0)), torch.tensor([False, True]))
    assert torch.equal(again[0], third[0])
    assert torch.equal(again[1], first[1])


def test_a_saved_state_goes_on_bit_for_bit(family):
    env, other = BatchEnv(family, 2, 1), BatchEnv(family, 2, 1)
    env.reset(Generator().manual_seed(0))
    act = torch.tensor([[1.0, 0.5, 0.2, 1.0], [-1.0, 0.0, -1.0, -1.0]])
    env.step(act)
    other.set_state(env.state())
    assert torch.equal(other.observation(), env.observation())
    for _ in range(3):
        assert torch.equal(other.step(act).observations, env.step(act).observations)


def test_what_reads_a_robot_knows_that_its_actions_are_no_controls(family):
    assert family.robot.keyframe_controls() is None
    assert action_names(family) == [f"action[{i}]" for i in range(4)]
    assert len(observation_names(family)) == 6
    assert [finding.verdict for finding in actions(family)] == ["ok"]
    probe(family)
    assert family.reward_may_tell, "a bonus, which nothing else shows"
    with pytest.raises(InputError, match=r"shape \(1, 1\): must be \(1, 4\)"):
        BatchEnv(family, 1, 1).step(torch.zeros(1, 1))


def test_a_late_first_action_stands_still(family):
    parameters = (*family.parameters, vary.action_delay(1))
    env = BatchEnv(dataclasses.replace(family, parameters=parameters), 1, 1)
    env.set_tasks(env.family.make_task({"action_delay": 1}))
    env.reset(Generator().manual_seed(0))
    before = env.engine.data["mocap_pos"].clone()
    env.step(torch.ones(1, 4))
    assert torch.equal(env.engine.data["mocap_pos"], before)
    env.step(torch.ones(1, 4))
    assert (env.engine.data["mocap_pos"] - before).flatten().tolist() == pytest.approx([0.01] * 3)


@needs_warp
@pytest.mark.slow
def test_the_engine_warp_moves_the_mocap_body_too(family):
    cpu, warp = (BatchEnv(family, 2, 1, engine=engine) for engine in ("cpu", "warp"))
    for env in (cpu, warp):
        env.set_tasks(family.sample_tasks(2, Generator().manual_seed(0), "train"))
    expected, found = (env.reset(Generator().manual_seed(0)) for env in (cpu, warp))
    assert torch.allclose(found.double(), expected, atol=1e-6)
    act = torch.tensor([[1.0, 0.5, 0.2, 1.0], [-1.0, 0.0, -1.0, -1.0]])
    for mask in (None, torch.tensor([True, False]), None):
        expected, found = (env.step(act, mask).observations for env in (cpu, warp))
        assert torch.allclose(found.double(), expected, atol=1e-4)
    poses = [env.engine.data["mocap_pos"] for env in (cpu, warp)]
    assert torch.allclose(poses[1].double(), poses[0], atol=1e-6)
