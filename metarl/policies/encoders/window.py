"""A window of temporal convolutions, as in RMA (Kumar et al. 2021, arXiv:2107.04034).

With W = 48 the kernels are RMA's: 8 with stride 4, 5 and 5. RMA keeps 50 steps and, as its kernels
start at the oldest, never reads the last two; ours end at the present.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import conv1d, elu

from metarl.policies.belief import Belief
from metarl.policies.encoders.base import PREFIX, Encoder, linear, xavier
from metarl.policies.params import Params

SHORTEST = 11
"""Least W: the first convolution has eleven outputs, from which two of kernel 5 make three."""
KERNEL = 5
TAPS = 3
"""Outputs of the last convolution, which the summary is a linear map of."""
INPUT, SUMMARY = PREFIX + "input", PREFIX + "summary"
STATE = "window"


def _convolution(layer: int) -> str:
    return f"{PREFIX}convolution_{layer}"


@dataclass(frozen=True)
class Window(Encoder):
    """Three convolutions over the last W steps, of half the summary's size; zeros at first."""

    @property
    def _channels(self) -> int:
        return max(1, self.size // 2)

    @property
    def _stride(self) -> int:
        return max(1, self.length // 12)

    @property
    def _kernels(self) -> tuple[int, int, int]:
        """Kernels that read all W steps."""
        return self.length - (SHORTEST - 1) * self._stride, KERNEL, KERNEL

    def init(self, generator: Generator) -> Params:
        """Xavier-uniform weights, zero biases."""
        C = self._channels
        params = xavier(INPUT, self.inputs, (C,), generator)
        for layer, kernel in enumerate(self._kernels):
            bound = math.sqrt(6 / (2 * C * kernel))
            name = _convolution(layer)
            params[name] = (2 * torch.rand(C, C, kernel, generator=generator) - 1) * bound
            params[f"{name}_bias"] = torch.zeros(C)
        return params | xavier(SUMMARY, TAPS * C, (self.size,), generator)

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        """The last W - 1 steps as they enter the convolutions, the oldest first."""
        weight = params[INPUT]
        shape = (*weight.shape[:-2], num_worlds, self.length - 1, self._channels)
        return {STATE: weight.new_zeros(shape)}

    def step(
        self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor
    ) -> tuple[Tensor, Belief]:
        read = linear(params, INPUT, inputs).unsqueeze(-2)
        window = torch.cat([state[STATE], read], dim=-2)
        strides, dilations = (self._stride, 1, 1), (1, 1, 1)
        taps = self._convolved(params, window, strides, dilations)  # (M, E, TAPS, C)
        return linear(params, SUMMARY, taps.flatten(-2)), {STATE: window[..., 1:, :]}

    def scan(self, params: Mapping[str, Tensor], state: Belief, inputs: Tensor) -> Tensor:
        """As in `Encoder`: strides of one window become gaps in kernels that slide over all."""
        steps, s = inputs.shape[-3:-1], self._stride
        read = linear(params, INPUT, inputs.flatten(-3, -2)).unflatten(-2, steps)
        window = torch.cat([state[STATE], read], dim=-2)
        found = self._convolved(params, window, (1, 1, 1), (1, s, s))  # (M, E, L + 2s, C)
        L = steps[1]
        taps = torch.cat([found[..., i * s : i * s + L, :] for i in range(TAPS)], dim=-1)
        return linear(params, SUMMARY, taps.flatten(-3, -2)).unflatten(-2, steps)

    def _convolved(
        self,
        params: Mapping[str, Tensor],
        window: Tensor,
        strides: tuple[int, ...],
        dilations: tuple[int, ...],
    ) -> Tensor:
        """Convolutions over time, each with a nonlinearity: (M, E, S, C) -> (M, E, S', C)."""
        policies, C = window.shape[:-3], self._channels
        x = window.movedim(-3, 0).mT.flatten(1, -2)  # (E, M * C, S)
        for layer, (stride, dilation) in enumerate(zip(strides, dilations, strict=True)):
            name = _convolution(layer)
            weight = params[name].reshape(-1, C, params[name].shape[-1])
            bias = params[f"{name}_bias"].reshape(-1)
            x = elu(conv1d(x, weight, bias, stride, 0, dilation, policies.numel()))
        return x.unflatten(1, (*policies, C)).mT.movedim(0, -3)
