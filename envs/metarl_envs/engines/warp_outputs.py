"""Outputs of the engine warp: views of Warp's memory in the shapes of C MuJoCo."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
import torch
import warp as wp
from torch import Tensor

from metarl_envs.errors import InputError

NUMBERS = (torch.float32, torch.int32)
"""Types of tensors that compute as those of the engine cpu do; bool does not."""


def live_outputs(data: Any, model: mujoco.MjModel, names: Sequence[str]) -> dict[str, Tensor]:  # noqa: ANN401 -- mujoco_warp's Data
    """Live tensors of fields of N worlds, each (N, ...) as on the engine cpu.

    Args:
        data: of `mujoco_warp`.
        model: the template.
        names: of fields of `mujoco.MjData`.

    Raises:
        InputError: for a field that mujoco_warp does not have, or has in another form.
    """
    there = {field.name for field in dataclasses.fields(data)}
    template, found = mujoco.MjData(model), {}
    for name in names:
        array = getattr(data, name) if name in there else None
        shape = np.shape(getattr(template, name))
        if not isinstance(array, wp.array) or not _same(wp.to_torch(array), shape):
            raise InputError(
                f"output '{name}': mujoco_warp does not have it, or in another form; use the "
                "engine cpu"
            )
        value = wp.to_torch(array)
        found[name] = value.view(len(value), *shape)  # a matrix is (3, 3) there and (9,) here
    return found


def _same(value: Tensor, shape: tuple[int, ...]) -> bool:
    """True if each world has as many numbers as C MuJoCo has."""
    return value.dtype in NUMBERS and value.shape[1:].numel() == int(np.prod(shape))
