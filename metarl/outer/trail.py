"""The points that an optimiser passed, to take its last steps back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.policies.params import Params

ALIGNMENT = 64
"""Bytes at a multiple of which every entry of a point begins, as a tensor of its own does: at
another address a CPU may choose another kernel, and a resumed run would have other bits."""


class Trail:
    """Stack of points whose height stays on the device, so that the host never waits for it.

    A point is one row of bytes, so that it is stored and read by one copy.
    """

    def __init__(self, *start: Mapping[str, Tensor], room: int) -> None:
        """Start at a point.

        Args:
            start: named tensors, in one or several dicts.
            room: largest number of steps.
        """
        self._forms = [
            {name: (value.dtype, value.shape) for name, value in tensors.items()}
            for tensors in start
        ]
        first = next(iter(start[0].values()))
        self._padding = torch.zeros(ALIGNMENT, dtype=torch.uint8, device=first.device)
        row = self._row(start)
        self._rows = row.new_empty((room + 1, len(row)))
        self.steps = torch.zeros((), dtype=torch.long, device=first.device)  # since the start
        self._rows.index_copy_(0, self.steps.view(1), row.unsqueeze(0))

    def last(self) -> tuple[Params, ...]:
        """The newest point: copies."""
        row, begin = self._rows.index_select(0, self.steps.view(1)).squeeze(0), 0
        point: list[Params] = []
        for forms in self._forms:
            tensors: Params = {}
            for name, (dtype, shape) in forms.items():
                length = shape.numel() * dtype.itemsize
                tensors[name] = row[begin : begin + length].view(dtype).view(shape)
                begin += length + -length % ALIGNMENT
            point.append(tensors)
        return tuple(point)

    def step(self, *point: Mapping[str, Tensor], unless: Tensor) -> None:
        """Move to a new point, or one step back where `unless` () is true."""
        # Where the new point is not wanted, the next one replaces it.
        self._rows.index_copy_(0, (self.steps + 1).view(1), self._row(point).unsqueeze(0))
        self.steps = self.steps + torch.where(unless, -1, 1)

    def back(self) -> None:
        """Move to the point before the newest."""
        self.steps = self.steps - 1

    def _row(self, point: tuple[Mapping[str, Tensor], ...]) -> Tensor:
        """All entries as one row of bytes."""
        parts: list[Tensor] = []
        for forms, tensors in zip(self._forms, point, strict=True):
            for name in forms:
                part = tensors[name].detach().reshape(-1).view(torch.uint8)
                parts += [part, self._padding[: -len(part) % ALIGNMENT]]
        return torch.cat(parts)
