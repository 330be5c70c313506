"""A round robot that moves in any direction through a room with two walls, each with a door.

dt 0.1 s, 2 observations, 2 actuators: servos of the speeds along x and y, m/s.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor

from metarl_envs.robots.base import MujocoRobot, State, Transition, never
from metarl_envs.scene.camera import Camera

ROOM_HALF_M = (2.5, 1.5)
START_X_M = (-2.2, -1.4)
START_Y_M = 1.3
"""Starts lie within this to both sides of the middle."""


def observation(state: State) -> Tensor:
    """The position x, y, m: (N, 2). A wall shows only in that the robot does not get on."""
    return state["qpos"].clone()


def reset_state(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """At rest, anywhere in the part of the room before the first wall."""
    u = torch.rand((num_worlds, 2), generator=generator, dtype=qpos.dtype, device=generator.device)
    u = u.to(qpos.device)
    near, far = START_X_M
    x = near + (far - near) * u[:, 0]
    y = START_Y_M * (2 * u[:, 1] - 1)
    return qpos + torch.stack([x, y], dim=1), qvel.repeat(num_worlds, 1)


def speed(transition: Transition) -> Tensor:
    """Distance covered per second, m/s: (N,)."""
    moved = transition.after["qpos"] - transition.before["qpos"]
    return moved.norm(dim=1) / transition.dt_s


MAZE = MujocoRobot(
    name="maze-robot",
    xml=Path(__file__).parents[1] / "assets" / "maze.xml",
    frame_skip=10,
    observation=observation,
    observation_size=2,
    reset_state=reset_state,
    terminated=never,
    quantities={"speed_m_per_s": speed},
    camera=Camera(distance_m=5.7, elevation_deg=-62.0, fixed=True),
)
