"""Fields of a model that may differ between worlds, by name: "body_mass", or "opt.gravity"."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

OPTION = "opt."
"""Beginning of the names of a model's options."""


def owner_of(model: Any, name: str) -> tuple[Any, str]:  # noqa: ANN401 - MuJoCo's or Warp's model
    """The object that holds a field, the model or its options, and the attribute's name there."""
    return (model.opt, name.removeprefix(OPTION)) if name.startswith(OPTION) else (model, name)


def read_field(model: mujoco.MjModel, name: str) -> Tensor:
    """A copy of a field or option, float64."""
    owner, attribute = owner_of(model, name)
    return torch.from_numpy(np.array(getattr(owner, attribute), dtype=np.float64))
