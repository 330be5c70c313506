"""A differential-drive base of the size of a TurtleBot3 Burger, which observes where it is.

dt 0.1 s, 6 observations, 2 actuators: servos of the wheels' speeds, rad/s.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Generator, Tensor

from metarl_envs.robots.base import MujocoRobot, State, Transition, never
from metarl_envs.scene.camera import Camera

START_WITHIN_M = 0.3
"""Half the side of the square around the origin in which episodes start."""


def heading(qpos: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the yaw of a free joint at the front of qpos (N, nq): each (N,).

    The forward axis, seen from above; a base that stands level has no other rotation.
    """
    w, x, y, z = qpos[:, 3:7].unbind(dim=1)
    cos, sin = 1 - 2 * (y * y + z * z), 2 * (x * y + w * z)
    length = torch.sqrt(cos * cos + sin * sin).clamp(min=1e-6)
    return cos / length, sin / length


def observation(state: State) -> Tensor:
    """Observations (N, 6), as localisation gives them; nothing of a wheel.

    Position x, y (m), cosine and sine of the heading, speed along the heading (m/s) and yaw rate
    (rad/s).
    """
    qpos, qvel = state["qpos"], state["qvel"]
    cos, sin = heading(qpos)
    forward = qvel[:, 0] * cos + qvel[:, 1] * sin
    return torch.cat([qpos[:, :2], torch.stack([cos, sin, forward, qvel[:, 5]], dim=1)], dim=1)


def recovered(before: Tensor, after: Tensor, dt_s: float) -> tuple[State, State]:
    """States that hold where the base is, and nothing of its height and wheels."""
    del dt_s

    def state(observation: Tensor) -> State:
        return {"qpos": observation[:, :2]}

    return state(before), state(after)


def reset_state(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """At rest, anywhere in a square around the origin, with any heading and wheel angles."""
    u = torch.rand((num_worlds, 5), generator=generator, dtype=qpos.dtype, device=generator.device)
    u = 2 * u.to(qpos.device) - 1
    start = qpos.repeat(num_worlds, 1)
    start[:, :2] += START_WITHIN_M * u[:, :2]
    half_yaw = math.pi / 2 * u[:, 2]
    start[:, 3], start[:, 6] = torch.cos(half_yaw), torch.sin(half_yaw)
    start[:, 7:9] = math.pi * u[:, 3:]
    return start, qvel.repeat(num_worlds, 1)


def speed(transition: Transition) -> Tensor:
    """Distance covered per second, m/s: (N,)."""
    moved = transition.after["qpos"][:, :2] - transition.before["qpos"][:, :2]
    return moved.norm(dim=1) / transition.dt_s


MOBILE_BASE = MujocoRobot(
    name="mobile-base",
    xml=Path(__file__).parents[1] / "assets" / "base.xml",
    frame_skip=20,
    observation=observation,
    observation_size=6,
    reset_state=reset_state,
    recovered=recovered,
    terminated=never,
    quantities={"speed_m_per_s": speed},
    camera=Camera(distance_m=1.25, elevation_deg=-40.0),
)
