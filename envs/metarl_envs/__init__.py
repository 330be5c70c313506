"""Task families for meta-reinforcement learning: robots whose physics and goals vary."""

from __future__ import annotations

from metarl_envs.batch_env import BatchEnv, BatchStep
from metarl_envs.builders.from_file import load_family
from metarl_envs.builders.from_gym import family_from_gym, gym_robot
from metarl_envs.builders.from_mjcf import mujoco_robot
from metarl_envs.builders.metaworld import BEGINNING, NAMES, metaworld_family
from metarl_envs.engines import ENGINES, EngineName, chosen_engine, warp_problem
from metarl_envs.engines.garbage import without_garbage_collection
from metarl_envs.errors import InputError, unknown_name
from metarl_envs.family import SPLITS, Origin, Split, TaskFamily
from metarl_envs.imagined import imagined_outcomes, tells_outcomes
from metarl_envs.interfaces.gym_env import MetaEnv
from metarl_envs.interfaces.gym_vector import MetaVectorEnv
from metarl_envs.parameters import ModelEffect, Parameter
from metarl_envs.registry import (
    FAMILIES,
    ON_DEMAND,
    OnDemand,
    get_family,
    gymnasium_id,
    register_family,
    register_gymnasium_ids,
)
from metarl_envs.robots.base import AnalyticRobot, MujocoRobot, Transition
from metarl_envs.robots.floating import Floating
from metarl_envs.robots.gym import GymRobot
from metarl_envs.robots.kinds import Robot
from metarl_envs.scene.camera import Camera
from metarl_envs.scene.markers import Marker
from metarl_envs.tasks import Tasks

__all__ = [
    "ENGINES",
    "FAMILIES",
    "ON_DEMAND",
    "SPLITS",
    "AnalyticRobot",
    "BatchEnv",
    "BatchStep",
    "Camera",
    "EngineName",
    "Floating",
    "GymRobot",
    "InputError",
    "Marker",
    "MetaEnv",
    "MetaVectorEnv",
    "ModelEffect",
    "MujocoRobot",
    "Origin",
    "Parameter",
    "Robot",
    "Split",
    "TaskFamily",
    "Tasks",
    "Transition",
    "chosen_engine",
    "family_from_gym",
    "get_family",
    "gym_robot",
    "gymnasium_id",
    "imagined_outcomes",
    "load_family",
    "mujoco_robot",
    "register_family",
    "tells_outcomes",
    "unknown_name",
    "warp_problem",
    "without_garbage_collection",
]

ON_DEMAND[BEGINNING] = OnDemand(metaworld_family, NAMES)
register_gymnasium_ids()
