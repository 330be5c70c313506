"""The interface of sequence encoders: what a policy remembers of a trial, as one vector.

Axes: M policies, E worlds each, L steps, D inputs, H summary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl.policies.belief import Belief
from metarl.policies.graph import Graph
from metarl.policies.mlp import xavier_uniform
from metarl.policies.params import Params
from metarl_envs import InputError

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
    length: int
    """W, steps that a window or a Transformer's layer looks back; recurrences have no such end."""

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

    def add_step(
        self, params: Mapping[str, Tensor], graph: Graph, state: Mapping[str, str], inputs: str
    ) -> tuple[str, dict[str, str]]:
        """Add `step` of one encoder to an ONNX graph, with the names of its values.

        Raises:
            InputError: by default.
        """
        del params, graph, state, inputs
        raise InputError(
            f"encoder {type(self).__name__}: cannot be exported as ONNX; gru, lstm and scan can; "
            "use metarl.load"
        )

    def scan(self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor) -> Tensor:
        """Summaries (M, E, L, H) after each of L steps of inputs (M, E, L, D)."""
        summaries = []
        for x in inputs.unbind(-2):
            summary, state = self.step(params, state, x)
            summaries.append(summary)
        return torch.stack(summaries, dim=-2)


def xavier(name: str, inputs: int, outputs: Sequence[int], generator: Generator) -> Params:
    """Weight and zero bias of linear maps side by side, Xavier-uniform each.

    Args:
        name: of the weight, (inputs, sum of outputs); the bias has "_bias" behind it.
        inputs: units read by all maps.
        outputs: units of each map.
        generator: source of the weights.
    """
    parts = [xavier_uniform(inputs, size, generator) for size in outputs]
    return {name: torch.cat(parts, dim=1), f"{name}_bias": torch.zeros(sum(outputs))}


def orthogonal(size: int, count: int, generator: Generator) -> Tensor:
    """Orthogonal maps side by side, for the recurrent weights of gates: (size, count * size)."""
    maps = [torch.linalg.qr(torch.randn(size, size, generator=generator))[0] for _ in range(count)]
    return torch.cat(maps, dim=1)


def linear(params: Mapping[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    """A linear map of S rows with the entries of `xavier`: (M, S, in) -> (M, S, out)."""
    return inputs @ params[name] + params[f"{name}_bias"].unsqueeze(-2)


def of_one_policy(params: Mapping[str, Tensor], matrix: str) -> Params | None:
    """The encoder's entries without the axis M if all worlds share one policy, else None.

    torch's own sequences take one set of weights.

    Args:
        params: (M, ...), or of one policy.
        matrix: name of an entry that is a matrix.
    """
    policies = params[matrix].shape[:-2]
    if policies.numel() != 1:
        return None
    entries = {name: value for name, value in params.items() if name.startswith(PREFIX)}
    return {name: value.squeeze(0) for name, value in entries.items()} if policies else entries
