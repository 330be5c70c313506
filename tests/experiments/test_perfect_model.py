"""Planning with the simulator itself: its rewards, its robots, and episodes that repeat."""

from __future__ import annotations

import mujoco
import pytest
import torch
from torch import Generator

from experiments.perfect_model import FAMILIES, Simulator, episode
from metarl_envs import BatchEnv

CHEETAH, ANT = FAMILIES["half-cheetah-crippled"], FAMILIES["ant-crippled"]
STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS


@pytest.mark.parametrize(
    ("name", "dead"),
    [("half-cheetah-crippled", {"dead_actuator": 3.0}), ("ant-crippled", {"dead_leg": 3.0})],
)
def test_a_plan_is_worth_what_the_family_s_own_environment_gives(name, dead):
    family = FAMILIES[name].family
    env = BatchEnv(family, 1, 1)
    env.set_tasks(family.make_task(dead))
    env.reset(Generator().manual_seed(0))
    robot = Simulator.of(FAMILIES[name], 3)
    robot.data.qpos[:], robot.data.qvel[:] = (env.engine.data[key][0] for key in ("qpos", "qvel"))
    actions = 2 * torch.rand(6, robot.model.nu, generator=Generator().manual_seed(0)) - 1
    (found,) = robot.rewards(robot.state(), actions.unsqueeze(0))
    total = sum(float(env.step(action.view(1, -1)).rewards) for action in actions)
    assert float(found) == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize(("crippled", "cost", "bonus"), [(CHEETAH, 0.05, 0), (ANT, 0, 0.05)])
def test_rewards_are_those_of_stepping_by_hand(crippled, cost, bonus):
    robot, family = Simulator.of(crippled, 3), crippled.family
    robot.data.qvel[:] = 0.1
    shape = (2, 6, robot.model.nu)
    state, plans = robot.state(), torch.rand(shape, generator=Generator().manual_seed(0))
    found = robot.rewards(state, plans)
    assert (robot.state() == state).all()
    for plan, total in zip(plans.double(), found, strict=True):
        mujoco.mj_setState(robot.model, robot.data, state, STATE)
        expected = 0.0
        for action in plan:
            before = robot.data.qpos[0]
            robot.data.ctrl[:] = action.numpy()
            mujoco.mj_step(robot.model, robot.data, family.robot.frame_skip)
            speed = (robot.data.qpos[0] - before) / family.dt_s
            expected += speed + bonus - cost * float(action.square().sum())
        assert float(total) == pytest.approx(expected, rel=1e-9)


def test_the_actuator_that_is_named_gives_no_force():
    plan = torch.zeros(2, 6, 6)
    plan[1, :, 3] = 1.0
    start = Simulator.of(CHEETAH, None).state()
    dead, healthy = (Simulator.of(CHEETAH, d).rewards(start, plan) for d in (3, None))
    assert float(dead[1] - dead[0]) == pytest.approx(-0.05 * 6)  # its cost, and no force
    assert float(healthy[1] - healthy[0]) != pytest.approx(-0.05 * 6, abs=0.05)


def test_an_episode_is_the_same_twice():
    first, again, other = (episode(CHEETAH, 3, None, seed, 2) for seed in (0, 0, 1))
    assert first == again != other
