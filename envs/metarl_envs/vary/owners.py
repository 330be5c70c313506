"""Factors on scattered entries of model fields, each of which belongs to one of k elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mujoco
import torch
from torch import Tensor

from metarl_envs.parameters import Fields

Entries = Mapping[str, tuple[Sequence[int], Sequence[int]]]
"""What an element owns: by model field, rows and columns."""
Owners = Mapping[str, Tensor]
"""By model field, who owns each entry: (rows, columns) positions 0 ... k - 1; -1 is nobody."""


def owners(model: mujoco.MjModel, elements: Sequence[Entries]) -> Owners:
    """Who owns what of a model, of the fields of which anything is owned."""
    found: dict[str, Tensor] = {}
    for position, entries in enumerate(elements):
        for field, (rows, columns) in entries.items():
            owner = found.setdefault(field, torch.full(getattr(model, field).shape, -1))
            owner[torch.tensor(rows)[:, None], torch.tensor(columns)] = position
    return found


def multiplied(fields: Fields, owned: Owners, factors: Tensor) -> Fields:
    """Fields (N, rows, columns) with every entry times its owner's factor, of (N, k)."""
    # The last one, number -1, is of what nobody owns.
    factors = torch.cat([factors, torch.ones_like(factors[:, :1])], dim=1)
    return {
        name: field * factors.to(field)[:, owned[name].to(field.device)]
        for name, field in fields.items()
    }
