"""Fixtures for the task families: tiny worlds, and one family that varies everything."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Generator, Tensor

from metarl_envs import MujocoRobot, TaskFamily, Transition, vary
from metarl_envs.robots.ant import ANT
from metarl_envs.robots.half_cheetah import HALF_CHEETAH
from metarl_envs.robots.hopper import HOPPER
from metarl_envs.robots.walker2d import WALKER2D

ROBOTS = {robot.name: robot for robot in (HALF_CHEETAH, ANT, HOPPER, WALKER2D)}


@pytest.fixture(autouse=True)
def one_torch_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def generator() -> Generator:
    return Generator().manual_seed(0)


@pytest.fixture(params=list(ROBOTS))
def robot(request: pytest.FixtureRequest) -> MujocoRobot:
    return ROBOTS[request.param]


@pytest.fixture
def all_varied(robot: MujocoRobot) -> TaskFamily:
    """The robot with Gymnasium's reward and random mass, friction, damping, gear and gravity."""
    reward: Callable[[Transition], Tensor] = import_module(
        f"metarl_envs.robots.{robot.name.replace('-', '_')}"
    ).gymnasium_reward
    of_each = (vary.mass, vary.friction, vary.damping, vary.gear)
    return TaskFamily(
        name="all-varied",
        robot=robot,
        parameters=(
            *(make(robot, "*", (0.7, 1.4), each=True) for make in of_each),
            vary.gravity(robot, (0.7, 1.4)),
        ),
        reward=reward,
        horizon=10**9,
        source="test",
        quantity="forward_velocity_m_per_s",
    )
