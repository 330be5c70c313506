"""The points that an optimiser passed, to take its last steps back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.policies.params import Params


class Trail:
    """Stack of points whose height stays on the device, so that the host never waits for it."""

    def __init__(self, *start: Mapping[str, Tensor], room: int) -> None:
        """Start at a point.

        Args:
            start: named tensors, in one or several dicts.
            room: largest number of steps.
        """
        self._stacks = [
            {name: value.new_empty((room + 1, *value.shape)) for name, value in tensors.items()}
            for tensors in start
        ]
        first = next(iter(start[0].values()))
        self.steps = torch.zeros((), dtype=torch.long, device=first.device)  # since the start
        self._write(self.steps, *start)

    def last(self) -> tuple[Params, ...]:
        """The newest point: copies."""
        row = self.steps.view(1)
        return tuple(
            {name: stack.index_select(0, row).squeeze(0) for name, stack in stacks.items()}
            for stacks in self._stacks
        )

    def step(self, *point: Mapping[str, Tensor], unless: Tensor) -> None:
        """Move to a new point, or one step back where `unless` () is true."""
        self._write(self.steps + 1, *point)  # where it is not wanted, the next one replaces it
        self.steps = self.steps + torch.where(unless, -1, 1)

    def back(self) -> None:
        """Move to the point before the newest."""
        self.steps = self.steps - 1

    def _write(self, row: Tensor, *point: Mapping[str, Tensor]) -> None:
        for stacks, tensors in zip(self._stacks, point, strict=True):
            for name, stack in stacks.items():
                stack.index_copy_(0, row.view(1), tensors[name].unsqueeze(0))
