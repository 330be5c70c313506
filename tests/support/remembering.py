"""A policy with a belief that shows all its inputs: a linear one of its last step and its count."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metarl.policies.base import Policy, PolicyConfig
from metarl.policies.gaussian import Gaussian
from metarl.policies.mlp import forward, init_layers


@dataclass(frozen=True)
class RememberingConfig(PolicyConfig):
    def policy_type(self):
        return RememberingPolicy


@dataclass(frozen=True)
class RememberingPolicy(Policy):
    """The mean is linear in the observation, the number of actions so far, and the last step."""

    config: RememberingConfig

    @property
    def told(self):
        """Reward, two flags, action and observation."""
        return 3 + self.action_size + self.observation_size

    def init(self, generator):
        inputs = self.observation_size + 1 + self.told
        return init_layers((inputs, self.action_size), generator) | self.initial_noise()

    def begin(self, params, num_worlds):
        worlds = (*params["log_std"].shape[:-1], num_worlds)
        fresh = params["log_std"].new_zeros
        return {"acted": fresh(*worlds), "last": fresh(*worlds, self.told)}

    def act(self, params, belief, observations):
        acted = belief["acted"] + 1
        inputs = torch.cat([observations, 0.1 * acted.unsqueeze(-1), belief["last"]], dim=-1)
        return Gaussian(forward(params, inputs, "tanh"), self.log_std(params)), {
            "acted": acted,
            "last": belief["last"],
        }

    def observe(self, params, belief, outcome):
        flags = torch.stack([outcome.rewards, outcome.terminated, outcome.truncated], dim=-1)
        last = torch.cat([flags, outcome.actions, outcome.observations], dim=-1)
        return belief | {"last": last}
