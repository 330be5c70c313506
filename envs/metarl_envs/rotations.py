"""Rotations of bodies that float freely, from their quaternions."""

from __future__ import annotations

import torch
from torch import Tensor


def in_body_frame(quaternion: Tensor, vector: Tensor) -> Tensor:
    """World vectors (N, 3) as seen from bodies turned by unit quaternions w, x, y, z (N, 4)."""
    w, u = quaternion[:, :1], quaternion[:, 1:]
    across = torch.linalg.cross(u, vector)
    return vector - 2 * w * across + 2 * torch.linalg.cross(u, across)


def axes(quaternion: Tensor) -> Tensor:
    """The body's axes x, y and z in the world, one after the other: (N, 9)."""
    w, x, y, z = quaternion.unbind(dim=1)
    ahead = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y))
    left = (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x))
    up = (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y))
    return torch.stack([*ahead, *left, *up], dim=1)


def down(quaternion: Tensor) -> Tensor:
    """Direction of gravity as seen from the body, a unit vector: (N, 3); (0, 0, -1) if level."""
    w, x, y, z = quaternion.unbind(dim=1)
    return torch.stack(
        [2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1.0], dim=1
    )
