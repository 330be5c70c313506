"""Rotations of bodies that float freely, from their quaternions."""

from __future__ import annotations

import torch
from torch import Tensor


def in_body_frame(quaternion: Tensor, vector: Tensor) -> Tensor:
    """World vectors (N, 3) as seen from bodies turned by unit quaternions w, x, y, z (N, 4)."""
    w, u = quaternion[:, :1], quaternion[:, 1:]
    across = torch.linalg.cross(u, vector)
    return vector - 2 * w * across + 2 * torch.linalg.cross(u, across)


def down(quaternion: Tensor) -> Tensor:
    """Direction of gravity as seen from the body, a unit vector: (N, 3); (0, 0, -1) if level."""
    w, x, y, z = quaternion.unbind(dim=1)
    return torch.stack(
        [2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1.0], dim=1
    )
