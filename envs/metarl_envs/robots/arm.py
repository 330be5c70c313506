"""An arm of the size of a UR5e: 25 Hz, joint targets up to 0.6 rad from where it starts.

Six position servos hold the joints at the targets, and have done 63 % of a step after 0.25 s. The
start is the keyframe "home", with the tip 0.27 m above the floor and pointing down.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from metarl_envs.robots.base import (
    MujocoRobot,
    State,
    Transition,
    never,
    uniform_positions_and_velocities,
)
from metarl_envs.scene.camera import Camera

HOME = (0.0, -1.5, 2.1, -2.1708, -1.5708, 0.0)
"""Joint angles of the keyframe, rad."""
REACH_RAD = 0.6
"""Targets lie so far from there, at most."""
HOME_TIP = (0.4535, 0.1333, 0.2654)
"""The tip at home, m."""
START_RAD = 0.02
"""Angles and speeds, in rad/s, of the start differ so much from home, at most."""


def tip_position(state: State) -> Tensor:
    """Position of the tip, m: (N, 3)."""
    return state["site_xpos"][:, 0]


def tip_from_home(state: State) -> Tensor:
    """Position of the tip from where it is at home, m: (N, 3)."""
    # Plain numbers: a tensor made here could not be captured in a CUDA graph.
    axes = tip_position(state).unbind(dim=1)
    return torch.stack([axis - home for axis, home in zip(axes, HOME_TIP, strict=True)], dim=1)


def tip_height(transition: Transition) -> Tensor:
    """Height of the tip above the floor, m: (N,)."""
    return tip_position(transition.after)[:, 2]


def angles(state: State) -> Tensor:
    """Joint angles: (N, 6)."""
    return state["qpos"].clone()


def joints_and_tip(state: State) -> Tensor:
    """Joint angles, then speeds, then the tip's position from home: (N, 15)."""
    return torch.cat([state["qpos"], state["qvel"], tip_from_home(state)], dim=1)


ARM = MujocoRobot(
    name="arm",
    xml=Path(__file__).parents[1] / "assets" / "arm.xml",
    frame_skip=10,
    observation=joints_and_tip,
    observation_size=15,
    reset_state=uniform_positions_and_velocities(START_RAD),
    terminated=never,
    quantities={"tip_height_m": tip_height},
    outputs=("site_xpos",),
    camera=Camera(distance_m=1.5, azimuth_deg=130.0, elevation_deg=-18.0, height_m=0.36),
    keyframe=0,
    action_low=tuple(angle - REACH_RAD for angle in HOME),
    action_high=tuple(angle + REACH_RAD for angle in HOME),
)
