"""Weights of a Stable-Baselines3 policy in the form of ours, and back: the same actions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from metarl.policies.base import Policy
from metarl.policies.mlp import GaussianMlpPolicy, of_layers
from metarl.policies.normaliser import VAR_FLOOR, Statistics
from metarl.policies.params import Params


class ObservationNormaliser(BaseFeaturesExtractor):
    """Our normaliser as a part of SB3's policy, which then reads observations as ours does.

    Its statistics are constant: SB3 trains on, saves and loads with them.
    """

    def __init__(self, observation_space: gymnasium.spaces.Box) -> None:
        size = observation_space.shape[0]
        super().__init__(observation_space, features_dim=size)
        self.mean: Tensor
        self.variance: Tensor
        self.samples: Tensor
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("samples", torch.zeros(1))

    def statistics(self) -> Statistics:
        """The normaliser's."""
        return Statistics(self.mean, self.variance, self.samples)

    def forward(self, observations: Tensor) -> Tensor:
        """Standardised and clipped: (N, O) -> (N, O)."""
        return self.statistics().standardised(observations)


@torch.no_grad()
def converted(
    sb3_policy: ActorCriticPolicy, normaliser: VecNormalize | None, policy: Policy
) -> Params:
    """Parameters with which `policy` acts as SB3's policy does behind the normaliser.

    SB3's network gives controls, which its algorithms clip to the action space; ours gives outputs,
    which `policy.controls` scales around its middle and clips. So the last layer takes the
    inverse of that scaling. The critic is left out.

    `sb3_policy` has a network for the actor alone, shaped as that of `policy`, of kind mlp or
    frame-stack. Without `normaliser` its observations are not normalised, or by an
    `ObservationNormaliser` of its own.
    """
    middle, scale = output_scaling(policy)
    layers = [(layer.weight.cpu().T, layer.bias.cpu()) for layer in actor_layers(sb3_policy)]
    weight, bias = layers[-1]
    layers[-1] = weight * scale, (bias - middle) * scale
    assert isinstance(sb3_policy.log_std, Tensor)
    log_std = sb3_policy.log_std.cpu() + scale.log()
    extractor, statistics = sb3_policy.features_extractor, None
    if policy.config.normalize_observations and isinstance(extractor, ObservationNormaliser):
        statistics = Statistics(*(value.cpu() for value in extractor.statistics()))
    elif policy.config.normalize_observations:
        assert normaliser is not None
        rms: Any = normaliser.obs_rms
        # SB3 adds its own small number to the variance before taking the root.
        variance = rms.var + normaliser.epsilon - VAR_FLOOR
        statistics = Statistics(
            torch.from_numpy(rms.mean).float(),
            torch.from_numpy(variance).float(),
            torch.tensor([float(rms.count)]),
        )
    return of_layers(layers, log_std, statistics)


@torch.no_grad()
def put_into(
    sb3_policy: ActorCriticPolicy, policy: GaussianMlpPolicy, params: Mapping[str, Tensor]
) -> None:
    """Give SB3's policy the actions that `policy` takes with `params`: `converted`, inverted.

    `sb3_policy` is shaped as `policy`, with an `ObservationNormaliser` where that normalises. Its
    critic does not change. `params` have no axis M.
    """
    middle, scale = output_scaling(policy)
    params = policy.folded(params)
    layers = policy.layers(params)
    weight, bias = layers[-1]
    layers[-1] = weight / scale, bias / scale + middle
    for layer, (weight, bias) in zip(actor_layers(sb3_policy), layers, strict=True):
        layer.weight.copy_(weight.T)
        layer.bias.copy_(bias)
    assert isinstance(sb3_policy.log_std, Tensor)
    sb3_policy.log_std.copy_(policy.log_std(params)[0] - scale.log())
    extractor, statistics = sb3_policy.features_extractor, policy.statistics(params)
    if statistics is not None and isinstance(extractor, ObservationNormaliser):
        for buffer, value in zip(extractor.statistics(), statistics, strict=True):
            buffer.copy_(value)


@torch.no_grad()
def set_initial_actions(sb3_policy: ActorCriticPolicy, policy: Policy) -> None:
    """Give SB3's policy the initial noise that ours has by its configuration, around its middle.

    SB3's own, standard deviation 1 around 0 in the units of the controls, is right for a range of
    [-1, 1] only.
    """
    middle, scale = output_scaling(policy)
    assert isinstance(sb3_policy.log_std, Tensor)
    sb3_policy.log_std.copy_(math.log(policy.config.init_std) - scale.log())
    actor_layers(sb3_policy)[-1].bias.copy_(middle)


def actor_layers(sb3_policy: ActorCriticPolicy) -> list[nn.Linear]:
    """The linear layers from features to controls, the last one included."""
    hidden = [m for m in sb3_policy.mlp_extractor.policy_net if isinstance(m, nn.Linear)]
    assert isinstance(sb3_policy.action_net, nn.Linear)
    return [*hidden, sb3_policy.action_net]


def output_scaling(policy: Policy) -> tuple[Tensor, Tensor]:
    """(middle, scale), each (A,): an output is (control - middle) * scale."""
    middle, half = policy.action_range(torch.empty(0))
    return middle, policy.config.action_scale / half
