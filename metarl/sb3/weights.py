"""Weights of a Stable-Baselines3 policy in the form of ours, and back: the same actions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import gymnasium
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from metarl.policies.mlp import CLIP_OBSERVATIONS, VAR_FLOOR, GaussianMlpPolicy, folded_context
from metarl.policies.params import Params


class ObservationNormaliser(BaseFeaturesExtractor):
    """Our normaliser as a part of SB3's policy, which then reads observations as ours does.

    Its statistics stay as they are: SB3 trains on, saves and loads with them.
    """

    def __init__(self, observation_space: gymnasium.spaces.Box) -> None:
        size = observation_space.shape[0]
        super().__init__(observation_space, features_dim=size)
        self.obs_mean: Tensor
        self.obs_var: Tensor
        self.obs_count: Tensor
        self.register_buffer("obs_mean", torch.zeros(size))
        self.register_buffer("obs_var", torch.ones(size))
        self.register_buffer("obs_count", torch.zeros(1))

    def forward(self, observations: Tensor) -> Tensor:
        """Standardised and clipped: (N, O) -> (N, O)."""
        std = (self.obs_var + VAR_FLOOR).sqrt()
        return ((observations - self.obs_mean) / std).clamp(-CLIP_OBSERVATIONS, CLIP_OBSERVATIONS)


@torch.no_grad()
def converted(
    sb3_policy: ActorCriticPolicy, normaliser: VecNormalize | None, policy: GaussianMlpPolicy
) -> Params:
    """Parameters with which `policy` acts as SB3's policy does behind the normaliser.

    SB3's network gives controls, which its algorithms clip to the action space; ours gives outputs,
    which `policy.controls` scales around its middle and clips. So the last layer takes the
    inverse of that scaling. The critic is left behind.

    Args:
        sb3_policy: an `MlpPolicy` with a network of its own for the actor, shaped as `policy`.
        normaliser: what its observations passed through; None: nothing, or an
            `ObservationNormaliser` of its own.
        policy: the policy function that will act.
    """
    middle, scale = output_scaling(policy)
    params: Params = {}
    layers = actor_layers(sb3_policy)
    for i, layer in enumerate(layers):
        params[f"weight_{i}"], params[f"bias_{i}"] = layer.weight.cpu().T, layer.bias.cpu()
    last = len(layers) - 1
    params[f"weight_{last}"] = params[f"weight_{last}"] * scale
    params[f"bias_{last}"] = (params[f"bias_{last}"] - middle) * scale
    assert isinstance(sb3_policy.log_std, Tensor)
    params["log_std"] = sb3_policy.log_std.cpu() + scale.log()
    own = sb3_policy.features_extractor
    if policy.config.normalize_observations and isinstance(own, ObservationNormaliser):
        params |= {name: buffer.cpu() for name, buffer in own.named_buffers()}
    elif policy.config.normalize_observations:
        assert normaliser is not None
        seen = normaliser.obs_rms
        params["obs_mean"] = torch.from_numpy(seen.mean).float()  # pyright: ignore[reportAttributeAccessIssue]
        # SB3 adds its own small number to the variance before taking the root.
        variance = seen.var + normaliser.epsilon - VAR_FLOOR  # pyright: ignore[reportAttributeAccessIssue]
        params["obs_var"] = torch.from_numpy(variance).float()
        params["obs_count"] = torch.tensor([float(seen.count)])  # pyright: ignore[reportAttributeAccessIssue]
    return {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in params.items()
    }


@torch.no_grad()
def put_into(
    sb3_policy: ActorCriticPolicy, policy: GaussianMlpPolicy, params: Mapping[str, Tensor]
) -> None:
    """Give SB3's policy the actions that `policy` takes with `params`: `converted`, inverted.

    Args:
        sb3_policy: an `MlpPolicy` shaped as `policy`, with an `ObservationNormaliser` where that
            normalises. Its critic stays as it is.
        policy: the policy function.
        params: one policy's parameters, without axis M.
    """
    middle, scale = output_scaling(policy)
    params = folded_context(params)
    layers = actor_layers(sb3_policy)
    for i, layer in enumerate(layers):
        weight, bias = params[f"weight_{i}"], params[f"bias_{i}"]
        if i == len(layers) - 1:
            weight, bias = weight / scale, bias / scale + middle
        layer.weight.copy_(weight.T)
        layer.bias.copy_(bias)
    assert isinstance(sb3_policy.log_std, Tensor)
    sb3_policy.log_std.copy_(policy.log_std(params)[0] - scale.log())
    if policy.config.normalize_observations:
        for name, buffer in sb3_policy.features_extractor.named_buffers():
            buffer.copy_(params[name])


@torch.no_grad()
def set_initial_actions(sb3_policy: ActorCriticPolicy, policy: GaussianMlpPolicy) -> None:
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


def output_scaling(policy: GaussianMlpPolicy) -> tuple[Tensor, Tensor]:
    """(middle, scale), each (A,): an output is (control - middle) * scale."""
    middle, half = policy.action_range(torch.empty(0))
    return middle, policy.config.action_scale / half
