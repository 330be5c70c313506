"""Hopper, as `Hopper-v5` of Gymnasium: dt 0.008 s, 11 observations, 3 actuators."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl_envs.robots.base import (
    MujocoRobot,
    Transition,
    control_cost,
    forward_velocity,
    gymnasium_asset,
    opposite,
    planar_walker_observation,
    planar_walker_states,
    uniform_positions_and_velocities,
)

MIN_HEALTHY_Z_M = 0.7
MAX_HEALTHY_ANGLE_RAD = 0.2
MAX_HEALTHY_STATE = 100.0


def healthy(transition: Transition) -> Tensor:
    """Torso above 0.7 m and within 0.2 rad of upright, nothing beyond 100: (N,) bool."""
    qpos, qvel = transition.after["qpos"], transition.after["qvel"]
    bounded = torch.cat([qpos[:, 2:], qvel], dim=1).abs().lt(MAX_HEALTHY_STATE).all(dim=1)
    upright = qpos[:, 2].abs() < MAX_HEALTHY_ANGLE_RAD
    return bounded & (qpos[:, 1] > MIN_HEALTHY_Z_M) & upright


def gymnasium_reward(transition: Transition) -> Tensor:
    """v + 1 while healthy - 0.001 |a|^2, as in Hopper-v5: (N,)."""
    alive = healthy(transition).to(transition.action.dtype)
    return forward_velocity(transition) + alive - control_cost(transition, 1e-3)


HOPPER = MujocoRobot(
    name="hopper",
    xml=gymnasium_asset("hopper.xml"),
    frame_skip=4,
    observation=planar_walker_observation,
    observation_size=11,
    reset_state=uniform_positions_and_velocities(0.005),
    recovered=planar_walker_states,
    terminated=opposite(healthy),
    quantities={"forward_velocity_m_per_s": forward_velocity},
)
