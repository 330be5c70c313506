"""A gated recurrent unit (Cho et al. 2014, arXiv:1406.1078)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl.policies.belief import Belief
from metarl.policies.encoders.base import PREFIX, Encoder, num_policies
from metarl.policies.params import Params

INPUT, HIDDEN = PREFIX + "input", PREFIX + "hidden"
INPUT_BIAS, HIDDEN_BIAS = PREFIX + "input_bias", PREFIX + "hidden_bias"
STATE = "hidden"


@dataclass(frozen=True)
class Gru(Encoder):
    """One layer, with the equations and gates (reset, update, new) of `torch.nn.GRU`."""

    def init(self, generator: Generator) -> Params:
        """Orthogonal recurrent weights, Xavier-uniform input weights, zero biases."""
        D, H = self.inputs, self.size
        bound = math.sqrt(6 / (D + H))
        recurrent = [torch.linalg.qr(torch.randn(H, H, generator=generator))[0] for _ in range(3)]
        return {
            INPUT: (2 * torch.rand(D, 3 * H, generator=generator) - 1) * bound,
            HIDDEN: torch.cat(recurrent, dim=1),
            INPUT_BIAS: torch.zeros(3 * H),
            HIDDEN_BIAS: torch.zeros(3 * H),
        }

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        shape = (*num_policies(params, HIDDEN, 2), num_worlds, self.size)
        return {STATE: params[HIDDEN].new_zeros(shape)}

    def step(
        self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor
    ) -> tuple[Tensor, Belief]:
        hidden = state[STATE]
        of_inputs = inputs @ params[INPUT] + params[INPUT_BIAS].unsqueeze(-2)
        of_hidden = hidden @ params[HIDDEN] + params[HIDDEN_BIAS].unsqueeze(-2)
        (r, z, n), (hr, hz, hn) = of_inputs.chunk(3, dim=-1), of_hidden.chunk(3, dim=-1)
        update = torch.sigmoid(z + hz)
        candidate = torch.tanh(n + torch.sigmoid(r + hr) * hn)
        hidden = candidate + update * (hidden - candidate)
        return hidden, {STATE: hidden}

    def scan(self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor) -> Tensor:
        """As in `Encoder`; torch's fused kernel where all worlds share one policy."""
        shared = num_policies(params, HIDDEN, 2)
        if shared not in ((), (1,)):
            return super().scan(params, state, inputs)
        names = (INPUT, HIDDEN, INPUT_BIAS, HIDDEN_BIAS)
        flat = [params[name].squeeze(0) if shared else params[name] for name in names]
        flat = [value.mT.contiguous() if value.dim() == 2 else value for value in flat]
        sequences = inputs.reshape(-1, *inputs.shape[-2:]).transpose(0, 1)  # (L, N, D)
        hidden = state[STATE].reshape(1, -1, self.size)
        summaries, _ = torch.gru(sequences, hidden, flat, True, 1, 0.0, False, False, False)
        return summaries.transpose(0, 1).reshape(*inputs.shape[:-1], self.size)
