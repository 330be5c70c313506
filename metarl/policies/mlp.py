"""Feed-forward Gaussian policies: a multilayer perceptron without a belief."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

from metarl.policies.base import Policy, PolicyConfig
from metarl.policies.belief import Belief, Episodes
from metarl.policies.gaussian import Gaussian
from metarl.policies.graph import Graph, add_layers, add_standardised
from metarl.policies.normaliser import Statistics
from metarl.policies.params import Params
from metarl_envs import InputError
from metarl_envs.inputs.numbers import Count, Natural

Activation = Literal["tanh", "relu"]
CONTEXT = "task.context"


@dataclass(frozen=True)
class MlpConfig(PolicyConfig):
    """Shape and scales of a Gaussian MLP policy."""

    hidden_sizes: tuple[Count, ...] = (64, 64)
    """Units of each hidden layer."""
    activation: Activation = "tanh"
    """Nonlinearity between layers."""
    context_size: Natural = 0
    """Context parameters: inputs of the first layer beside the observation, zero at the start of
    every task, for adaptations that change only them (CAVIA). >= 0."""

    start_only: ClassVar[tuple[str, ...]] = (*PolicyConfig.start_only, "context_size")

    def policy_type(self) -> type[Policy]:
        return GaussianMlpPolicy


@dataclass(frozen=True)
class GaussianMlpPolicy(Policy):
    """N(mean(observation), std^2) with an MLP mean and a state-independent, learned std."""

    config: MlpConfig

    def init(self, generator: Generator) -> Params:
        """Xavier-uniform weights, zero biases."""
        sizes = (self.observation_size, *self.config.hidden_sizes, self.action_size)
        params = init_layers(sizes, generator) | self.initial_noise()
        if context := self.config.context_size:
            params["weight_context"] = xavier_uniform(context, sizes[1], generator)
            params[CONTEXT] = torch.zeros(context)
        return params | self.initial_statistics()

    def act(
        self, params: Mapping[str, Tensor], belief: Belief, observations: Tensor
    ) -> tuple[Gaussian, Belief]:
        return Gaussian(self.mean(params, observations), self.log_std(params)), belief

    def distribution(
        self,
        params: Mapping[str, Tensor],
        episodes: Episodes,
    ) -> Gaussian:
        """As in `Policy`, by one product for all steps of a task."""
        observations = episodes.observations.flatten(1, 2)
        mean = self.mean(params, observations).unflatten(1, episodes.valid.shape[1:])
        return Gaussian(mean, self.log_std(params).unsqueeze(1))

    def mean(self, params: Mapping[str, Tensor], observations: Tensor) -> Tensor:
        """Mean output: (..., S, O) -> (..., S, A)."""
        inputs = self.standardised(params, observations)
        bias = None
        if self.config.context_size:
            bias = params[CONTEXT].unsqueeze(-2) @ params["weight_context"]
        return forward(params, inputs, self.config.activation, bias)

    def folded(self, params: Mapping[str, Tensor]) -> Params:
        """The first bias takes the effect of the context."""
        if not self.config.context_size:
            return dict(params)
        bias = params["bias_0"] + params[CONTEXT] @ params["weight_context"]
        return dict(params) | {"bias_0": bias, CONTEXT: torch.zeros_like(params[CONTEXT])}

    def add_mean(self, params: Mapping[str, Tensor], graph: Graph, observations: str) -> str:
        params = self.folded(params)
        value = add_standardised(graph, observations, self.statistics(params))
        return add_layers(graph, value, params, self.config.activation)

    def layers(self, params: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Weight (in, out) and bias (out,) of each linear layer, the last one included."""
        count = len(self.config.hidden_sizes) + 1
        return [(params[f"weight_{i}"], params[f"bias_{i}"]) for i in range(count)]


def as_mlp(policy: Policy) -> GaussianMlpPolicy:
    """The policy, for what only a feed-forward one has.

    Raises:
        InputError: for another kind.
    """
    if not isinstance(policy, GaussianMlpPolicy):
        raise InputError(
            f"policy of type {type(policy).__name__}: Stable-Baselines3's MlpPolicy is a network "
            "without a memory; use a policy of kind mlp"
        )
    return policy


def of_layers(
    layers: Sequence[tuple[Tensor, Tensor]], log_std: Tensor, statistics: Statistics | None
) -> Params:
    """Parameters with these linear layers, the inverse of `GaussianMlpPolicy.layers`: copies."""
    params: Params = {}
    for i, (weight, bias) in enumerate(layers):
        params |= {f"weight_{i}": weight, f"bias_{i}": bias}
    params |= {"log_std": log_std} | (statistics.entries() if statistics else {})
    return {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in params.items()
    }


def init_layers(sizes: Sequence[int], generator: Generator, *, last: float = 1.0) -> Params:
    """Xavier-uniform weights (in, out) and zero biases of linear layers between these sizes.

    Those of the last layer are `last` times as large.
    """
    params: Params = {}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        params[f"weight_{i}"] = xavier_uniform(fan_in, fan_out, generator)
        params[f"bias_{i}"] = torch.zeros(fan_out)
    params[f"weight_{len(sizes) - 2}"] *= last
    return params


def forward(
    params: Mapping[str, Tensor],
    inputs: Tensor,
    activation: Activation,
    added: Tensor | None = None,
) -> Tensor:
    """All linear layers with the activation between them: (..., S, in) -> (..., S, out).

    Args:
        params: with the entries of `init_layers`, (..., in, out) and (..., out).
        inputs: of the first layer.
        activation: between layers.
        added: to the first bias, (..., 1, out); None: nothing.
    """
    nonlinear = torch.tanh if activation == "tanh" else torch.relu
    hidden, i = inputs, 0
    while f"weight_{i}" in params:
        if i > 0:
            hidden = nonlinear(hidden)
        bias = params[f"bias_{i}"].unsqueeze(-2)
        if i == 0 and added is not None:
            bias = bias + added
        hidden, i = hidden @ params[f"weight_{i}"] + bias, i + 1
    return hidden


def xavier_uniform(fan_in: int, fan_out: int, generator: Generator) -> Tensor:
    """Weights of a linear map, (fan_in, fan_out) (Glorot & Bengio 2010)."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    return (2 * torch.rand((fan_in, fan_out), generator=generator) - 1) * bound
