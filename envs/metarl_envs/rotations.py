"""Rotations of bodies that float freely, from their quaternions."""

from __future__ import annotations

import torch
from torch import Tensor


def in_body_frame(quaternion: Tensor, vector: Tensor) -> Tensor:
    """World vectors (..., 3) as seen from bodies turned by unit quaternions w, x, y, z (..., 4)."""
    w, u = quaternion[..., :1], quaternion[..., 1:]
    across = torch.linalg.cross(u, vector)
    return vector - 2 * w * across + 2 * torch.linalg.cross(u, across)


def in_world_frame(quaternion: Tensor, vector: Tensor) -> Tensor:
    """The reverse of `in_body_frame`: (..., 3)."""
    return in_body_frame(opposite_turn(quaternion), vector)


def opposite_turn(quaternion: Tensor) -> Tensor:
    """The turn back: (..., 4)."""
    return torch.cat([quaternion[..., :1], -quaternion[..., 1:]], dim=-1)


def one_after_another(first: Tensor, second: Tensor) -> Tensor:
    """Quaternion of a turn, and then of one seen from the body that it turned: (..., 4)."""
    w, u = first[..., :1], first[..., 1:]
    s, v = second[..., :1], second[..., 1:]
    real = w * s - (u * v).sum(-1, keepdim=True)
    return torch.cat([real, w * v + s * u + torch.linalg.cross(u, v)], dim=-1)


def turn_between(before: Tensor, after: Tensor) -> Tensor:
    """Turn of a body as seen from it, (..., 3): along its axis, 2 sin(angle / 2) long.

    Nearly the angle in rad where that is small, and without a jump below half a turn.
    """
    turn = one_after_another(opposite_turn(before), after)
    return 2 * torch.where(turn[..., :1] < 0, -turn[..., 1:], turn[..., 1:])


def turned(before: Tensor, turn: Tensor) -> Tensor:
    """The reverse of `turn_between`: (..., 4). Longer than 2 counts as half a turn."""
    half = turn / 2
    length = half.norm(dim=-1, keepdim=True)
    half = half / length.clamp(min=1.0)
    real = (1 - length.clamp(max=1.0).square()).sqrt()
    return one_after_another(before, torch.cat([real, half], dim=-1))


def axes(quaternion: Tensor) -> Tensor:
    """The body's axes x, y and z in the world, one after the other: (N, 9)."""
    w, x, y, z = quaternion.unbind(dim=1)
    ahead = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y))
    left = (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x))
    up = (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y))
    return torch.stack([*ahead, *left, *up], dim=1)


def down(quaternion: Tensor) -> Tensor:
    """Direction of gravity as seen from the body, a unit vector: (..., 3); (0, 0, -1) if level."""
    w, x, y, z = quaternion.unbind(dim=-1)
    return torch.stack(
        [2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1.0], dim=-1
    )
