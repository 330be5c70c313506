"""Half-cheetah, as `HalfCheetah-v5` of Gymnasium: dt 0.05 s, 17 observations, 6 actuators."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl_envs.robots.base import (
    MujocoRobot,
    State,
    Transition,
    control_cost,
    forward_velocity,
    gymnasium_asset,
    never,
    planar_walker_states,
    uniform_positions_normal_velocities,
)


def observation(state: State) -> Tensor:
    """Positions without x, then velocities: (N, 17)."""
    return torch.cat([state["qpos"][:, 1:], state["qvel"]], dim=1)


def gymnasium_reward(transition: Transition) -> Tensor:
    """v - 0.1 |a|^2, as in HalfCheetah-v5: (N,)."""
    return forward_velocity(transition) - control_cost(transition, 0.1)


HALF_CHEETAH = MujocoRobot(
    name="half-cheetah",
    xml=gymnasium_asset("half_cheetah.xml"),
    frame_skip=5,
    observation=observation,
    observation_size=17,
    reset_state=uniform_positions_normal_velocities(0.1),
    recovered=planar_walker_states,
    angles=(1,),
    terminated=never,
    quantities={"forward_velocity_m_per_s": forward_velocity},
)
