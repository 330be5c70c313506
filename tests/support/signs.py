"""Worlds whose hidden sign the first rewards reveal, and policies whose returns are known exactly.

Tasks are those of half-cheetah-direction, without its physics: a step's reward is the direction
times the first entry of the action. A policy with a memory acts by +1 until it has seen `patience`
steps of a trial, and by the sign that their last reward had from then on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from support.tiny import tiny_policy
from torch import Tensor

from metarl.adaptation.none import Unadapted
from metarl.policies.base import Policy, PolicyConfig
from metarl.policies.gaussian import Gaussian
from metarl.runs.checkpoint import SavedPolicy

FAMILY = "half-cheetah-direction"
HORIZON = 4


class Step(NamedTuple):
    observations: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    diverged: Tensor
    quantity: Tensor


class SignWorlds:
    """M x E worlds; those of `broken`, (episode, world), diverge in their first step."""

    device = torch.device("cpu")
    measures_success = False

    def __init__(self, num_tasks, episodes_per_task, broken=()):
        self.num_tasks, self.episodes_per_task = num_tasks, episodes_per_task
        self.horizon, self.broken, self.episode = HORIZON, broken, -1

    def set_tasks(self, tasks):
        signs = tasks.values["direction"].float()
        self.tasks, self.signs = tasks, signs.repeat_interleave(self.episodes_per_task)

    def reset(self, generator):
        self.t, self.episode = 0, self.episode + 1
        return torch.rand(len(self.signs), 17, generator=generator)

    def step(self, actions, mask=None):
        self.t += 1
        broken = torch.zeros(len(self.signs), dtype=torch.bool)
        broken[[world for episode, world in self.broken if episode == self.episode]] = True
        rewards = self.signs * actions[:, 0]
        over = torch.full_like(broken, self.t == self.horizon) & ~broken
        observations = torch.zeros(len(self.signs), 17)
        return Step(observations, rewards, broken & ~broken, over, broken, rewards)

    def overflow_message(self):
        return ""


@dataclass(frozen=True)
class SignConfig(PolicyConfig):
    patience: int = HORIZON
    """Steps of a trial that it learns from."""

    def policy_type(self):
        return SignPolicy


@dataclass(frozen=True)
class SignPolicy(Policy):
    config: SignConfig

    def init(self, generator):
        """A weight that scales all outputs, and noise."""
        return {"weight_0": torch.ones(1, 1), "bias_0": torch.zeros(1)} | self.initial_noise()

    def begin(self, params, num_worlds):
        worlds = (*params["log_std"].shape[:-1], num_worlds)
        fresh = params["log_std"].new_zeros
        return {"sign": fresh(*worlds) + 1, "steps": fresh(*worlds)}

    def act(self, params, belief, observations):
        first = torch.zeros(self.action_size)
        first[0] = 1.0
        mean = params["weight_0"][..., 0] * belief["sign"]
        return Gaussian(mean.unsqueeze(-1) * first, self.log_std(params)), belief

    def observe(self, params, belief, outcome):
        steps = belief["steps"] + 1
        found = torch.sign(outcome.rewards * outcome.actions[..., 0])
        sign = torch.where(steps == self.config.patience, found, belief["sign"])
        return {"sign": sign, "steps": steps}


def sign_policy(patience: int = HORIZON) -> SavedPolicy:
    """The policy with a memory, as if read from disk."""
    saved = tiny_policy(FAMILY, horizon=HORIZON)
    network = SignConfig(action_scale=1.0, patience=patience)
    config = replace(saved.config, policy=network, inner=Unadapted(), method="remembering")
    policy = SignPolicy(network, 17, (-1.0,) * 6, (1.0,) * 6)
    return SavedPolicy(policy, policy.init(torch.Generator()), config, {"iteration": 0})
