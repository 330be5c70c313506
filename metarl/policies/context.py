"""Policies with a probabilistic context: a latent z that all transitions of a trial speak for.

The belief is the posterior of z (`metarl.policies.set_encoders`), updated after every step, so that
the policy adapts within an episode. Deployed, it acts by the posterior's mean, before the first
transition the prior's. A learner that explores lets every trial begin with another `OFFSET`.

Outputs are squashed by tanh, as soft actor-critic needs; the noise is that of the output before it.
Its deviation is the same in every state, as that of all policies here, so that `log_prob` and
gradient adaptation hold for this policy too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from metarl.policies.base import Policy, PolicyConfig
from metarl.policies.belief import Belief, Episodes, Outcome, outcomes
from metarl.policies.gaussian import Gaussian
from metarl.policies.mlp import Activation, forward, init_layers
from metarl.policies.params import Params
from metarl.policies.set_encoders import SET_ENCODERS, Evidence, SetEncoder
from metarl_envs.inputs.numbers import Count, Positive

PRECISION, WEIGHTED = "precision", "weighted"
"""Entries of a belief, (M, E, Z): the two sums of the evidence so far."""
OFFSET = "offset"
"""Entry of a belief, (M, E, Z): z is so many posterior deviations from the posterior's mean."""
OBSERVATION = "observation"
"""Entry of a belief, (M, E, O): before the action whose outcome comes next."""
LARGEST_SHARE = 1 - 1e-6
"""Controls nearer to their bounds than this have no finite output behind them."""


@dataclass(frozen=True)
class ContextConfig(PolicyConfig):
    """Shape and scales of a policy with a probabilistic context."""

    action_scale: Positive = 1.0
    """Controls are the middle of their range plus half of it times tanh(output / action_scale)."""
    encoder: Literal["product", "mean", "attention"] = "product"
    """Set encoder: product of Gaussians (PEARL), mean of embeddings, or attention."""
    latent_size: Count = 5
    """Z, dimensions of the latent."""
    encoder_sizes: tuple[Count, ...] = (64, 64)
    """Units of each hidden layer of the encoder."""
    hidden_sizes: tuple[Count, ...] = (128, 128)
    """Units of each hidden layer of the policy."""
    activation: Activation = "relu"
    """Nonlinearity between the policy's layers."""
    observe_reward: bool = True
    """Read the rewards of transitions. Off: a robot at work needs none; the task then has to show
    in its motion."""

    def policy_type(self) -> type[Policy]:
        return ContextPolicy


@dataclass(frozen=True)
class ContextPolicy(Policy):
    """tanh of N(mean(observation, z), std^2)."""

    config: ContextConfig

    @property
    def encoder(self) -> SetEncoder:
        """The set encoder, which reads observation, action, reward and change of observation."""
        config = self.config
        inputs = 2 * self.observation_size + self.action_size + 1
        return SET_ENCODERS[config.encoder](inputs, config.encoder_sizes, config.latent_size)

    def init(self, generator: Generator) -> Params:
        """Xavier-uniform weights, zero biases."""
        config = self.config
        read = self.observation_size + config.latent_size
        layers = init_layers((read, *config.hidden_sizes, self.action_size), generator)
        params = layers | self.encoder.init(generator)
        return params | self.initial_noise() | self.initial_statistics()

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        policies = params["log_std"].shape[:-1]

        def zeros(size: int) -> Tensor:
            return params["log_std"].new_zeros(*policies, num_worlds, size)

        latent = dict.fromkeys((PRECISION, WEIGHTED, OFFSET), self.config.latent_size)
        return {name: zeros(size) for name, size in latent.items()} | {
            OBSERVATION: zeros(self.observation_size)
        }

    def act(
        self, params: Mapping[str, Tensor], belief: Belief, observations: Tensor
    ) -> tuple[Gaussian, Belief]:
        standard = self.standardised(params, observations)
        z = sampled(Evidence(belief[PRECISION], belief[WEIGHTED]).posterior(), belief[OFFSET])
        dist = Gaussian(self.mean(params, standard, z), self.log_std(params))
        return dist, belief | {OBSERVATION: observations}

    def observe(self, params: Mapping[str, Tensor], belief: Belief, outcome: Outcome) -> Belief:
        seen = self.factors(
            params,
            belief[OBSERVATION],
            self.squashed(outcome.actions),
            outcome.rewards,
            outcome.observations,
        )
        precision = belief[PRECISION] + seen.precision
        return belief | {PRECISION: precision, WEIGHTED: belief[WEIGHTED] + seen.weighted}

    def distribution(self, params: Mapping[str, Tensor], episodes: Episodes) -> Gaussian:
        """As in `Policy`, by running sums over all steps."""
        E, L = episodes.valid.shape[1:]
        start = episodes.start or self.begin(params, E)
        after = [o.observations for o in outcomes(episodes, episodes.actions)]
        factors = self.factors(
            params,
            episodes.observations.flatten(1, 2),
            self.squashed(self.sent(episodes.actions)).flatten(1, 2),
            episodes.rewards.flatten(1, 2),
            torch.stack(after, dim=2).flatten(1, 2),
        )
        by_step = Evidence(*(term.unflatten(1, (E, L)) for term in factors))
        sums = by_step.so_far(episodes.valid)
        before = Evidence(
            sums.precision[..., :-1, :] + start[PRECISION].unsqueeze(2),
            sums.weighted[..., :-1, :] + start[WEIGHTED].unsqueeze(2),
        )
        z = sampled(before.posterior(), start[OFFSET].unsqueeze(2))
        standard = self.standardised(params, episodes.observations.flatten(1, 2))
        mean = self.mean(params, standard, z.flatten(1, 2)).unflatten(1, (E, L))
        return Gaussian(mean, self.log_std(params).unsqueeze(1))

    def mean(self, params: Mapping[str, Tensor], standard: Tensor, z: Tensor) -> Tensor:
        """Mean output from standardised observations (..., S, O) and latents (..., S, Z)."""
        return forward(params, torch.cat([standard, z], dim=-1), self.config.activation)

    def factors(
        self,
        params: Mapping[str, Tensor],
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        following: Tensor,
    ) -> Evidence:
        """Factors of transitions: (..., S, Z).

        Args:
            params: (...) and then the shape of each entry.
            observations, following: before and after, (..., S, O).
            actions: squashed, (..., S, A).
            rewards: (..., S).
        """
        before = self.standardised(params, observations)
        change = self.standardised(params, following) - before
        # The logarithm keeps rewards of any scale in range, and their sign.
        reward = (rewards.sign() * rewards.abs().log1p()).unsqueeze(-1)
        if not self.config.observe_reward:
            reward = torch.zeros_like(reward)
        return self.encoder.factors(params, torch.cat([before, actions, reward, change], dim=-1))

    def squashed(self, outputs: Tensor) -> Tensor:
        """Outputs as shares of half the action range, smoothly within (-1, 1)."""
        return torch.tanh(outputs / self.config.action_scale)

    def unsquashed(self, shares: Tensor) -> Tensor:
        """The inverse of `squashed`, finite at the bounds."""
        inside = shares.clamp(-LARGEST_SHARE, LARGEST_SHARE)
        return torch.atanh(inside) * self.config.action_scale


def sampled(dist: Gaussian, noise: Tensor) -> Tensor:
    """Differentiable sample from standard normal noise, with the noise's shape."""
    return dist.mean + dist.log_std.exp() * noise
