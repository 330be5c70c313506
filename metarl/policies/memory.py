"""Gaussian policies with a memory: a sequence encoder over all steps of a trial.

At every step the encoder reads the observation, the last action, the last reward and a flag at the
first step of an episode; the head reads the encoder's summary and the observation. So the last
reward of an episode, and its end, reach the memory before the next episode's first action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

from metarl.policies.base import Policy, PolicyConfig
from metarl.policies.belief import Belief, Episodes, Outcome
from metarl.policies.encoders import ENCODERS
from metarl.policies.encoders.base import Encoder
from metarl.policies.gaussian import Gaussian
from metarl.policies.mlp import Activation, forward, init_layers
from metarl.policies.params import Params
from metarl_envs.inputs.numbers import Count, Natural

PREVIOUS = "previous"
"""Entry of a belief, (M, E, A + 2): last action, last reward, 1 before an episode begins."""
EMBED, EMBED_BIAS = "embed", "embed_bias"
LATENT, LATENT_BIAS = "latent", "latent_bias"


@dataclass(frozen=True)
class MemoryConfig(PolicyConfig):
    """Shape and scales of a Gaussian policy with a memory."""

    encoder: Literal["gru"] = "gru"
    """Sequence encoder."""
    memory_size: Count = 64
    """Units of the memory."""
    hidden_sizes: tuple[Count, ...] = (64,)
    """Units of each hidden layer of the head."""
    activation: Activation = "tanh"
    """Nonlinearity between layers."""
    observe_reward: bool = True
    """Read the last reward. Off: a robot at work needs none; the task then has to show in its
    motion."""
    latent_size: Natural = 0
    """Units of a bottleneck between memory and head, for a latent that a teacher gives; 0: none."""

    start_only: ClassVar[tuple[str, ...]] = PolicyConfig.start_only

    def policy_type(self) -> type[Policy]:
        return MemoryPolicy


@dataclass(frozen=True)
class MemoryPolicy(Policy):
    """N(mean(summary of the trial, observation), std^2)."""

    config: MemoryConfig

    @property
    def encoder(self) -> Encoder:
        """The sequence encoder; it reads as many inputs as it has units."""
        size = self.config.memory_size
        return ENCODERS[self.config.encoder](size, size)

    def init(self, generator: Generator) -> Params:
        """Xavier-uniform weights, zero biases, and the encoder's own."""
        config = self.config
        inputs = self.observation_size + self.action_size + 2
        embed = init_layers((inputs, config.memory_size), generator)
        params = {EMBED: embed["weight_0"], EMBED_BIAS: embed["bias_0"]}
        params |= self.encoder.init(generator)
        summary = config.memory_size
        if config.latent_size:
            latent = init_layers((summary, config.latent_size), generator)
            params |= {LATENT: latent["weight_0"], LATENT_BIAS: latent["bias_0"]}
            summary = config.latent_size
        sizes = (summary + self.observation_size, *config.hidden_sizes, self.action_size)
        params |= init_layers(sizes, generator)
        return params | self.initial_noise() | self.initial_statistics()

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        tasks = params[EMBED].shape[:-2]
        previous = params[EMBED].new_zeros(*tasks, num_worlds, self.action_size + 2)
        previous[..., -1] = 1
        return self.encoder.begin(params, num_worlds) | {PREVIOUS: previous}

    def act(
        self, params: Mapping[str, Tensor], belief: Belief, observations: Tensor
    ) -> tuple[Gaussian, Belief]:
        standard = self.standardised(params, observations)
        inputs = self._inputs(params, standard, belief[PREVIOUS])
        summary, state = self.encoder.step(params, belief, inputs)
        mean = self.mean_of(params, self.latent(params, summary), standard)
        return Gaussian(mean, self.log_std(params)), belief | state

    def observe(self, params: Mapping[str, Tensor], belief: Belief, outcome: Outcome) -> Belief:
        del params
        ended = (outcome.terminated | outcome.truncated).to(outcome.actions.dtype)
        return belief | {PREVIOUS: self._previous(outcome.actions, outcome.rewards, ended)}

    @property
    def reads_rewards(self) -> bool:
        return self.config.observe_reward

    def distribution(self, params: Mapping[str, Tensor], episodes: Episodes) -> Gaussian:
        """As in `Policy`, by one scan of the encoder."""
        standard = self.standard_observations(params, episodes)
        latents = self.latent(params, self.summaries(params, episodes, standard))
        mean = self.mean_of(params, latents.flatten(-3, -2), standard.flatten(-3, -2))
        return Gaussian(
            mean.unflatten(-2, latents.shape[-3:-1]), self.log_std(params).unsqueeze(-2)
        )

    def standard_observations(self, params: Mapping[str, Tensor], episodes: Episodes) -> Tensor:
        """Observations as the network reads them: (M, E, L, O)."""
        flat = self.standardised(params, episodes.observations.flatten(-3, -2))
        return flat.unflatten(-2, episodes.valid.shape[-2:])

    def summaries(
        self, params: Mapping[str, Tensor], episodes: Episodes, standard: Tensor
    ) -> Tensor:
        """The encoder's summary at every step: (M, E, L, H); finite padding at invalid steps.

        Args:
            params: (M, ...).
            episodes: of a trial in order, from the belief that they started from.
            standard: their `standard_observations`.
        """
        begun = episodes.start or self.begin(params, episodes.valid.shape[-2])
        # Valid steps side by side: what pads an episode never reaches the memory.
        order = torch.argsort((~episodes.valid).to(torch.uint8), dim=-1, stable=True)
        ended = (episodes.terminated | episodes.truncated).to(standard.dtype)
        previous = self._previous(self.sent(episodes.actions), episodes.rewards, ended)
        previous = torch.cat(
            [begun[PREVIOUS].unsqueeze(-2), _at(previous, order)[..., :-1, :]], dim=-2
        )
        standard = _at(standard, order)
        inputs = self._inputs(params, standard.flatten(-3, -2), previous.flatten(-3, -2))
        summaries = self.encoder.scan(params, begun, inputs.unflatten(-2, order.shape[-2:]))
        return _at(summaries, torch.argsort(order, dim=-1))

    def latent(self, params: Mapping[str, Tensor], summaries: Tensor) -> Tensor:
        """The part of the summary (..., S, H) that the head reads: (..., S, Z)."""
        if not self.config.latent_size:
            return summaries
        weight, bias = params[LATENT], params[LATENT_BIAS].unsqueeze(-2)
        if summaries.dim() > weight.dim():  # steps of episodes
            weight, bias = weight.unsqueeze(-3), bias.unsqueeze(-3)
        return summaries @ weight + bias

    def mean_of(self, params: Mapping[str, Tensor], latents: Tensor, standard: Tensor) -> Tensor:
        """Mean output from latents (..., S, Z) and standardised observations (..., S, O)."""
        return forward(params, torch.cat([latents, standard], dim=-1), self.config.activation)

    def _inputs(self, params: Mapping[str, Tensor], standard: Tensor, previous: Tensor) -> Tensor:
        """Inputs of the encoder: (..., S, O), (..., S, A + 2) -> (..., S, H)."""
        read = torch.cat([standard, previous], dim=-1)
        return torch.nn.functional.elu(read @ params[EMBED] + params[EMBED_BIAS].unsqueeze(-2))

    def _previous(self, sent: Tensor, rewards: Tensor, ended: Tensor) -> Tensor:
        """A step as the next one reads it: (..., A), (...), (...) -> (..., A + 2)."""
        # The logarithm keeps rewards of any scale in range, and their sign.
        reward = rewards.sign() * rewards.abs().log1p()
        if not self.config.observe_reward:
            reward = torch.zeros_like(reward)
        scaled = sent / self.config.action_scale
        return torch.cat([scaled, reward.unsqueeze(-1), ended.unsqueeze(-1)], dim=-1)


def _at(values: Tensor, order: Tensor) -> Tensor:
    """Steps in another order: (M, E, L, X), (M, E, L) -> (M, E, L, X)."""
    return values.gather(-2, order.unsqueeze(-1).expand_as(values))
