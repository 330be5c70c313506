"""A Stable-Baselines3 policy in the form of ours: the same actions from a dict of tensors."""

from __future__ import annotations

import math

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from metarl.params import Params
from metarl.policies import GaussianMlpPolicy


@torch.no_grad()
def converted(
    sb3_policy: ActorCriticPolicy, normaliser: VecNormalize, policy: GaussianMlpPolicy
) -> Params:
    """Parameters with which `policy` acts as SB3's policy does behind the normaliser.

    SB3's network gives controls, which its algorithms clip to the action space; ours gives outputs,
    which `policy.controls` scales to the actuators' range and clips. So the last layer takes the
    inverse of that scaling. The critic is left behind.

    Args:
        sb3_policy: an `MlpPolicy` with a network of its own for the actor, shaped as `policy`.
        normaliser: what its observations passed through.
        policy: the policy function that will act.
    """
    hidden = [m for m in sb3_policy.mlp_extractor.policy_net if isinstance(m, nn.Linear)]
    layers = [*hidden, sb3_policy.action_net]
    middle, scale = output_scaling(policy)
    params: Params = {}
    for i, layer in enumerate(layers):
        assert isinstance(layer, nn.Linear)
        params[f"weight_{i}"], params[f"bias_{i}"] = layer.weight.T.clone(), layer.bias.clone()
    last = len(layers) - 1
    params[f"weight_{last}"] = params[f"weight_{last}"] * scale
    params[f"bias_{last}"] = (params[f"bias_{last}"] - middle) * scale
    assert isinstance(sb3_policy.log_std, Tensor)
    params["log_std"] = sb3_policy.log_std + scale.log()
    if policy.config.normalize_observations:
        seen = normaliser.obs_rms
        params["obs_mean"] = torch.from_numpy(seen.mean).float()  # pyright: ignore[reportAttributeAccessIssue]
        params["obs_var"] = torch.from_numpy(seen.var).float()  # pyright: ignore[reportAttributeAccessIssue]
        params["obs_count"] = torch.tensor([float(seen.count)])  # pyright: ignore[reportAttributeAccessIssue]
    return {name: value.detach().contiguous() for name, value in params.items()}


@torch.no_grad()
def set_initial_std(sb3_policy: ActorCriticPolicy, policy: GaussianMlpPolicy) -> None:
    """Give SB3's policy the initial standard deviation that ours has by its configuration.

    SB3's own, 1 in the units of the controls, is right for a range of [-1, 1] only.
    """
    _, scale = output_scaling(policy)
    assert isinstance(sb3_policy.log_std, Tensor)
    sb3_policy.log_std.copy_(math.log(policy.config.init_std) - scale.log())


def output_scaling(policy: GaussianMlpPolicy) -> tuple[Tensor, Tensor]:
    """(middle, scale), each (A,): an output is (control - middle) * scale."""
    low, high = torch.tensor(policy.action_low), torch.tensor(policy.action_high)
    return (low + high) / 2, 2 * policy.config.action_scale / (high - low)
