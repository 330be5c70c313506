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
from metarl.deploy.limits import Limits, stop_costs
from metarl.policies.base import Policy
from metarl.policies.belief import Belief, Outcome, outcomes, where
from metarl.policies.gaussian import log_prob
from metarl.policies.params import dtype_of
from metarl.rollouts.data import Rollouts


class Exploration:
    """A policy with its noise, over E episodes of at most T steps, one after another."""

    def __init__(
        self,
        policy: Policy,
        params: Mapping[str, Tensor],
        episodes: int,
        horizon: int,
        generator: Generator | None,
    ) -> None:
        """Draw the noise of all E episodes of T steps: that of a `Collector`.

        `params` are per-task parameters, (1, ...). Without a generator there is no noise.
        """
        self._policy, self._params = policy, params
        shape, dtype = (horizon, 1, episodes, policy.action_size), dtype_of(params)
        self._noise = torch.zeros(shape, dtype=dtype)
        if generator is not None:
            self._noise = torch.randn(shape, generator=generator, dtype=dtype)
        self._std = policy.log_std(params).exp()[0]  # (1, A)
        self.start(0)

    def start(self, episode: int, belief: Belief | None = None) -> None:
        """Begin an episode, counted from 0, with a belief (1, 1, ...); None: that of a trial."""
        self._episode = episode
        self._outputs: list[Tensor] = []
        self._belief = self._policy.begin(self._params, 1) if belief is None else belief

    @torch.no_grad()
    def act(self, observation: NDArray[np.float64]) -> NDArray[np.float32]:
        """The next action: (O,) -> (A,)."""
        row = torch.as_tensor(observation, dtype=self._noise.dtype).view(1, 1, -1)
        dist, self._belief = self._policy.act(self._params, self._belief, row)
        noise = self._noise[len(self._outputs), :, self._episode]
        self._outputs.append((dist.mean[0] + self._std * noise)[0])
        return self._policy.controls(self._outputs[-1]).numpy()

    @torch.no_grad()
    def observe(
        self, reward: float, observation: NDArray[np.float64], terminated: bool, truncated: bool
    ) -> None:
        """Take the outcome of the last action."""
        number = self._noise.dtype
        outcome = Outcome(
            self._policy.sent(self._outputs[-1]).view(1, 1, -1),
            torch.tensor([[reward]], dtype=number),
            torch.tensor([[terminated]]),
            torch.tensor([[truncated]]),
            torch.as_tensor(observation, dtype=number).view(1, 1, -1),
        )
        self._belief = self._policy.observe(self._params, self._belief, outcome)

    def outputs(self, steps: int) -> NDArray[np.float64]:
        """Outputs before scaling of the first steps of the episode: (steps, A)."""
        return rows([output.double().numpy() for output in self._outputs[:steps]])


@dataclass(frozen=True)
class Collected:
    """Episodes of one task with one policy."""

    rollouts: Rollouts  # M = 1, rewards as earned
    episodes: tuple[Episode, ...]  # E

    @property
    def usable(self) -> int:
        """Number of episodes that did not diverge."""
        return int((~self.rollouts.diverged).sum())

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
        bad = self.rollouts.diverged | torch.tensor([self.stopped], dtype=torch.bool)
        return float(bad.double().mean())

    def describe(self) -> dict[str, Any]:
        """Mean return as earned, mean length, and bad ends, as JSON values."""
        diverged = self.rollouts.diverged[0]
        return {
            "episodes": len(diverged),
            "return": float(self.rollouts.task_returns()),
            "steps": float(self.rollouts.valid[0, ~diverged].sum(-1).double().mean()),
            "stopped": sum(self.stopped),
            "diverged": int(diverged.sum()),
        }


