"""The interface of sequence encoders: what a policy remembers of a trial, as one vector.

Axes: M policies, E worlds each, L steps, D inputs, H summary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl.policies.belief import Belief
from metarl.policies.params import Params

PREFIX = "encoder."
"""Start of the names of an encoder's parameters."""


@dataclass(frozen=True)
class Encoder(ABC):
    """A recurrence over the steps of a trial. A subclass is frozen sizes, without tensors.

    Its methods are pure functions of the parameters of M policies, each (M, ...), or of one policy,
    without the axis M anywhere. `step` and `scan` compute the same summaries.
    """

    inputs: int
    """D, numbers read at every step."""
    size: int
    """H, numbers of the summary."""

    @abstractmethod
    def init(self, generator: Generator) -> Params:
        """Fresh parameters of one encoder, float32, named `encoder.*`."""

    @abstractmethod
    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        """The state before the first step, each (M, E, ...)."""

    @abstractmethod
    def step(
        self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor
    ) -> tuple[Tensor, Belief]:
        """Summary (M, E, H) after one more step of inputs (M, E, D), and the state after it."""

    def scan(self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor) -> Tensor:
        """Summaries (M, E, L, H) after each of L steps of inputs (M, E, L, D)."""
        summaries = []
        for x in inputs.unbind(-2):
            summary, state = self.step(params, state, x)
            summaries.append(summary)
        return torch.stack(summaries, dim=-2)


def num_policies(params: Mapping[str, Tensor], name: str, dims: int) -> tuple[int, ...]:
    """(M,), or () for one policy, from an entry that has `dims` axes of its own."""
    return tuple(params[name].shape[:-dims])
