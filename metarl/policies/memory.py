"""Gaussian policies with a memory: a sequence encoder over all steps of a trial.

At every step the encoder reads the observation, the last action, the last reward and a flag at the
first step of an episode; the head reads the observation and the encoder's summary. So the last
reward of an episode, and its end, reach the memory before the next episode's first action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from metarl.policies.base import Policy, PolicyConfig
from metarl.policies.belief import Belief, Episodes, Outcome
from metarl.policies.encoders import ENCODERS
from metarl.policies.encoders.base import Encoder
from metarl.policies.encoders.window import SHORTEST
from metarl.policies.gaussian import Gaussian
from metarl.policies.graph import (
    Graph,
    GraphStart,
    GraphStep,
    add_layers,
    add_linear,
    add_standardised,
)
from metarl.policies.mlp import (
    Activation,
    forward,
    init_layers,
)
from metarl.policies.params import Params
from metarl_envs import InputError
from metarl_envs.inputs.numbers import Count, Natural

PREVIOUS = "previous"
"""Entry of a belief, (M, E, A + 2): last action, last reward, 1 before an episode begins."""
EMBED, EMBED_BIAS = "embed", "embed_bias"
LATENT, LATENT_BIAS = "latent", "latent_bias"


@dataclass(frozen=True)
class MemoryConfig(PolicyConfig):
    """Shape and scales of a Gaussian policy with a memory."""

    encoder: Literal["gru", "lstm", "scan", "transformer", "window"] = "gru"
    """Sequence encoder."""
    memory_size: Count = 64
    """Units of the memory."""
    memory_length: Count = 48
    """Steps that the memory looks back: all of a window, and each of a Transformer's two layers.
    The other encoders have no such end and ignore it."""
    hidden_sizes: tuple[Count, ...] = (64,)
    """Units of each hidden layer of the head."""
    activation: Activation = "tanh"
    """Nonlinearity between layers."""
    observe_reward: bool = True
    """Read the last reward. Off: a robot at work needs none; the task then has to show in its
    motion."""
    latent_size: Natural = 0
    """Units of a bottleneck between memory and head, for a latent that a teacher gives; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder == "window" and self.memory_length < SHORTEST:
            raise InputError(
                f"memory_length = {self.memory_length}: a window must have at least {SHORTEST} "
                "steps, which its three convolutions read"
            )

    def policy_type(self) -> type[Policy]:
        return MemoryPolicy


@dataclass(frozen=True)
class TrialMemory:
    """A sequence encoder with what it reads: frozen sizes, without tensors.

    Standardised observations and what came before them are embedded in as many numbers as the
    memory has units.
    """

    encoder: Encoder
    observation_size: int
    action_size: int

    def init(self, generator: Generator) -> Params:
        """Xavier-uniform weights, zero biases, and the encoder's own."""
        sizes = (self.observation_size + self.action_size + 2, self.encoder.inputs)
        embed = init_layers(sizes, generator)
        params = {EMBED: embed["weight_0"], EMBED_BIAS: embed["bias_0"]}
        return params | self.encoder.init(generator)

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        """The belief at the start of a trial, each (M, E, ...)."""
        policies = params[EMBED].shape[:-2]
        previous = params[EMBED].new_zeros(*policies, num_worlds, self.action_size + 2)
        previous[..., -1] = 1
        return self.encoder.begin(params, num_worlds) | {PREVIOUS: previous}

    def step(
        self, params: Mapping[str, Tensor], belief: Belief, standard: Tensor
    ) -> tuple[Tensor, Belief]:
        """Summary (M, E, H) that includes standardised observations (M, E, O); the new belief."""
        inputs = self._inputs(params, standard, belief[PREVIOUS])
        summary, state = self.encoder.step(params, belief, inputs)
        return summary, belief | state

    def summaries(
        self,
        params: Mapping[str, Tensor],
        begun: Belief,
        standard: Tensor,
        previous: Tensor,
        valid: Tensor,
    ) -> Tensor:
        """The summary at every step of a trial: (M, E, L, H); finite padding at invalid steps.

        Args:
            params: (M, ...).
            begun: the belief before the first step.
            standard: standardised observations, (M, E, L, O).
            previous: every step as the next one reads it, (M, E, L, A + 2).
            valid: (M, E, L).
        """
        # Valid steps side by side: what pads an episode never reaches the memory.
        order = _valid_first(valid)
        before = _at(previous, order)[..., :-1, :]
        before = torch.cat([begun[PREVIOUS].unsqueeze(-2), before], dim=-2)
        inputs = self._inputs(
            params, _at(standard, order).flatten(-3, -2), before.flatten(-3, -2)
        ).unflatten(-2, valid.shape[-2:])
        summaries = self.encoder.scan(params, begun, inputs)
        return _at(summaries, None if order is None else torch.argsort(order, dim=-1))

    def _inputs(self, params: Mapping[str, Tensor], standard: Tensor, previous: Tensor) -> Tensor:
        """Inputs of the encoder: (..., S, O), (..., S, A + 2) -> (..., S, H)."""
        read = torch.cat([standard, previous], dim=-1)
        return torch.nn.functional.elu(read @ params[EMBED] + params[EMBED_BIAS].unsqueeze(-2))


