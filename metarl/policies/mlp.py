"""Gaussian policies as pure functions of a parameter dict."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from metarl.policies.gaussian import Gaussian
from metarl.policies.params import Params
from metarl_envs import TaskFamily
from metarl_envs.inputs.numbers import Count, Natural, Positive
from metarl_envs.inputs.plain import PlainFields

VAR_FLOOR = 1e-8
"""Added to the variance of observations, so that a constant one is no division by 0."""
CLIP_OBSERVATIONS = 10.0
"""Standardised observations beyond it are cut off."""


# These are made once and read at every step: copying them to a GPU each time would wait for the
# GPU, and a recorded step goes on reading them where they are.
@functools.cache
def _action_range(
    low: tuple[float, ...],
    high: tuple[float, ...],
    middle: tuple[float, ...] | None,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Middle of the actions and the largest distance from it, each (A,)."""
    lows, highs = torch.tensor(low), torch.tensor(high)
    if middle is None:
        return (0.5 * (highs + lows)).to(device, dtype), (0.5 * (highs - lows)).to(device, dtype)
    middles = torch.tensor(middle)
    half = torch.maximum(highs - middles, middles - lows)
    return middles.to(device, dtype), half.to(device, dtype)


@functools.cache
def _bounds(
    low: tuple[float, ...], high: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The same numbers as tensors, each (A,)."""
    return torch.tensor(low).to(device, dtype), torch.tensor(high).to(device, dtype)


@dataclass(frozen=True)
class PolicyConfig(PlainFields):
    """Shape and scales of a Gaussian MLP policy."""

    hidden_sizes: tuple[Count, ...] = (64, 64)
    """Units of each hidden layer."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Nonlinearity between layers."""
    init_std: Positive = 1.0
    """Initial standard deviation of the policy's output, > 0. Sizes of inner steps are meant for 1:
    for wider exploration make `action_scale` smaller."""
    min_std: Positive = 1e-6
    """Floor of the standard deviation."""
    action_scale: Positive = 10.0
    """Policy output that means full actuator range: the farther of its bounds, seen from the output
    0. 10 is the literature's (ProMP, pytorch-maml-rl, garage): initial exploration then covers a
    tenth of the range."""
    normalize_observations: bool = False
    """Standardise observations by running statistics kept inside the policy."""
    context_size: Natural = 0
    """Context parameters: inputs of the first layer beside the observation, zero at the start of
    every task, for adaptations that change only them (CAVIA). >= 0."""


@dataclass(frozen=True)
class GaussianMlpPolicy(PlainFields):
    """N(mean(observation), std^2) with an MLP mean and a state-independent, learned std.

    Every method is a pure function. Parameters are a dict; with a leading axis M on every tensor
    the same functions act for M different policies at once.
    """

    config: PolicyConfig
    observation_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    control_limits: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Low and high bounds within the actuator range that no control leaves, where a robot must not
    use all of it. What an output means does not change: controls are cut, not scaled."""
    action_middle: tuple[float, ...] | None = None
    """Control that an output of 0 means, such as what holds the robot in its starting pose; None:
    the middle between low and high."""

    @staticmethod
    def for_family(family: TaskFamily, config: PolicyConfig) -> GaussianMlpPolicy:
        """The policy that fits the family's spaces."""
        low, high = family.action_bounds()
        return GaussianMlpPolicy(
            config,
            family.observation_size,
            tuple(low.tolist()),
            tuple(high.tolist()),
            action_middle=family.action_middle(),
        )

    @property
    def action_size(self) -> int:
        """A."""
        return len(self.action_low)

    @property
    def num_layers(self) -> int:
        """Linear layers, the last one included."""
        return len(self.config.hidden_sizes) + 1

    def init(self, generator: Generator) -> Params:
        """Fresh float32 parameters: Xavier-uniform weights, zero biases."""
        sizes = (self.observation_size, *self.config.hidden_sizes, self.action_size)
        params: Params = {}
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            bound = math.sqrt(6 / (fan_in + fan_out))
            uniform = torch.rand((fan_in, fan_out), generator=generator)
            params[f"weight_{i}"] = (2 * uniform - 1) * bound
            params[f"bias_{i}"] = torch.zeros(fan_out)
        params["log_std"] = torch.full((self.action_size,), math.log(self.config.init_std))
        if context := self.config.context_size:
            bound = math.sqrt(6 / (context + sizes[1]))
            uniform = torch.rand((context, sizes[1]), generator=generator)
            params["weight_context"] = (2 * uniform - 1) * bound
            params["task.context"] = torch.zeros(context)
        if self.config.normalize_observations:
            params["obs_mean"] = torch.zeros(self.observation_size)
            params["obs_var"] = torch.ones(self.observation_size)
            params["obs_count"] = torch.zeros(1)
        return params

    def distribution(self, params: Mapping[str, Tensor], observations: Tensor) -> Gaussian:
        """Output distribution: (..., S, O) -> mean (..., S, A), log_std (..., 1, A).

        Leading axes of parameters and observations agree: none for one policy, M for M policies.
        """
        return Gaussian(self.mean(params, observations), self.log_std(params))

    def log_std(self, params: Mapping[str, Tensor]) -> Tensor:
        """Logarithm of the standard deviation, floored: (..., 1, A)."""
        return params["log_std"].clamp(min=math.log(self.config.min_std)).unsqueeze(-2)

    def mean(self, params: Mapping[str, Tensor], observations: Tensor) -> Tensor:
        """Mean output: (..., S, O) -> (..., S, A)."""
        hidden = observations
        if self.config.normalize_observations:
            std = (params["obs_var"] + VAR_FLOOR).sqrt().unsqueeze(-2)
            hidden = (hidden - params["obs_mean"].unsqueeze(-2)) / std
            hidden = hidden.clamp(-CLIP_OBSERVATIONS, CLIP_OBSERVATIONS)
        activation = torch.tanh if self.config.activation == "tanh" else torch.relu
        for i in range(self.num_layers):
            bias = params[f"bias_{i}"].unsqueeze(-2)
            if i == 0 and self.config.context_size:
                bias = bias + params["task.context"].unsqueeze(-2) @ params["weight_context"]
            hidden = hidden @ params[f"weight_{i}"] + bias
            if i < self.num_layers - 1:
                hidden = activation(hidden)
        return hidden

    def action_range(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """(middle, half), each (A,): an output means middle + half * output / action_scale.

        Where the middle is not that of the range, half is the distance to the farther bound. One
        scale for both sides keeps exploration symmetric around the middle, and the map linear, so
        that a Gaussian output stays Gaussian until the bounds cut it.

        Args:
            like: has the dtype and device that the tensors get.
        """
        return _action_range(
            self.action_low, self.action_high, self.action_middle, like.dtype, like.device
        )

    def controls(self, outputs: Tensor) -> Tensor:
        """Outputs (..., A) -> actuator controls: scaled, then clipped to range and limits."""
        middle, half = self.action_range(outputs)
        controls = middle + half * (outputs / self.config.action_scale).clamp(-1, 1)
        if self.control_limits is None and self.action_middle is None:
            return controls
        limits = self.control_limits or (self.action_low, self.action_high)
        lows, highs = _bounds(*limits, outputs.dtype, outputs.device)
        return controls.clamp(lows, highs)

    def outputs(self, controls: Tensor) -> Tensor:
        """Controls (..., A) -> the outputs behind them, where they were not clipped."""
        middle, half = self.action_range(controls)
        return (controls - middle) / half * self.config.action_scale

    def output_bounds(self) -> tuple[Tensor, Tensor]:
        """The outputs beyond which controls are clipped, each (A,) float64."""
        lows, highs = self.control_limits or (self.action_low, self.action_high)
        low, high = _bounds(lows, highs, torch.float64, torch.device("cpu"))
        return self.outputs(low), self.outputs(high)

    def update_statistics(
        self, params: Mapping[str, Tensor], observations: Tensor, valid: Tensor
    ) -> Params:
        """Fold observations (..., O) with `valid` (...) into the normaliser (Chan et al. 1979)."""
        if not self.config.normalize_observations:
            return dict(params)
        seen = observations[valid].double()
        count, new = params["obs_count"].double(), float(len(seen))
        total = count + new
        delta = seen.mean(0) - params["obs_mean"].double()
        mean = params["obs_mean"].double() + delta * new / total
        within = params["obs_var"].double() * count + seen.var(0, unbiased=False) * new
        var = (within + delta.square() * count * new / total) / total
        fresh = {"obs_mean": mean, "obs_var": var, "obs_count": total}
        return dict(params) | {k: v.to(params[k].dtype) for k, v in fresh.items()}


def folded_context(params: Mapping[str, Tensor]) -> Params:
    """One policy that acts the same with its context at zero: the first bias takes its effect."""
    if (context := params.get("task.context")) is None:
        return dict(params)
    bias = params["bias_0"] + context @ params["weight_context"]
    return dict(params) | {"bias_0": bias, "task.context": torch.zeros_like(context)}
