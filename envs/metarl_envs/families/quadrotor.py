"""Quadrotor family: wind. A quadrotor holds a point in wind, with a load and weak motors."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl_envs import vary
from metarl_envs.distributions import Ring
from metarl_envs.family import TaskFamily
from metarl_envs.robots.base import Transition
from metarl_envs.robots.quadrotor import QUADROTOR, distance_to_target

DISTANCE_SCALE_M = 0.5


def holding_reward(transition: Transition) -> Tensor:
    """exp(-d / 0.5) - 0.02 |w|^2, at least 0: (N,)."""
    turning = transition.after["qvel"][:, 3:].square().sum(dim=1)
    near = torch.exp(-distance_to_target(transition) / DISTANCE_SCALE_M)
    return (near - 0.02 * turning).clamp(min=0.0)


WIND = TaskFamily(
    name="quadrotor-wind",
    robot=QUADROTOR,
    parameters=(
        vary.wind(QUADROTOR, Ring(0.0, 8.0), extrapolation=Ring(8.0, 10.0)),
        vary.payload(QUADROTOR, "load", (0.0, 0.5), extrapolation=(0.5, 0.7)),
        vary.strength(QUADROTOR, "*", (0.7, 1.0), each=True, name="motor_strength"),
    ),
    reward=holding_reward,
    horizon=250,
    quantity="distance_to_target_m",
    source=(
        "Ours: a quadrotor of 1 kg holds a point 2 m above the floor, from a start up to 0.5 m "
        "beside it along each axis; thrusts of the four rotors around hover, 50 Hz, 250 steps. "
        "reward = max(0, exp(-d / 0.5) - 0.02 |w|^2), d the distance from the point in m and w "
        "the gyro in rad/s; ends 1.7 m from the point or at a tilt of 90 degrees. It never pays "
        "to end: no step costs. Observation as in Hwangbo et al. 2017: offset, velocity, "
        "attitude, gyro. Hidden: constant wind of up to 8 m/s from any direction (pushes by up to "
        "3.2 N), a load of U(0, 0.5) kg below, and each motor U(0.7, 1) as strong. Extrapolation: "
        "wind of 8 to 10 m/s and 0.5 to 0.7 kg. All three shift the place where a policy without "
        "a memory comes to rest, each by its force over the stiffness that the policy can afford."
    ),
)
