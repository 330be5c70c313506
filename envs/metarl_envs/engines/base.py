"""The engine protocol: N worlds stepped together, each with its own model parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class Engine(Protocol):
    """N worlds stepped together.

    The varied model fields and the wanted outputs are declared when an engine is made, since a
    GPU engine allocates them before it captures its graphs. Tensors in `data` are live: they are
    valid until the next call, so copy values that must outlive it. They stay at one address,
    since captured graphs read and write them.
    """

    num_worlds: int
    device: torch.device
    dtype: torch.dtype
    data: Mapping[str, Tensor]
    """`qpos`, `qvel`, `ctrl`, `time` and the declared outputs, each (N, ...).

    Controls and declared mocap poses are inputs: what is written there holds from the next step on.
    Outputs belong to the state that `reset`, `step` or `set_state` has left. Only in an engine made
    with `lagged_outputs` are they, after a step, those of its last substep's start, as after
    `mj_step`.
    """

    def base_fields(self) -> dict[str, Tensor]:
        """The template's values of the varied fields, without a world axis: copies."""
        ...

    def set_model_fields(self, fields: Mapping[str, Tensor]) -> None:
        """Write varied fields, each (N, ...), and refresh the constants derived from them."""
        ...

    def reset(self, mask: Tensor | None, qpos: Tensor, qvel: Tensor) -> None:
        """Put the worlds of `mask` (N,) (None: all) into a fresh state with these positions.

        `qpos` and `qvel` are (N, ...); rows outside the mask are ignored. Controls, actuator
        states, mocap poses and time are the keyframe's, where the engine was made with one,
        and the solver begins at its `warm_start`; everything else of the state (fault counters;
        without a `warm_start`, the solver's, too) is cleared.
        """
        ...

    def step(self, n_substeps: int, mask: Tensor | None = None) -> None:
        """Advance the worlds of `mask` (None: all) by n substeps under the inputs in `data`."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Copies of all that a bit-equal replay needs: state, varied fields, outputs."""
        ...

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Return to a state saved by `state`, of an engine with the same worlds and fields."""
        ...

    def faults(self) -> Tensor:
        """Simulator faults of each world since its last reset: (N,) int64, 0 = valid."""
        ...

    def overflow_message(self) -> str:
        """The capacity limit exceeded since the last reset, and how to raise it; "" if none.

        May wait for the device: call it once per episode, not at every step.
        """
        ...
