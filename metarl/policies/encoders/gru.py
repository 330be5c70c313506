"""A gated recurrent unit (Cho et al. 2014, arXiv:1406.1078)."""

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

INPUT, HIDDEN = PREFIX + "input", PREFIX + "hidden"
INPUT_BIAS, HIDDEN_BIAS = PREFIX + "input_bias", PREFIX + "hidden_bias"
STATE = "hidden"


@dataclass(frozen=True)
class Gru(Encoder):
    """One layer, with the equations and gates (reset, update, new) of `torch.nn.GRU`."""

    def init(self, generator: Generator) -> Params:
        """Orthogonal recurrent weights, Xavier-uniform input weights, zero biases."""
        H = self.size
        recurrent = {HIDDEN: orthogonal(H, 3, generator), HIDDEN_BIAS: torch.zeros(3 * H)}
        return recurrent | xavier(INPUT, self.inputs, (H, H, H), generator)

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        weight = params[HIDDEN]
        return {STATE: weight.new_zeros(*weight.shape[:-2], num_worlds, self.size)}

    def step(
        self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor
    ) -> tuple[Tensor, Belief]:
        hidden = state[STATE]
        r, z, n = linear(params, INPUT, inputs).chunk(3, dim=-1)
        hr, hz, hn = linear(params, HIDDEN, hidden).chunk(3, dim=-1)
        update = torch.sigmoid(z + hz)
        candidate = torch.tanh(n + torch.sigmoid(r + hr) * hn)
        hidden = candidate + update * (hidden - candidate)
        return hidden, {STATE: hidden}

    def add_step(
        self, params: Mapping[str, Tensor], graph: Graph, state: Mapping[str, str], inputs: str
    ) -> tuple[str, dict[str, str]]:
        then, hidden = graph.then, state[STATE]
        r, z, n = add_parts(graph, inputs, params, INPUT, 3)
        hr, hz, hn = add_parts(graph, hidden, params, HIDDEN, 3)
        update = then("Sigmoid", then("Add", z, hz))
        gated = then("Mul", then("Sigmoid", then("Add", r, hr)), hn)
        candidate = then("Tanh", then("Add", n, gated))
        kept = then("Mul", update, then("Sub", hidden, candidate))
        hidden = then("Add", candidate, kept)
        return hidden, {STATE: hidden}

    def scan(self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor) -> Tensor:
        """As in `Encoder`; torch's own loop where all worlds share one policy."""
        one = of_one_policy(params, HIDDEN)
        if one is None:
            return super().scan(params, state, inputs)
        weights = [one[INPUT].mT.contiguous(), one[HIDDEN].mT.contiguous()]
        weights += [one[INPUT_BIAS], one[HIDDEN_BIAS]]
        sequences = inputs.reshape(-1, *inputs.shape[-2:]).transpose(0, 1)  # (L, N, D)
        hidden = state[STATE].reshape(1, -1, self.size)
        summaries, _ = torch.gru(sequences, hidden, weights, True, 1, 0.0, False, False, False)
        return summaries.transpose(0, 1).reshape(*inputs.shape[:-1], self.size)
