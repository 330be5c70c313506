"""Planning with the simulator itself: its rewards, its robots, and episodes that repeat."""

from __future__ import annotations

import mujoco
import pytest
import torch
from torch import Generator

from experiments.perfect_model import ACTUATORS, FAMILY, Simulator, episode


def test_rewards_are_those_of_stepping_by_hand():
    robot = Simulator.of(3)
    robot.data.qvel[:] = 0.1
    state, plans = robot.state(), torch.rand(2, 6, ACTUATORS, generator=Generator().manual_seed(0))
    found = robot.rewards(state, plans)
    assert (robot.state() == state).all()
    for plan, total in zip(plans.double(), found, strict=True):
        mujoco.mj_setState(robot.model, robot.data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        expected = 0.0
        for action in plan:
            before = robot.data.qpos[0]
            robot.data.ctrl[:] = action.numpy()
            mujoco.mj_step(robot.model, robot.data, FAMILY.robot.frame_skip)
            speed = (robot.data.qpos[0] - before) / FAMILY.dt_s
            expected += speed - 0.05 * float(action.square().sum())
        assert float(total) == pytest.approx(expected, rel=1e-9)


def test_the_actuator_that_is_named_gives_no_force():
    plan = torch.zeros(2, 6, ACTUATORS)
    plan[1, :, 3] = 1.0
    dead, healthy = (Simulator.of(d).rewards(Simulator.of(None).state(), plan) for d in (3, None))
    assert float(dead[1] - dead[0]) == pytest.approx(-0.05 * 6)  # its cost, and no force
    assert float(healthy[1] - healthy[0]) != pytest.approx(-0.05 * 6, abs=0.05)


def test_an_episode_is_the_same_twice():
    assert episode(3, None, 0, 2) == episode(3, None, 0, 2) != episode(3, None, 1, 2)
