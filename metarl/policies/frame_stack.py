"""Gaussian policies that read the last few steps: a multilayer perceptron on a stack of frames.

The simplest memory (Mnih et al. 2015, doi:10.1038/nature14236), for robots: a past frame is a whole
step, its observation with the action sent and the reward earned. Observations alone show how a
robot moves, but its mass and its motors show in the motion that an action causes.

An episode's end empties the stack, as Stable-Baselines3's VecFrameStack does. So a policy never
reads across a reset, and learns from episodes of different tasks.

Axes: M policies, E worlds each, K past steps, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.policies.base import Policy, PolicyConfig
from metarl.policies.belief import Belief, Episodes, Outcome
from metarl.policies.gaussian import Gaussian
from metarl.policies.mlp import Activation, forward, init_layers
from metarl.policies.params import Params
from metarl_envs.inputs.numbers import Count

STACK = "stack"
"""Entry of a belief, (M, E, K, O + A + 2): past steps of the episode, the newest first. Each is
observation, sent action / action_scale, reward, and 1; or all 0 where the episode is younger."""
OBSERVED = "observed"
"""Entry of a belief, (M, E, O): observation that the policy acted on last."""


@dataclass(frozen=True)
class FrameStackConfig(PolicyConfig):
    """Shape and scales of a Gaussian MLP policy on a stack of frames."""

    frames: Count = 4
    """Observations that the policy reads: the present one and those of the steps before it, >= 1.
    A step before it comes with its action and reward. 1: no memory."""
    observe_reward: bool = True
    """Read the rewards of past steps. Off: a robot at work needs none; the task then has to show in
    its motion."""
    hidden_sizes: tuple[Count, ...] = (64, 64)
    """Units of each hidden layer."""
    activation: Activation = "tanh"
    """Nonlinearity between layers."""

    def policy_type(self) -> type[Policy]:
        return FrameStackPolicy


@dataclass(frozen=True)
class FrameStackPolicy(Policy):
    """N(mean(observation, past steps), std^2) with an MLP mean and a state-independent std."""

    config: FrameStackConfig

    @property
    def input_size(self) -> int:
        """Numbers that the network reads: O + K * (O + A + 2)."""
        past = self.config.frames - 1
        return self.observation_size + past * self._step_size

    @property
    def _step_size(self) -> int:
        return self.observation_size + self.action_size + 2

    def init(self, generator: torch.Generator) -> Params:
        """Xavier-uniform weights, zero biases."""
        sizes = (self.input_size, *self.config.hidden_sizes, self.action_size)
        return init_layers(sizes, generator) | self.initial_noise() | self.initial_statistics()

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        worlds = (*params["log_std"].shape[:-1], num_worlds)
        empty = params["log_std"].new_zeros
        return {
            STACK: empty(*worlds, self.config.frames - 1, self._step_size),
            OBSERVED: empty(*worlds, self.observation_size),
        }

    def act(
        self, params: Mapping[str, Tensor], belief: Belief, observations: Tensor
    ) -> tuple[Gaussian, Belief]:
        stack = belief[STACK]
        past = self.standardised(params, self.observations_in(stack).flatten(-3, -2))
        past = past.unflatten(-2, stack.shape[-3:-1])
        read = self.inputs(self.standardised(params, observations), past, stack)
        mean = forward(params, read, self.config.activation)
        return Gaussian(mean, self.log_std(params)), belief | {OBSERVED: observations}

    def observe(self, params: Mapping[str, Tensor], belief: Belief, outcome: Outcome) -> Belief:
        del params
        goes_on = ~(outcome.terminated | outcome.truncated)[..., None]
        stack = self.stacked(belief, outcome.actions, outcome.rewards)
        return {STACK: stack * goes_on.unsqueeze(-1), OBSERVED: belief[OBSERVED] * goes_on}

    @property
    def reads_rewards(self) -> bool:
        return self.config.observe_reward

    def distribution(self, params: Mapping[str, Tensor], episodes: Episodes) -> Gaussian:
        """As in `Policy`, by one product for all steps of a task."""
        E, L = episodes.valid.shape[-2:]
        start = (episodes.start or self.begin(params, E))[STACK]
        # Valid steps side by side: what pads an episode never reaches the stack.
        order = torch.argsort((~episodes.valid).to(torch.uint8), dim=-1, stable=True)
        sent = self.sent(episodes.actions)
        steps = _at(self._steps(episodes.observations, sent, episodes.rewards), order)
        ended = (episodes.terminated | episodes.truncated).gather(-1, order).long()
        episode = ended.cumsum(-1) - ended  # number of each step's, of which the start is part

        K = start.shape[-2]
        steps = torch.cat([start.flip(-2), steps], dim=-2)  # in order of time
        episode = torch.cat([episode.new_zeros(*episode.shape[:-1], K), episode], dim=-1)
        standard = self.standardised(params, self.observations_in(steps).flatten(-3, -2))
        standard = standard.unflatten(-2, (E, K + L))
        # Step t is in position K + t, and the stack begins with the position before it.
        positions = torch.arange(K + L, device=order.device)
        back = positions[K:, None] - 1 - positions[:K]
        same = episode[..., back] == episode[..., K:, None]
        stacks = steps[..., back, :] * same[..., None]
        read = self.inputs(standard[..., K:, :], standard[..., back, :], stacks)
        mean = forward(params, read.flatten(-3, -2), self.config.activation)
        mean = _at(mean.unflatten(-2, (E, L)), torch.argsort(order, dim=-1))
        return Gaussian(mean, self.log_std(params).unsqueeze(-2))

    def inputs(self, standard: Tensor, past: Tensor, stack: Tensor) -> Tensor:
        """Inputs of the network: (..., `input_size`).

        Args:
            standard: present observations, standardised: (..., O).
            past: `observations_in` the stack, standardised: (..., K, O).
            stack: (..., K, O + A + 2).
        """
        held = stack[..., -1:] > 0
        steps = torch.cat(
            [torch.where(held, past, 0.0), stack[..., self.observation_size :]], dim=-1
        )
        return torch.cat([standard, steps.flatten(-2)], dim=-1)

    def observations_in(self, stack: Tensor) -> Tensor:
        """Observations of past steps: (..., K, O + A + 2) -> (..., K, O)."""
        return stack[..., : self.observation_size]

    def stacked(self, belief: Belief, sent: Tensor, rewards: Tensor) -> Tensor:
        """The stack after one more step, an episode's last one included: (M, E, K, O + A + 2).

        Args:
            belief: as `act` gives it.
            sent: outputs as they were sent, (M, E, A).
            rewards: (M, E).
        """
        stack = belief[STACK]
        step = self._steps(belief[OBSERVED], sent, rewards)
        return torch.cat([step.unsqueeze(-2), stack], dim=-2)[..., : stack.shape[-2], :]

    def _steps(self, observations: Tensor, sent: Tensor, rewards: Tensor) -> Tensor:
        """Steps as a stack holds them: (..., O), (..., A), (...) -> (..., O + A + 2)."""
        # The logarithm keeps rewards of any scale in range, and their sign.
        reward = rewards.sign() * rewards.abs().log1p()
        if not self.config.observe_reward:
            reward = torch.zeros_like(reward)
        scaled = sent / self.config.action_scale
        numbers = torch.stack([reward, torch.ones_like(reward)], dim=-1)
        return torch.cat([observations, scaled, numbers], dim=-1)


def as_frame_stack(policy: Policy) -> FrameStackPolicy | None:
    """The policy if it reads a stack of frames; None for another kind."""
    return policy if isinstance(policy, FrameStackPolicy) else None


def _at(values: Tensor, order: Tensor) -> Tensor:
    """Steps in another order: (M, E, L, X), (M, E, L) -> (M, E, L, X)."""
    return values.gather(-2, order.unsqueeze(-1).expand_as(values))
