"""The kinds of robot that there are."""

from metarl_envs.robots.base import AnalyticRobot, MujocoRobot
from metarl_envs.robots.gym import GymRobot

Robot = MujocoRobot | AnalyticRobot | GymRobot
ModelledRobot = MujocoRobot | GymRobot
"""Those that may have a MuJoCo model, whose fields can vary."""
