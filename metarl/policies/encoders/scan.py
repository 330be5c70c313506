"""Diagonal linear recurrences: h_t = a_t * h_(t-1) + (1 - a_t) * c_t.

Decay a and candidate c depend on the input alone, as in minGRU (Feng et al. 2024,
arXiv:2410.01201), so that all products with weights are made for all steps at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import elu

from metarl.policies.belief import Belief
from metarl.policies.encoders.base import PREFIX, Encoder, linear, xavier
from metarl.policies.graph import Graph, add_parts
from metarl.policies.params import Params

LAYERS = 2
"""One cannot relate a step to the one before it. Mean squared error of a mass's gain and friction,
identified from 100 noisy steps (variance 1; 400 updates, one seed): a bare recurrence 0.46, with a
nonlinear layer 0.42, two of these 0.17; two that add to their input 0.21; a GRU 0.13."""
SLOWEST = 500
"""Steps that the slowest unit remembers at first; the fastest 2 (Tallec & Ollivier 2018,
arXiv:1804.11188)."""


def _names(layer: int) -> tuple[str, str]:
    """Linear maps to decay and candidate, and from the recurrence to the layer's output."""
    return f"{PREFIX}gates_{layer}", f"{PREFIX}output_{layer}"


def _state(layer: int) -> str:
    return f"hidden_{layer}"


@dataclass(frozen=True)
class Scan(Encoder):
    """Two recurrences, each followed by a nonlinear layer."""

    def init(self, generator: Generator) -> Params:
        """Xavier-uniform weights; decays from fast to slow, other biases zero."""
        H, params = self.size, Params()
        memories = torch.logspace(math.log10(2), math.log10(SLOWEST), H)
        for layer in range(LAYERS):
            gates, output = _names(layer)
            inputs = H if layer else self.inputs
            params |= xavier(gates, inputs, (H, H), generator) | xavier(output, H, (H,), generator)
            params[f"{gates}_bias"][:H] = (memories - 1).log()
        return params

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        weight = params[_names(0)[0]]
        shape = (*weight.shape[:-2], num_worlds, self.size)
        return {_state(layer): weight.new_zeros(shape) for layer in range(LAYERS)}

    def step(
        self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor
    ) -> tuple[Tensor, Belief]:
        x, after = inputs, Belief()
        for layer in range(LAYERS):
            decay, added = self._terms(params, layer, x)
            hidden = torch.addcmul(added, decay, state[_state(layer)])
            after[_state(layer)] = hidden
            x = elu(linear(params, _names(layer)[1], hidden))
        return x, after

    def add_step(
        self, params: Mapping[str, Tensor], graph: Graph, state: Mapping[str, str], inputs: str
    ) -> tuple[str, dict[str, str]]:
        then, x, after = graph.then, inputs, {}
        for layer in range(LAYERS):
            gates, output = _names(layer)
            gate, candidate = add_parts(graph, x, params, gates, 2)
            kept = then("Sub", state[_state(layer)], candidate)
            hidden = then("Add", candidate, then("Mul", then("Sigmoid", gate), kept))
            after[_state(layer)] = hidden
            (x,) = add_parts(graph, hidden, params, output, 1)
            x = then("Elu", x)
        return x, after

    def scan(self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor) -> Tensor:
        by_step = inputs.transpose(-3, -2)  # (M, L, E, D): each step in one piece
        steps = by_step.shape[-3:-1]
        x = by_step.flatten(-3, -2)
        for layer in range(LAYERS):
            decay, added = self._terms(params, layer, x)
            hidden = recurrence(
                decay.unflatten(-2, steps), added.unflatten(-2, steps), state[_state(layer)]
            )
            x = elu(linear(params, _names(layer)[1], hidden.flatten(-3, -2)))
        return x.unflatten(-2, steps).transpose(-3, -2)

    def _terms(
        self, params: Mapping[str, Tensor], layer: int, inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decay and addend of the recurrence at S steps: (M, S, D) -> (M, S, H) each."""
        gate, candidate = linear(params, _names(layer)[0], inputs).chunk(2, dim=-1)
        decay = torch.sigmoid(gate)
        return decay, (1 - decay) * candidate


def recurrence(decay: Tensor, added: Tensor, start: Tensor) -> Tensor:
    """h_t = decay_t * h_(t-1) + added_t at each of L steps.

    A loop of one operation per step. Forward and backward over 128 worlds, 400 steps and 64 units
    take 0.03 s of a CPU's thread so, and 0.41 s by doubling (log2(L) passes over all steps).

    Args:
        decay, added: (M, L, E, H).
        start: (M, E, H), h before the first step.

    Returns:
        (M, L, E, H).
    """
    hidden, found = start, []
    for a, b in zip(decay.unbind(-3), added.unbind(-3), strict=True):
        hidden = torch.addcmul(b, a, hidden)
        found.append(hidden)
    return torch.stack(found, dim=-3)
