"""A trial of a user's family on one step, which finds its errors early."""

from __future__ import annotations

import torch
from torch import Generator

from metarl_envs.batch_env import BatchEnv
from metarl_envs.errors import InputError
from metarl_envs.family import TaskFamily
from metarl_envs.inputs.user_functions import PROBED, called, check_finite, check_shape
from metarl_envs.robots.base import Transition


def probe(family: TaskFamily) -> None:
    """Try a family's functions on one step of two nominal worlds.

    Raises:
        InputError: for one that fails, or returns another shape, or not a finite reward; where that
            is due to a simulation that diverges, it says so.
    """
    env = BatchEnv(family, PROBED, 1)
    robot = family.robot
    observation = called(f"observation of {family.name}", robot.observation, env.seen)
    check_shape(f"observation of {family.name}", observation, (PROBED, robot.observation_size))
    env.reset(Generator().manual_seed(0))
    transition = env.advance(family.middle_action().expand(PROBED, -1))
    scalars = {
        "reward": family.reward,
        "terminated": family.termination,
        **{f"quantity '{name}'": quantity for name, quantity in robot.quantities.items()},
    }
    for name, function in scalars.items():
        what = f"{name} of {family.name}"
        value = called(what, function, transition)
        check_shape(what, value, (PROBED,))
        if name == "terminated" and value.dtype != torch.bool:
            raise InputError(f"{what} has dtype {value.dtype}: must be torch.bool")
        if name == "reward":
            if not torch.isfinite(value).all():
                _check_simulated(family, transition)
            check_finite(what, value)


def _check_simulated(family: TaskFamily, transition: Transition) -> None:
    """Refuse a model that diverges in the first step, which is not the fault of the reward."""
    if family.robot.xml is None:
        return
    for field in ("qpos", "qvel"):
        if not torch.isfinite(transition.after[field]).all():
            raise InputError(
                f"{family.name} diverges in its first step: {field} becomes infinite or NaN, from "
                "a start with the robot's reset noise and under its middle action; give "
                "mujoco_robot a smaller reset= (0: no noise), or an action_middle= or action_high= "
                "within what the joints can do, or the model a shorter timestep"
            )
