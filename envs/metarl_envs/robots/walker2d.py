"""Walker2d, as `Walker2d-v5` of Gymnasium: dt 0.008 s, 17 observations, 6 actuators."""

from __future__ import annotations

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

MIN_HEALTHY_Z_M = 0.8
MAX_HEALTHY_Z_M = 2.0
MAX_HEALTHY_ANGLE_RAD = 1.0


def healthy(transition: Transition) -> Tensor:
    """Torso between 0.8 and 2 m and within 1 rad of upright: (N,) bool."""
    height, angle = transition.after["qpos"][:, 1], transition.after["qpos"][:, 2]
    high_enough = (height > MIN_HEALTHY_Z_M) & (height < MAX_HEALTHY_Z_M)
    return high_enough & (angle.abs() < MAX_HEALTHY_ANGLE_RAD)


def gymnasium_reward(transition: Transition) -> Tensor:
    """v + 1 while healthy - 0.001 |a|^2, as in Walker2d-v5: (N,)."""
    alive = healthy(transition).to(transition.action.dtype)
    return forward_velocity(transition) + alive - control_cost(transition, 1e-3)


WALKER2D = MujocoRobot(
    name="walker2d",
    xml=gymnasium_asset("walker2d_v5.xml"),
    frame_skip=4,
    observation=planar_walker_observation,
    observation_size=17,
    reset_state=uniform_positions_and_velocities(0.005),
    recovered=planar_walker_states,
    terminated=opposite(healthy),
    quantities={"forward_velocity_m_per_s": forward_velocity},
)