@torch.no_grad()
def collected(
    policy: Policy,
    params: Mapping[str, Tensor],
    episodes: Sequence[Episode],
    horizon: int,
    starts: Sequence[Belief] = (),
) -> Collected:
    """Episodes as rollouts of the policy that acted, `params` (1, ...), with log-probabilities.

    `starts` are the beliefs before each episode, (1, 1, ...), where all of them are one trial.
    """
    rollouts = as_rollouts(policy, episodes, horizon, dtype_of(params))
    if starts:
        start = {name: torch.cat([one[name] for one in starts], 1) for name in starts[0]}
        rollouts = replace(rollouts, start=start)
    log_probs = log_prob(policy.distribution(params, rollouts), rollouts.actions)
    return Collected(replace(rollouts, log_probs=log_probs), tuple(episodes))


def as_rollouts(
    policy: Policy, episodes: Sequence[Episode], horizon: int, dtype: torch.dtype
) -> Rollouts:
    """Episodes of at most T steps as rollouts of one task.

    Without `outputs` those behind the actions as sent take their place. Log-probabilities are left
    at zero; `quantity` is NaN: a robot measures none.
    """
    E, T = len(episodes), horizon
    observations = torch.zeros((1, E, T, policy.observation_size), dtype=dtype)
    outputs = torch.zeros((1, E, T, policy.action_size), dtype=dtype)
    rewards = torch.zeros((1, E, T), dtype=dtype)
    valid, terminated, truncated = (torch.zeros((1, E, T), dtype=torch.bool) for _ in range(3))
    final = torch.zeros_like(observations[:, :, 0])
    for e, episode in enumerate(episodes):
        if episode.diverged:
            continue
        L = episode.steps
        states = torch.as_tensor(episode.observations, dtype=dtype)
        observations[0, e, :L], final[0, e] = states[:-1], states[-1]
        sent = episode.outputs
        if sent is None:
            sent = policy.outputs(torch.from_numpy(episode.actions))
        outputs[0, e, :L] = torch.as_tensor(sent, dtype=dtype)
        rewards[0, e, :L] = torch.as_tensor(episode.rewards, dtype=dtype)
        valid[0, e, :L] = True
        terminated[0, e, L - 1] = episode.terminated
        truncated[0, e, L - 1] = not episode.terminated
    return Rollouts(
        observations=observations,
        actions=outputs,
        log_probs=torch.zeros_like(rewards),
        rewards=rewards,
        terminated=terminated,
        truncated=truncated,
        valid=valid,
        final_observations=final,
        quantity=torch.full((1, E), torch.nan, dtype=dtype),
        diverged=torch.tensor([[episode.diverged for episode in episodes]], dtype=torch.bool),
    )


@torch.no_grad()
def replayed_belief(
    policy: Policy, params: Mapping[str, Tensor], belief: Belief, rollouts: Rollouts
) -> Belief:
    """Belief (M, E, ...) of the policy, `params` (M, ...), after E episodes of M tasks.

    It is the one before, `belief`, of episodes that diverged, which are left out.
    """
    for t, outcome in enumerate(outcomes(rollouts, policy.sent(rollouts.actions))):
        _, after = policy.act(params, belief, rollouts.observations[:, :, t])
        after = policy.observe(params, after, outcome)
        belief = where(rollouts.valid[:, :, t], after, belief)
    return belief


def belief_after_episode(
    policy: Policy, params: Mapping[str, Tensor], belief: Belief, episode: Episode
) -> Belief:
    """Belief after one episode of a robot: `replayed_belief` with M = E = 1."""
    if episode.diverged:  # maybe before its first step
        return belief
    rollouts = as_rollouts(policy, [episode], episode.steps, dtype_of(params))
    return replayed_belief(policy, params, belief, rollouts)


def with_costs(collections: Sequence[Collected], full: int, limits: Limits) -> list[Rollouts]:
    """All collections of an adaptation by now, with the cost of being stopped (`stop_costs`).

    A later one may hold a worse reward, so costs are not kept.
    """
    costs = stop_costs(
        [rewards for one in collections for rewards in one.earned()],
        [stopped for one in collections for stopped in one.stopped],
        full,
        limits.stop_penalty,
    )
    ends = np.cumsum([len(one.stopped) for one in collections])[:-1]
    return [one.counted(c) for one, c in zip(collections, np.split(costs, ends), strict=True)]
