"""Ant, as `Ant-v5` of Gymnasium without contact forces: dt 0.05 s, 27 observations, 8 actuators.

Equal to `gym.make("Ant-v5", include_cfrc_ext_in_observation=False, contact_cost_weight=0)`.
Contact forces are left out because a batched simulation of this model does not give them exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metarl_envs.robots.base import (
    MujocoRobot,
    State,
    Transition,
    control_cost,
    gymnasium_asset,
    opposite,
    uniform_positions_normal_velocities,
)
from metarl_envs.robots.floating import Floating

TORSO = 1
MIN_HEALTHY_Z_M = 0.2
MAX_HEALTHY_Z_M = 1.0


def observation(state: State) -> Tensor:
    """Positions without x and y, then velocities: (N, 27)."""
    return torch.cat([state["qpos"][:, 2:], state["qvel"]], dim=1)


def torso_position(state: State) -> Tensor:
    """x and y of the torso, m: (N, 2).

    Of the last substep's start, as in Gymnasium: `xpos` is computed before the integration.
    """
    return state["xpos"][:, TORSO, :2]


def recovered(before: Tensor, after: Tensor, dt_s: float) -> tuple[State, State]:
    """States with the torso above the origin before the step.

    It moves by the mean of its velocities before and after. Bodies but the torso are left at 0.
    """
    moved = dt_s * 0.5 * (before[:, 13:15] + after[:, 13:15])

    def state(place: Tensor, observation: Tensor) -> State:
        qpos = torch.cat([place, observation[:, :13]], dim=1)
        xpos = torch.stack([torch.zeros_like(qpos[:, :3]), qpos[:, :3]], dim=1)  # world, torso
        return {"qpos": qpos, "qvel": observation[:, 13:], "xpos": xpos}

    return state(torch.zeros_like(moved), before), state(moved, after)


def torso_velocity(transition: Transition) -> Tensor:
    """Mean x velocity of the torso over the control step, m/s: (N,)."""
    moved = torso_position(transition.after)[:, 0] - torso_position(transition.before)[:, 0]
    return moved / transition.dt_s


def healthy(transition: Transition) -> Tensor:
    """Finite state and torso height in [0.2, 1] m: (N,) bool."""
    qpos, qvel = transition.after["qpos"], transition.after["qvel"]
    finite = torch.isfinite(qpos).all(dim=1) & torch.isfinite(qvel).all(dim=1)
    return finite & (qpos[:, 2] >= MIN_HEALTHY_Z_M) & (qpos[:, 2] <= MAX_HEALTHY_Z_M)


def gymnasium_reward(transition: Transition) -> Tensor:
    """v + 1 while healthy - 0.5 |a|^2, as in Ant-v5 without contact cost: (N,)."""
    alive = healthy(transition).to(transition.action.dtype)
    return torso_velocity(transition) + alive - control_cost(transition, 0.5)


ANT = MujocoRobot(
    name="ant",
    xml=gymnasium_asset("ant.xml"),
    frame_skip=5,
    observation=observation,
    observation_size=27,
    reset_state=uniform_positions_normal_velocities(0.1),
    recovered=recovered,
    floating=Floating(quaternion=1, velocity=13),
    terminated=opposite(healthy),
    quantities={"forward_velocity_m_per_s": torso_velocity},
    remembered=("xpos",),
    outputs=("xpos",),
    lagged_outputs=True,
)
