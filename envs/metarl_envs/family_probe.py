"""A family of one's own tried on one step, so that what is wrong with it shows at once."""

from __future__ import annotations

import torch
from torch import Generator

from metarl_envs.batch_env import BatchEnv
from metarl_envs.errors import InputError
from metarl_envs.family import TaskFamily
from metarl_envs.probe import PROBED, called, check_finite, check_shape


def probe(family: TaskFamily) -> None:
    """Try a family's functions on one step of two nominal worlds.

    Raises:
        InputError: for one that fails, or returns another shape, or not a finite reward.
    """
    env = BatchEnv(family, PROBED, 1)
    robot = family.robot
    observation = called(f"observation of {family.name}", robot.observation, env.engine.data)
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
            check_finite(what, value)
