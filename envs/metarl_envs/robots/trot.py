"""A quadruped that trots: 50 Hz, 12 actions that shape the strides of its feet, 32 observations.

The quadruped of `metarl_envs.robots.quadruped` with a gait: its feet step in diagonal pairs, three
strides a second, and the servos follow the feet. Actions say, for each leg, how long its stride is
ahead, how long to the left, and how far its hip is above 0.215 m, all in m. A policy that shapes a
given gait walks from its first step on (Iscen et al. 2018, arXiv:1910.02812; Lee et al. 2020,
arXiv:2010.11251, with a gait in each leg): what it learns is where to.

The observation is the quadruped's, and the cosine and sine of the gait's angle. A robot needs
`trot` beside an exported policy, which tells strides.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from metarl_envs.robots.base import State
from metarl_envs.robots.quadruped import QUADRUPED, observation

STRIDES_PER_S = 3.0
FIRST_PAIR, SECOND_PAIR = 0.0, math.pi
OFFSETS_RAD = (FIRST_PAIR, SECOND_PAIR, SECOND_PAIR, FIRST_PAIR)
"""Of the legs' angles: front left, front right, rear left, rear right."""
LIFT_M = 0.07
"""Of a foot in the middle of its swing."""
LINK_M = 0.213
"""Length of a thigh, and of a calf."""
HIP_HEIGHT_M = 0.215
"""Above the feet's centres. Lower than at home, 0.265, so that bent legs reach ahead and behind."""
SHORTEST_M, LONGEST_M = (-0.07, -0.12, -0.04), (0.35, 0.12, 0.04)
"""Bounds of a leg's actions: stride ahead, stride to the left, hip above that height."""


def gait_angle(state: State) -> Tensor:
    """Angle of the gait, rad: (N,). From 0 to pi the first pair of feet stands, then the other."""
    return state["time"] * (2 * math.pi * STRIDES_PER_S)


def trot(state: State, actions: Tensor) -> dict[str, Tensor]:
    """The servos' targets, rad, of feet with the strides (N, 12) at the state's time: (N, 12)."""
    angle = gait_angle(state).to(actions.dtype)
    angles = torch.stack([angle + offset for offset in OFFSETS_RAD], dim=1)
    return {"ctrl": leg_angles(angles, actions.unflatten(1, (4, 3))).flatten(1)}


def leg_angles(angles: Tensor, strides: Tensor) -> Tensor:
    """Hip, thigh and calf, rad, of each leg: (N, 4) of the gait, (N, 4, 3) in m -> (N, 4, 3).

    A foot goes back and forth with its angle's cosine, and in its swing up with its sine; its
    place is solved for the angles of two links of equal length. The hip turns them sideways; that
    the thigh is mounted 0.08 m outside of it is left out. Without `hypot` and `atan2`, whose last
    bits depend on how many robots are computed at once.
    """
    ahead, left, above = strides.unbind(dim=2)
    ahead, left = ahead / 2 * angles.cos(), left / 2 * angles.cos()
    below = HIP_HEIGHT_M + above - LIFT_M * (-angles.sin()).clamp(min=0.0)
    below_tilted = (below.square() + left.square()).sqrt()
    folded = ((ahead.square() + below_tilted.square()).sqrt() / (2 * LINK_M)).acos()
    thigh = folded - (ahead / below_tilted).atan()
    return torch.stack([(left / below).atan(), thigh, -2 * folded], dim=2)


def observe(state: State) -> Tensor:
    """The quadruped's own senses, and the gait's angle as cosine and sine: (N, 32)."""
    senses = observation(state)
    angle = gait_angle(state).to(senses.dtype)
    return torch.cat([senses, torch.stack([angle.cos(), angle.sin()], dim=1)], dim=1)


TROTTING = dataclasses.replace(
    QUADRUPED,
    name="trotting-quadruped",
    observation=observe,
    observation_size=QUADRUPED.observation_size + 2,
    controls=trot,
    action_low=SHORTEST_M * 4,
    action_high=LONGEST_M * 4,
    action_middle=(0.14, 0.0, 0.0) * 4,
)
