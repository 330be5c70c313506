"""An oval lane: two straights and two half circles, driven counterclockwise.

Places on it are distances along its middle line, m, from the start of the lower straight. Offsets
count to the left of the middle, towards the infield.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

STRAIGHT_M = 3.0
RADIUS_M = 1.2
"""Of the bends' middle line."""
HALF_WIDTH_M = 0.3
BEND_M = math.pi * RADIUS_M
LAP_M = 2 * (STRAIGHT_M + BEND_M)


def place(position: Tensor) -> Tensor:
    """Distance along the lane of the nearest point of its middle line: (N, 2) -> (N,), [0, lap)."""
    x, y = position[:, 0], position[:, 1]
    half = STRAIGHT_M / 2
    # Angles from the bend's centre, 0 where the bend begins and pi where it ends.
    right = torch.atan2(y, x - half) + math.pi / 2
    left = torch.atan2(-y, -half - x) + math.pi / 2
    below, above = x + half, STRAIGHT_M + BEND_M + half - x
    along = torch.where(y < 0, below, above)
    along = torch.where(x > half, STRAIGHT_M + RADIUS_M * right, along)
    along = torch.where(x < -half, 2 * STRAIGHT_M + BEND_M + RADIUS_M * left, along)
    return along % LAP_M


def offset(position: Tensor) -> Tensor:
    """Distance to the left of the middle line, m: (N, 2) -> (N,)."""
    return RADIUS_M - _outward(position).norm(dim=1)


def direction(position: Tensor) -> Tensor:
    """The lane's direction at the nearest point, of length 1: (N, 2) -> (N, 2)."""
    outward = _outward(position)
    outward = outward / outward.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return torch.stack([-outward[:, 1], outward[:, 0]], dim=1)


def _outward(position: Tensor) -> Tensor:
    """From the line between the bends' centres to the position: (N, 2)."""
    half = STRAIGHT_M / 2
    return torch.stack([position[:, 0] - position[:, 0].clamp(-half, half), position[:, 1]], dim=1)


def turned(along: Tensor) -> Tensor:
    """The lane's heading at these places, rad, without bound over laps: any shape."""
    laps = torch.floor(along / LAP_M)
    rest = along - laps * LAP_M
    first = (rest - STRAIGHT_M).clamp(0, BEND_M)
    second = (rest - 2 * STRAIGHT_M - BEND_M).clamp(0, BEND_M)
    return 2 * math.pi * laps + (first + second) / RADIUS_M


def curvature(along: Tensor, near_m: float, far_m: float) -> Tensor:
    """Mean curvature of the lane from `near_m` to `far_m` ahead of these places, 1/m: (N,)."""
    return (turned(along + far_m) - turned(along + near_m)) / (far_m - near_m)


def point(along: Tensor, left_m: Tensor) -> Tensor:
    """The point `left_m` to the left of the middle line at these places: (N,), (N,) -> (N, 2)."""
    rest = along % LAP_M
    forth = rest.clamp(0, STRAIGHT_M)
    back = (rest - STRAIGHT_M - BEND_M).clamp(0, STRAIGHT_M)
    normal = turned(rest) - math.pi / 2
    radius = RADIUS_M - left_m
    x = forth - back - STRAIGHT_M / 2 + radius * torch.cos(normal)
    return torch.stack([x, radius * torch.sin(normal)], dim=1)


def progress(before: Tensor, after: Tensor) -> Tensor:
    """Distance along the lane from one position to another less than half a lap away, m: (N,)."""
    moved = place(after) - place(before)
    return (moved + LAP_M / 2) % LAP_M - LAP_M / 2
