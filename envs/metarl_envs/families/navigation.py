"""MAML's 2-D navigation."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from metarl_envs import vary
from metarl_envs.distributions import SquareFrame
from metarl_envs.family import TaskFamily
from metarl_envs.robots.base import Transition
from metarl_envs.robots.point import POINT

GOAL_REACHED_M = 0.01


def distance_reward(transition: Transition) -> Tensor:
    """Minus the distance to the goal after the step, m: (N,)."""
    return -distance_to_goal(transition)


def goal_reached(transition: Transition) -> Tensor:
    """Both coordinates within 1 cm of the goal: (N,) bool."""
    offset = (transition.after["qpos"] - transition.task["goal"]).abs()
    return (offset < GOAL_REACHED_M).all(dim=1)


def distance_to_goal(transition: Transition) -> Tensor:
    """Distance to the goal after the step, m: (N,)."""
    return (transition.after["qpos"] - transition.task["goal"]).norm(dim=1)


NAVIGATION = TaskFamily(
    name="navigation",
    robot=dataclasses.replace(
        POINT, quantities={**POINT.quantities, "distance_to_goal_m": distance_to_goal}
    ),
    parameters=(
        vary.goal(
            "goal",
            (-0.5, 0.5),
            (0.0, 0.0),
            unit="m",
            description="where to go; the start is always the origin",
            extrapolation=SquareFrame(0.5, 0.75),
        ),
    ),
    reward=distance_reward,
    terminated=goal_reached,
    horizon=100,
    quantity="distance_to_goal_m",
    source=(
        "2-D navigation of MAML (Finn et al. 2017, section 5.3) as its published code has it: "
        "goal ~ U(-0.5, 0.5)^2, start at the origin, moves clipped to 0.1 m, reward = -distance "
        "(the paper's text says squared), terminated within 0.01 m in both coordinates, 100 steps."
    ),
)