@dataclass(frozen=True)
class MemoryPolicy(Policy):
    """N(mean(observation, summary of the trial), std^2)."""

    config: MemoryConfig

    @property
    def memory(self) -> TrialMemory:
        """The sequence encoder with its inputs."""
        config = self.config
        encoder = ENCODERS[config.encoder](
            config.memory_size, config.memory_size, config.memory_length
        )
        return TrialMemory(encoder, self.observation_size, self.action_size)

    def init(self, generator: Generator) -> Params:
        """Xavier-uniform weights, zero biases, and the encoder's own."""
        config, params = self.config, self.memory.init(generator)
        if config.latent_size:
            latent = init_layers((config.memory_size, config.latent_size), generator)
            params |= {LATENT: latent["weight_0"], LATENT_BIAS: latent["bias_0"]}
        read = self.observation_size + (config.latent_size or config.memory_size)
        params |= init_layers((read, *config.hidden_sizes, self.action_size), generator)
        return params | self.initial_noise() | self.initial_statistics()

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        return self.memory.begin(params, num_worlds)

    def act(
        self, params: Mapping[str, Tensor], belief: Belief, observations: Tensor
    ) -> tuple[Gaussian, Belief]:
        standard = self.standardised(params, observations)
        summary, belief = self.memory.step(params, belief, standard)
        mean = self.mean(params, standard, self.latent(params, summary))
        return Gaussian(mean, self.log_std(params)), belief

    def observe(self, params: Mapping[str, Tensor], belief: Belief, outcome: Outcome) -> Belief:
        del params
        ended = outcome.terminated | outcome.truncated
        return belief | {PREVIOUS: self._previous(outcome.actions, outcome.rewards, ended)}

    @property
    def reads_rewards(self) -> bool:
        return self.config.observe_reward

    def distribution(self, params: Mapping[str, Tensor], episodes: Episodes) -> Gaussian:
        """As in `Policy`, by one scan of the encoder."""
        return self.scan(params, episodes)[0]

    def scan(self, params: Mapping[str, Tensor], episodes: Episodes) -> tuple[Gaussian, Tensor]:
        steps = episodes.valid.shape[-2:]
        summaries = self.summaries(params, episodes)
        standard = self.standardised(params, episodes.observations.flatten(-3, -2))
        mean = self.mean(params, standard, self.latent(params, summaries.flatten(-3, -2)))
        return Gaussian(mean.unflatten(-2, steps), self.log_std(params).unsqueeze(-2)), summaries

    def summaries(self, params: Mapping[str, Tensor], episodes: Episodes) -> Tensor:
        """The summary of the trial at every step of consecutive episodes: (M, E, L, H)."""
        standard = self.standardised(params, episodes.observations.flatten(-3, -2))
        return self.memory.summaries(
            params,
            episodes.start or self.begin(params, episodes.valid.shape[-2]),
            standard.unflatten(-2, episodes.valid.shape[-2:]),
            self.previous(episodes),
            episodes.valid,
        )

    def previous(self, episodes: Episodes) -> Tensor:
        """Every step as the next one reads it: (M, E, L, A + 2)."""
        ended = episodes.terminated | episodes.truncated
        return self._previous(self.sent(episodes.actions), episodes.rewards, ended)

    def add_step(
        self, params: Mapping[str, Tensor], graph: Graph, step: GraphStep
    ) -> tuple[str, dict[str, str]]:
        then = graph.then
        standard = add_standardised(graph, step.observation, self.statistics(params))
        if self.config.observe_reward:
            size = then("Add", then("Abs", step.reward), graph.constant("one_more", 1.0))
            reward = then("Mul", then("Sign", step.reward), then("Log", size))
        else:
            reward = then("Mul", step.episode_end, graph.constant("unread", 0.0))
        read = then("Concat", standard, step.action, reward, step.episode_end, axis=1)
        inputs = then("Elu", add_linear(graph, read, params, EMBED, EMBED_BIAS))
        summary, memory = self.memory.encoder.add_step(params, graph, step.memory, inputs)
        if self.config.latent_size:
            summary = add_linear(graph, summary, params, LATENT, LATENT_BIAS)
        value = then("Concat", standard, summary, axis=1)
        return add_layers(graph, value, params, self.config.activation), memory

    def graph_start(self, belief: Belief) -> GraphStart:
        action, reward, ended = belief[PREVIOUS].split([self.action_size, 1, 1], dim=-1)
        memory = {name: value for name, value in belief.items() if name != PREVIOUS}
        return GraphStart(action, reward.sign() * reward.abs().expm1(), ended, memory)

    def latent(self, params: Mapping[str, Tensor], summaries: Tensor) -> Tensor:
        """The part of the summary that the head reads: (..., S, H) -> (..., S, Z)."""
        if not self.config.latent_size:
            return summaries
        return summaries @ params[LATENT] + params[LATENT_BIAS].unsqueeze(-2)

    def mean(self, params: Mapping[str, Tensor], standard: Tensor, latents: Tensor) -> Tensor:
        """Mean output from standardised observations (..., S, O) and latents (..., S, Z)."""
        return forward(params, torch.cat([standard, latents], dim=-1), self.config.activation)

    def _previous(self, sent: Tensor, rewards: Tensor, ended: Tensor) -> Tensor:
        """A step as the next one reads it: (..., A), (...), (...) -> (..., A + 2)."""
        # The logarithm keeps rewards of any scale in range, and their sign.
        reward = rewards.sign() * rewards.abs().log1p()
        if not self.config.observe_reward:
            reward = torch.zeros_like(reward)
        flags = torch.stack([reward, ended.to(reward.dtype)], dim=-1)
        return torch.cat([sent / self.config.action_scale, flags], dim=-1)


def _valid_first(valid: Tensor) -> Tensor | None:
    """The order in which valid steps come first, (M, E, L); None if they do as it is.

    On a GPU, where the question would be a wait, it is always an order.
    """
    if valid.device.type == "cpu" and bool(valid.all()):
        return None
    return torch.argsort((~valid).to(torch.uint8), dim=-1, stable=True)


def _at(values: Tensor, order: Tensor | None) -> Tensor:
    """Steps in another order: (M, E, L, X), (M, E, L) -> (M, E, L, X)."""
    if order is None:
        return values
    return values.gather(-2, order.unsqueeze(-1).expand_as(values))
