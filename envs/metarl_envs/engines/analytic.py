"""An engine for robots whose dynamics are one tensor function: no simulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from metarl_envs.errors import InputError

Dynamics = Callable[[Tensor, Tensor], Tensor]
"""Positions after one step: (qpos (N, nq), ctrl (N, nu)) -> (N, nq)."""


class AnalyticEngine:
    """N worlds under q' = dynamics(q, ctrl). Velocities are held but not integrated."""

    def __init__(
        self,
        dynamics: Dynamics,
        num_worlds: int,
        *,
        nq: int,
        nu: int,
        device: torch.device | None = None,
    ) -> None:
        """Makes N worlds with `nq` positions and `nu` controls each, all zero."""
        if num_worlds < 1:
            raise InputError(f"num_worlds = {num_worlds}: must be at least 1")
        self.num_worlds = num_worlds
        self.device = device or torch.device("cpu")
        self.dtype = torch.float64
        self._dynamics = dynamics
        shapes = {"qpos": (nq,), "qvel": (nq,), "ctrl": (nu,), "time": ()}
        self.data: Mapping[str, Tensor] = {
            name: torch.zeros((num_worlds, *shape), dtype=self.dtype, device=self.device)
            for name, shape in shapes.items()
        }

    def base_fields(self) -> dict[str, Tensor]:
        """Nothing: such a robot has goals, not model fields."""
        return {}

    def set_model_fields(self, fields: Mapping[str, Tensor]) -> None:
        """Accepts no field."""
        if fields:
            raise ValueError(f"an analytic robot has no model fields, got {sorted(fields)}")

    def reset(self, mask: Tensor | None, qpos: Tensor, qvel: Tensor) -> None:
        """Fresh state at these positions."""
        chosen = slice(None) if mask is None else mask
        self.data["qpos"][chosen] = qpos[chosen]
        self.data["qvel"][chosen] = qvel[chosen]
        self.data["ctrl"][chosen] = 0.0
        self.data["time"][chosen] = 0.0

    def step(self, n_substeps: int, mask: Tensor | None = None) -> None:
        """Apply the dynamics n times to the worlds of `mask`."""
        qpos = self.data["qpos"]
        for _ in range(n_substeps):
            moved = self._dynamics(qpos, self.data["ctrl"])
            qpos.copy_(moved if mask is None else torch.where(mask[:, None], moved, qpos))
        self.data["time"].add_(n_substeps if mask is None else n_substeps * mask)

    def state(self) -> dict[str, Tensor]:
        """Copies of all state tensors."""
        return {name: value.clone() for name, value in self.data.items()}

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Return to a saved state."""
        for name, value in self.data.items():
            value.copy_(state[name])

    def overflow_message(self) -> str:
        """There are no limits."""
        return ""

    def faults(self) -> Tensor:
        """1 where the state is not finite: (N,)."""
        return (~torch.isfinite(self.data["qpos"]).all(dim=1)).long()
