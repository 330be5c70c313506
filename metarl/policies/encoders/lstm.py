"""A long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl.policies.belief import Belief
from metarl.policies.encoders.base import (
    PREFIX,
    Encoder,
    linear,
    of_one_policy,
    orthogonal,
    xavier,
)
from metarl.policies.graph import Graph, add_parts
from metarl.policies.params import Params

INPUT, INPUT_BIAS, HIDDEN = PREFIX + "input", PREFIX + "input_bias", PREFIX + "hidden"
STATE, CELL = "hidden", "cell"


@dataclass(frozen=True)
class Lstm(Encoder):
    """One layer, with the gates (input, forget, cell, output) of `torch.nn.LSTM` and one bias."""

    def init(self, generator: Generator) -> Params:
        """Orthogonal recurrent weights, Xavier-uniform input weights, biases zero.

        That of the forget gate is 1, so that it begins open (Jozefowicz et al. 2015).
        """
        H = self.size
        params = {HIDDEN: orthogonal(H, 4, generator)}
        params |= xavier(INPUT, self.inputs, (H, H, H, H), generator)
        params[INPUT_BIAS][H : 2 * H] = 1
        return params

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        weight = params[HIDDEN]
        shape = (*weight.shape[:-2], num_worlds, self.size)
        return {name: weight.new_zeros(shape) for name in (STATE, CELL)}

    def step(
        self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor
    ) -> tuple[Tensor, Belief]:
        gates = linear(params, INPUT, inputs) + state[STATE] @ params[HIDDEN]
        i, f, g, o = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(f) * state[CELL] + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        return hidden, {STATE: hidden, CELL: cell}

    def add_step(
        self, params: Mapping[str, Tensor], graph: Graph, state: Mapping[str, str], inputs: str
    ) -> tuple[str, dict[str, str]]:
        then = graph.then
        recurrent = {HIDDEN: params[HIDDEN], f"{HIDDEN}_bias": 0 * params[INPUT_BIAS]}
        gates = zip(
            add_parts(graph, inputs, params, INPUT, 4),
            add_parts(graph, state[STATE], recurrent, HIDDEN, 4),
            strict=True,
        )
        i, f, g, o = (then("Add", *parts) for parts in gates)
        kept = then("Mul", then("Sigmoid", f), state[CELL])
        cell = then("Add", kept, then("Mul", then("Sigmoid", i), then("Tanh", g)))
        hidden = then("Mul", then("Sigmoid", o), then("Tanh", cell))
        return hidden, {STATE: hidden, CELL: cell}

    def scan(self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor) -> Tensor:
        """As in `Encoder`; torch's own loop where all worlds share one policy."""
        one = of_one_policy(params, HIDDEN)
        if one is None:
            return super().scan(params, state, inputs)
        weights = [one[INPUT].mT.contiguous(), one[HIDDEN].mT.contiguous()]
        weights += [one[INPUT_BIAS], torch.zeros_like(one[INPUT_BIAS])]
        sequences = inputs.reshape(-1, *inputs.shape[-2:]).transpose(0, 1)  # (L, N, D)
        start = tuple(state[name].reshape(1, -1, self.size) for name in (STATE, CELL))
        summaries, *_ = torch.lstm(sequences, start, weights, True, 1, 0.0, False, False, False)
        return summaries.transpose(0, 1).reshape(*inputs.shape[:-1], self.size)
