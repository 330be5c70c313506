"""A quadruped of the size of Unitree's Go1: 50 Hz, 12 position servos, 30 observations.

The observation is what such a robot measures: the gyro (3, rad/s), the direction of gravity in the
trunk's frame (3), the joints' angles minus those of the home pose (12, rad) and speeds (12, rad/s).
The trunk's velocity is hidden, and so are the servos' targets: how far a joint sags below its
target would tell the load at once.

Actions are joint targets in rad, around the home pose: hips +-0.4, thighs and calves +-0.7. A
policy's output 0 holds the home pose.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Generator, Tensor

from metarl_envs.robots.base import MujocoRobot, State, Transition
from metarl_envs.rotations import down, in_body_frame
from metarl_envs.scene.camera import Camera

HOME = (0.0, 0.9, -1.8) * 4
REACH = (0.4, 0.7, 0.7) * 4
JOINT_NOISE_RAD = 0.05
"""As in MuJoCo Playground's randomisation of the Go1's reference pose."""
MAX_TILT_DEG = 70.0
"""As in mjlab."""
MIN_HEIGHT_M = 0.12
"""Of the trunk's centre; it is 0.2848 at home, and 0.057 lying on the belly."""


def observation(state: State) -> Tensor:
    """Gyro, direction of gravity, joint angles from home, joint speeds: (N, 30)."""
    qpos, qvel = state["qpos"], state["qvel"]
    # Plain numbers: a tensor made here could not be captured in a CUDA graph.
    hips, thighs, calves = qpos[:, 7:].unflatten(1, (4, 3)).unbind(dim=2)  # (N, 4) each
    angles = torch.stack([hips - HOME[0], thighs - HOME[1], calves - HOME[2]], dim=2).flatten(1)
    return torch.cat([qvel[:, 3:6], down(qpos[:, 3:7]), angles, qvel[:, 6:]], dim=1)


def trunk_velocity(state: State) -> Tensor:
    """Velocity of the trunk in its own frame, m/s: (N, 3)."""
    return in_body_frame(state["qpos"][:, 3:7], state["qvel"][:, :3])


def forward_velocity(transition: Transition) -> Tensor:
    """Velocity along the trunk after the step, m/s: (N,)."""
    return trunk_velocity(transition.after)[:, 0]


def fallen(transition: Transition) -> Tensor:
    """True where the trunk tilts by more than 70 degrees, or lies on the floor: (N,) bool."""
    qpos = transition.after["qpos"]
    upright = -down(qpos[:, 3:7])[:, 2] >= math.cos(math.radians(MAX_TILT_DEG))
    return ~(upright & (qpos[:, 2] >= MIN_HEIGHT_M))


def near_home(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """The home pose with joints off by U(+-0.05) rad, at rest."""
    noise = torch.rand(
        (num_worlds, 12), generator=generator, dtype=qpos.dtype, device=generator.device
    )
    positions = qpos.repeat(num_worlds, 1)
    positions[:, 7:] += (JOINT_NOISE_RAD * (2 * noise - 1)).to(qpos.device)
    return positions, qvel.repeat(num_worlds, 1)


QUADRUPED = MujocoRobot(
    name="quadruped",
    xml=Path(__file__).parents[1] / "assets" / "quadruped.xml",
    frame_skip=4,
    observation=observation,
    observation_size=30,
    reset_state=near_home,
    terminated=fallen,
    quantities={"forward_velocity_m_per_s": forward_velocity},
    remembered=("ctrl",),
    camera=Camera(distance_m=1.3, azimuth_deg=60.0, elevation_deg=-18.0),
    keyframe=0,
    action_low=tuple(home - reach for home, reach in zip(HOME, REACH, strict=True)),
    action_high=tuple(home + reach for home, reach in zip(HOME, REACH, strict=True)),
    action_middle=HOME,
)
