"""A car of a tenth of the size that sees its lane, and not how fast it is.

dt 0.04 s, 9 observations, 2 actuators: the steering angle, rad, and the speed of the rear wheels,
rad/s, which 0.05 m of radius make 0.05 m/s each.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Generator, Tensor

from metarl_envs.robots import lane
from metarl_envs.robots.base import MujocoRobot, State, Transition
from metarl_envs.robots.mobile_base import heading
from metarl_envs.scene.camera import Camera

HALF_CAR_M = 0.13
"""From the middle of the car to its tyres' outer sides."""
PREVIEW_M = ((0.0, 0.4), (0.4, 0.8), (0.8, 1.4), (1.4, 2.0))
"""Stretches ahead whose mean curvature is observed."""


def observation(state: State) -> Tensor:
    """Pose in the lane and its curvature ahead: (N, 9).

    Offset from the middle (m, left is positive), sine and cosine of the heading against the
    lane's, cosine and sine of 2 pi times the share of the lap, then the curvature (1/m) of the
    stretches ahead. No speed: that of the wheels would tell how much they slip.
    """
    qpos = state["qpos"]
    position = qpos[:, :2]
    along = lane.place(position)
    phase = 2 * math.pi * along / lane.LAP_M
    ahead = lane.direction(position)
    cos, sin = heading(qpos)
    rows = [
        lane.offset(position),
        sin * ahead[:, 0] - cos * ahead[:, 1],
        cos * ahead[:, 0] + sin * ahead[:, 1],
        torch.cos(phase),
        torch.sin(phase),
        *(lane.curvature(along, near, far) for near, far in PREVIEW_M),
    ]
    return torch.stack(rows, dim=1)


def reset_state(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """At rest, anywhere on the lane, within 5 cm of its middle and 0.1 rad of its direction."""
    u = torch.rand((num_worlds, 3), generator=generator, dtype=qpos.dtype, device=generator.device)
    u = u.to(qpos.device)
    along = lane.LAP_M * u[:, 0]
    yaw = lane.turned(along) + 0.2 * u[:, 1] - 0.1
    start = qpos.repeat(num_worlds, 1)
    start[:, :2] = lane.point(along, 0.1 * u[:, 2] - 0.05)
    start[:, 3], start[:, 6] = torch.cos(yaw / 2), torch.sin(yaw / 2)
    return start, qvel.repeat(num_worlds, 1)


def left_lane(transition: Transition) -> Tensor:
    """The car's side is over one of the lane's lines: (N,) bool."""
    return lane.offset(transition.after["qpos"][:, :2]).abs() > lane.HALF_WIDTH_M - HALF_CAR_M


def progress(transition: Transition) -> Tensor:
    """Distance covered along the lane in the step, m: (N,)."""
    return lane.progress(transition.before["qpos"][:, :2], transition.after["qpos"][:, :2])


def speed_along_lane(transition: Transition) -> Tensor:
    """Progress per second, m/s: (N,)."""
    return progress(transition) / transition.dt_s


CAR = MujocoRobot(
    name="car",
    xml=Path(__file__).parents[1] / "assets" / "car.xml",
    frame_skip=10,
    observation=observation,
    observation_size=9,
    reset_state=reset_state,
    terminated=left_lane,
    quantities={"speed_along_lane_m_per_s": speed_along_lane},
    camera=Camera(distance_m=2.5, elevation_deg=-35.0),
)
