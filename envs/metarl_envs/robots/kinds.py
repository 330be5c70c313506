"""The union of all kinds of robot, and the members that tell one kind from another.

xml: the MJCF file; None unless the robot is a model of ours.
source: how the Gymnasium environment is made; None of other robots. Such an environment has a
reward and an end of its own, and must not be stepped beyond that end.
controls: what actions set in the engine, where they are no controls; else None.
kept: what observations read of the state before the last step; None: nothing.
recovered: the states that observations tell; None where they tell too little for a reward.
angles: the entries of observations that are angles and may come all the way round.
floating: the entries that show how a floating body is turned and moves; None where none do.
has_model: whether there is a MuJoCo model, whose fields can vary and which can be drawn.
mixed_units: whether observations hold numbers of different units and sizes, such as rad and
rad/s, so that learners should standardise them.
"""

import mujoco

from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import shown
from metarl_envs.robots.base import AnalyticRobot, MujocoRobot
from metarl_envs.robots.gym import GymRobot

Robot = MujocoRobot | AnalyticRobot | GymRobot


def check_robot(robot: Robot) -> None:
    """Refuse anything else than a robot.

    Raises:
        InputError: naming the functions that make one.
    """
    if not isinstance(robot, Robot):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"robot = {shown(robot)}: must be made by mujoco_robot or gym_robot")


def model_of(robot: Robot) -> mujoco.MjModel:
    """A copy of a robot's nominal model, which the caller may change.

    Raises:
        InputError: for anything else than a robot, or one without a MuJoCo model.
    """
    check_robot(robot)
    return robot.load_model()
