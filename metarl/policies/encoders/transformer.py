"""A small causal Transformer (Vaswani et al. 2017) whose layers look back a fixed number of steps.

Pre-norm (Xiong et al. 2020, arXiv:2002.04745); rotary positions, so that scores depend on distances
in time alone (Su et al. 2021, arXiv:2104.09864); one key and value for all heads (Shazeer 2019,
arXiv:1911.02150), since the memory of a world is the keys and values of its last steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import elu, layer_norm, pad, scaled_dot_product_attention

from metarl.policies.belief import Belief
from metarl.policies.encoders.base import PREFIX, Encoder, linear, xavier
from metarl.policies.params import Params

LAYERS = 2
HEAD = 16
"""Numbers of a query, key and value; a layer has size / HEAD heads, at least one."""
INPUT = PREFIX + "input"


def _names(layer: int) -> tuple[str, ...]:
    """Linear maps: to queries, key and value; from the heads; two of the perceptron."""
    return tuple(f"{PREFIX}{part}_{layer}" for part in ("attention", "heads", "wide", "narrow"))


def _state(layer: int) -> str:
    return f"keys_values_{layer}"


@dataclass(frozen=True)
class Transformer(Encoder):
    """Two layers, each of attention and a perceptron of twice the size, both added to the input.

    The state of a layer is the keys and values of the last W steps, zero at first: an empty place
    takes its share of attention, which so shows how full the memory is. A derivative of a
    derivative is not available from torch's fused attention.
    """

    def init(self, generator: Generator) -> Params:
        """Xavier-uniform weights, zero biases."""
        H, heads = self.size, [HEAD] * self._heads
        params = xavier(INPUT, self.inputs, (H,), generator)
        for layer in range(LAYERS):
            attention, output, wide, narrow = _names(layer)
            params |= xavier(attention, H, (*heads, HEAD, HEAD), generator)
            params |= xavier(output, sum(heads), (H,), generator)
            params |= xavier(wide, H, (2 * H,), generator) | xavier(narrow, 2 * H, (H,), generator)
        return params

    @property
    def _heads(self) -> int:
        return max(1, self.size // HEAD)

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        weight = params[INPUT]
        shape = (*weight.shape[:-2], num_worlds, self.length, 2 * HEAD)
        return {_state(layer): weight.new_zeros(shape) for layer in range(LAYERS)}

    def step(
        self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor
    ) -> tuple[Tensor, Belief]:
        x, after = linear(params, INPUT, inputs), Belief()
        for layer in range(LAYERS):
            queries, known = self._projected(params, layer, x)
            known = torch.cat([state[_state(layer)], known.unsqueeze(-2)], dim=-2)
            after[_state(layer)] = known[..., 1:, :]
            read = _attention(queries.unsqueeze(-2), known, mask=None)
            x = self._mixed(params, layer, x, read.squeeze(-2))
        return _normed(x), after

    def scan(self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor) -> Tensor:
        """As in `Encoder`: each block of W steps reads the block before it and itself."""
        worlds, L, W = inputs.shape[:-2], inputs.shape[-2], self.length
        blocks = -(-L // W)
        i, j = torch.arange(W, device=inputs.device), torch.arange(2 * W, device=inputs.device)
        band = (i[:, None] <= j) & (j <= i[:, None] + W)
        x = linear(params, INPUT, pad(inputs, (0, 0, 0, blocks * W - L)).flatten(-3, -2))
        for layer in range(LAYERS):
            queries, known = self._projected(params, layer, x)
            queries = queries.reshape(*worlds, blocks, W, -1)
            known = known.reshape(*worlds, blocks * W, -1)
            known = torch.cat([state[_state(layer)], known], dim=-2)
            known = known.unfold(-2, 2 * W, W).mT  # (M, E, blocks, 2W, ...)
            read = _attention(queries, known, band)
            x = self._mixed(params, layer, x, read.flatten(-4, -2))
        return _normed(x).unflatten(-2, (-1, blocks * W))[..., :L, :]

    def _projected(
        self, params: Mapping[str, Tensor], layer: int, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Queries of all heads, and key and value, at S steps: (M, S, H) -> (M, S, ...) each."""
        parts = linear(params, _names(layer)[0], _normed(x))
        return parts[..., : -2 * HEAD], parts[..., -2 * HEAD :]

    def _mixed(self, params: Mapping[str, Tensor], layer: int, x: Tensor, read: Tensor) -> Tensor:
        """Output of a layer at S steps, from its input and what its heads read."""
        _, heads, wide, narrow = _names(layer)
        x = x + linear(params, heads, read)
        return x + linear(params, narrow, elu(linear(params, wide, _normed(x))))


def _normed(x: Tensor) -> Tensor:
    """Mean 0 and variance 1; scale and shift are those of the linear map that follows."""
    return layer_norm(x, x.shape[-1:])


def _attention(queries: Tensor, known: Tensor, mask: Tensor | None) -> Tensor:
    """Values that the heads read, side by side: (..., S, heads * HEAD).

    Args:
        queries: of the last S of J steps, (..., S, heads * HEAD).
        known: keys and values of the J steps, (..., J, 2 * HEAD).
        mask: (S, J), true where a step is read; None: all are.
    """
    lead, S, J = queries.shape[:-2], queries.shape[-2], known.shape[-2]
    queries = queries.reshape(-1, S, queries.shape[-1] // HEAD, HEAD).transpose(1, 2)
    keys, values = known.reshape(-1, 1, J, 2 * HEAD).chunk(2, dim=-1)
    shape = (-1, queries.shape[1], -1, -1)
    read = scaled_dot_product_attention(
        _rotated(queries, J - S), _rotated(keys, 0).expand(shape), values.expand(shape), mask
    )
    return read.transpose(1, 2).reshape(*lead, S, -1)


def _rotated(vectors: Tensor, first: int) -> Tensor:
    """Vectors (..., S, HEAD) turned by angles in proportion to their place, from `first` on."""
    like = {"dtype": vectors.dtype, "device": vectors.device}
    speeds = 10_000 ** -torch.linspace(0, 1, HEAD // 2 + 1, **like)[:-1]
    places = torch.arange(first, first + vectors.shape[-2], **like)
    angles = places.unsqueeze(-1) * speeds
    one, other = vectors.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([one * cos - other * sin, one * sin + other * cos], dim=-1)
