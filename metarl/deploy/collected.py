"""Episodes of one robot as an adaptation reads them, and the actions that explore for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from metarl.deploy.episodes import Episode, rows
from metarl.deploy.limits import Limits
from metarl.deploy.stops import stop_costs
from metarl.policies.gaussian import log_prob
from metarl.policies.mlp import GaussianMlpPolicy
from metarl.rollouts.data import Rollouts


class Exploration:
    """Actions of a policy with its noise, over E episodes of at most T steps, one after another."""

    def __init__(
        self,
        policy: GaussianMlpPolicy,
        params: Mapping[str, Tensor],
        episodes: int,
        horizon: int,
        generator: Generator,
    ) -> None:
        """Draws the noise of all episodes: that of `metarl.rollouts.collect.collect`.

        Args:
            policy: the policy function.
            params: per-task parameters with leading axis 1.
            episodes: E.
            horizon: T.
            generator: of the noise.
        """
        self.horizon = horizon
        self._policy, self._params = policy, params
        dtype = params["log_std"].dtype
        shape = (horizon, 1, episodes, policy.action_size)
        self._noise = torch.randn(shape, generator=generator, dtype=dtype)
        self._std = policy.log_std(params).exp()[0]  # (1, A)
        self._outputs: list[Tensor] = []
        self._episode = 0

    def start(self, episode: int) -> None:
        """Go to the start of an episode, from 0."""
        self._episode, self._outputs = episode, []

    @torch.no_grad()
    def act(self, observation: NDArray[np.float64]) -> NDArray[np.float32]:
        """The next action: (O,) -> (A,)."""
        seen = torch.as_tensor(observation, dtype=self._noise.dtype)
        mean = self._policy.mean(self._params, seen.view(1, 1, -1))[0]
        noise = self._noise[len(self._outputs), :, self._episode]
        self._outputs.append((mean + self._std * noise)[0])
        return self._policy.controls(self._outputs[-1]).numpy()

    def with_outputs(self, episode: Episode) -> Episode:
        """The episode of these actions, with the policy's outputs before scaling."""
        outputs = rows([output.double().numpy() for output in self._outputs[: episode.steps]])
        return replace(episode, outputs=outputs)


@dataclass(frozen=True)
class Collected:
    """Episodes of one task with one policy."""

    rollouts: Rollouts  # M = 1, rewards as earned
    episodes: tuple[Episode, ...]  # E

    @property
    def usable(self) -> int:
        """Number of episodes that did not diverge."""
        return int((~self.rollouts.faulted).sum())

    @property
    def stopped(self) -> tuple[bool, ...]:
        """True for each episode that a limit stopped, (E,); one that diverged has no return."""
        return tuple(bool(e.stopped) and not e.diverged for e in self.episodes)

    def earned(self) -> list[NDArray[np.float64]]:
        """Rewards of each episode, (L,); none of one that diverged."""
        rewards, valid = self.rollouts.rewards[0].double(), self.rollouts.valid[0]
        return [rewards[e, valid[e]].numpy() for e in range(len(rewards))]

    def counted(self, costs: NDArray[np.float64]) -> Rollouts:
        """The rollouts with `stop_costs`, (E,), added to the last rewards of the episodes."""
        rewards = self.rollouts.rewards.clone()
        last = (self.rollouts.valid.sum(-1) - 1).clamp(min=0).unsqueeze(-1)
        added = torch.as_tensor(costs, dtype=rewards.dtype).view(last.shape)
        rewards.scatter_add_(-1, last, added)
        return replace(self.rollouts, rewards=rewards)

    def bad_share(self) -> float:
        """Share of the episodes that were stopped or diverged."""
        bad = self.rollouts.faulted | torch.tensor([self.stopped], dtype=torch.bool)
        return float(bad.double().mean())

    def describe(self) -> dict[str, Any]:
        """Mean return as earned, mean length, and bad ends, as JSON values."""
        faulted = self.rollouts.faulted[0]
        return {
            "episodes": len(faulted),
            "return": float(self.rollouts.task_returns()),
            "steps": float(self.rollouts.valid[0, ~faulted].sum(-1).double().mean()),
            "stopped": sum(self.stopped),
            "diverged": int(faulted.sum()),
        }


@torch.no_grad()
def collected(
    policy: GaussianMlpPolicy,
    params: Mapping[str, Tensor],
    episodes: Sequence[Episode],
    horizon: int,
) -> Collected:
    """Episodes as rollouts of the policy that acted. `quantity` is NaN: a robot measures none.

    Args:
        policy: the policy function.
        params: that acted, with leading axis 1. Log-probabilities are computed from them.
        episodes: with `outputs`, of at most T steps.
        horizon: T.
    """
    E, T, dtype = len(episodes), horizon, params["log_std"].dtype
    observations = torch.zeros((1, E, T, policy.observation_size), dtype=dtype)
    outputs = torch.zeros((1, E, T, policy.action_size), dtype=dtype)
    rewards = torch.zeros((1, E, T), dtype=dtype)
    valid, terminated, truncated = (torch.zeros((1, E, T), dtype=torch.bool) for _ in range(3))
    final = torch.zeros_like(observations[:, :, 0])
    for e, episode in enumerate(episodes):
        if episode.diverged:
            continue
        assert episode.outputs is not None
        L = episode.steps
        seen = torch.as_tensor(episode.observations, dtype=dtype)
        observations[0, e, :L], final[0, e] = seen[:-1], seen[-1]
        outputs[0, e, :L] = torch.as_tensor(episode.outputs, dtype=dtype)
        rewards[0, e, :L] = torch.as_tensor(episode.rewards, dtype=dtype)
        valid[0, e, :L] = True
        terminated[0, e, L - 1] = episode.terminated
        truncated[0, e, L - 1] = not episode.terminated
    rollouts = Rollouts(
        observations=observations,
        actions=outputs,
        log_probs=torch.zeros_like(rewards),
        rewards=rewards,
        terminated=terminated,
        truncated=truncated,
        valid=valid,
        final_observations=final,
        quantity=torch.full((1, E), torch.nan, dtype=dtype),
        faulted=torch.tensor([[episode.diverged for episode in episodes]], dtype=torch.bool),
    )
    log_probs = log_prob(policy.distribution(params, rollouts), outputs)
    return Collected(replace(rollouts, log_probs=log_probs), tuple(episodes))


def with_costs(collections: Sequence[Collected], full: int, limits: Limits) -> list[Rollouts]:
    """Collections of one adaptation with the cost of being stopped, by the worst in all of them.

    Args:
        collections: all by now; a later one may have met a worse reward, so costs are not kept.
        full: steps of an episode that goes on.
        limits: of which `stop_penalty` counts here.
    """
    costs = stop_costs(
        [rewards for one in collections for rewards in one.earned()],
        [stopped for one in collections for stopped in one.stopped],
        full,
        limits.stop_penalty,
    )
    ends = np.cumsum([len(one.stopped) for one in collections])[:-1]
    return [one.counted(own) for one, own in zip(collections, np.split(costs, ends), strict=True)]
