"""The kinds of robot that there are."""

import mujoco

from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import shown
from metarl_envs.robots.base import AnalyticRobot, MujocoRobot
from metarl_envs.robots.gym import GymRobot

Robot = MujocoRobot | AnalyticRobot | GymRobot
ModelledRobot = MujocoRobot | GymRobot
"""Those that may have a MuJoCo model, whose fields can vary."""


def check_robot(robot: Robot) -> None:
    """Refuse what is no robot.

    Raises:
        InputError: with what makes one.
    """
    if not isinstance(robot, Robot):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"robot = {shown(robot)}: must be what mujoco_robot or gym_robot made")


def model_of(robot: ModelledRobot) -> mujoco.MjModel:
    """The nominal model of a robot: a copy that the caller may change.

    Raises:
        InputError: for what is no robot, or has no MuJoCo model.
    """
    check_robot(robot)
    if not isinstance(robot, ModelledRobot):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"robot {robot.name} has no MuJoCo model, so only goals and disturbances can vary: "
            "vary.goal, vary.action_delay, vary.observation_noise, vary.observation_bias"
        )
    return robot.load_model()
