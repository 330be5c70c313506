"""A quadrotor of 1 kg that holds a point in the air: 50 Hz, 4 thrusts, 18 observations.

The observation, as in Hwangbo et al. 2017 ("Control of a Quadrotor with Reinforcement Learning"):
distance to the point (3, m), velocity (3, m/s), the robot's axes in the world (9) and the gyro
(3, rad/s).

Actions are the rotors' thrusts, 0 to 7 N each: front left, rear left, rear right, front right. A
policy's output 0 is the thrust at which the robot hovers without wind or load, 2.455 N.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor

from metarl_envs.robots.base import MujocoRobot, State, Transition
from metarl_envs.rotations import axes, down
from metarl_envs.scene.camera import Camera

TARGET_HEIGHT_M = 2.0
"""Of the site "target" of the model, above the origin."""
HOVER_N = 2.455
START_M, START_M_PER_S = 0.5, 0.5
"""Largest distance along each axis, and speed, at the start of an episode."""
LOST_M = 1.7
"""Distance from the target at which an episode ends, 0.3 m above the floor at the least."""


def offset(state: State) -> Tensor:
    """From the target to the robot, m: (N, 3)."""
    qpos = state["qpos"]
    return torch.cat([qpos[:, :2], qpos[:, 2:3] - TARGET_HEIGHT_M], dim=1)


def observation(state: State) -> Tensor:
    """Offset from the target, velocity, axes, gyro: (N, 18)."""
    qvel = state["qvel"]
    return torch.cat([offset(state), qvel[:, :3], axes(state["qpos"][:, 3:7]), qvel[:, 3:]], dim=1)


def distance_to_target(transition: Transition) -> Tensor:
    """Distance from the target after the step, m: (N,)."""
    return offset(transition.after).norm(dim=1)


def lost(transition: Transition) -> Tensor:
    """True where the robot is 1.7 m from the target, or tilts by 90 degrees: (N,) bool."""
    upright = down(transition.after["qpos"][:, 3:7])[:, 2] < 0
    return ~(upright & (distance_to_target(transition) < LOST_M))


def near_target(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Level, up to 0.5 m from the target and at up to 0.5 m/s along each axis."""
    noise = torch.rand(
        (2, num_worlds, 3), generator=generator, dtype=qpos.dtype, device=generator.device
    )
    noise = 2 * noise - 1
    positions, velocities = qpos.repeat(num_worlds, 1), qvel.repeat(num_worlds, 1)
    positions[:, :3] += START_M * noise[0].to(qpos.device)
    velocities[:, :3] += START_M_PER_S * noise[1].to(qvel.device)
    return positions, velocities


QUADROTOR = MujocoRobot(
    name="quadrotor",
    xml=Path(__file__).parents[1] / "assets" / "quadrotor.xml",
    frame_skip=4,
    observation=observation,
    observation_size=18,
    reset_state=near_target,
    terminated=lost,
    quantities={"distance_to_target_m": distance_to_target},
    remembered=(),
    camera=Camera(distance_m=1.9, elevation_deg=-14.0, azimuth_deg=60.0),
    keyframe=0,
    action_low=(0.0,) * 4,
    action_high=(7.0,) * 4,
    action_middle=(HOVER_N,) * 4,
)
