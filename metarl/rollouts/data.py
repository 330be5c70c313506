"""Rollouts: episodes of M policies in M x E worlds.

Axes, here and everywhere: M tasks, E episodes per task, T steps, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from metarl.policies.belief import Belief


@dataclass(frozen=True)
class Rollouts:
    """E episodes of each of M tasks. Entries where `valid` is false are finite padding."""

    observations: Tensor  # (M, E, T, O)
    actions: Tensor  # (M, E, T, A) policy outputs, before scaling and clipping
    log_probs: Tensor  # (M, E, T) of the policy that acted
    rewards: Tensor  # (M, E, T) zero where not valid
    terminated: Tensor  # (M, E, T)
    truncated: Tensor  # (M, E, T)
    valid: Tensor  # (M, E, T) false after an episode's end, and in all of a diverged episode
    final_observations: Tensor  # (M, E, O) after each episode's last step
    quantity: Tensor  # (M, E) the family's physical quantity, averaged over the episode
    diverged: Tensor  # (M, E)
    belief: Belief = field(default_factory=dict)
    """Of the policy after the last step of each episode, each (M, E, ...)."""

    def to(self, device: torch.device) -> Rollouts:
        """The same rollouts on another device."""
        return _joined([self], lambda parts: parts[0].to(device))

    def returns(self) -> Tensor:
        """Undiscounted return of every episode: (M, E); NaN for diverged episodes."""
        return torch.where(self.diverged, torch.nan, self.rewards.sum(-1))

    def task_returns(self) -> Tensor:
        """Mean return over the valid episodes of each task: (M,)."""
        return self.returns().nanmean(dim=1)

    def some_episodes(self, which: slice) -> Rollouts:
        """These of every task's E episodes: views."""
        return _joined([self], lambda parts: parts[0][:, which])

    def some_tasks(self, which: slice | list[int]) -> Rollouts:
        """These of the M tasks, with all of their episodes."""
        return _joined([self], lambda parts: parts[0][which])

    def num_steps(self) -> int:
        """Environment steps simulated, those of diverged episodes included."""
        ended = (self.terminated | self.truncated).any(-1)
        length = (self.terminated | self.truncated).float().argmax(-1) + 1
        horizon = self.rewards.shape[-1]
        return int(torch.where(ended, length, horizon).sum())


def joined_episodes(parts: Sequence[Rollouts]) -> Rollouts:
    """Episodes of the same tasks, one collection after the other: (M, E1 + E2 + ..., ...)."""
    return _joined(parts, lambda tensors: torch.cat(tensors, 1))


def _joined(parts: Sequence[Rollouts], join: Callable[[list[Tensor]], Tensor]) -> Rollouts:
    """Rollouts of which every tensor is made from those of the parts."""

    def joined(values: Sequence[Any]) -> Any:  # noqa: ANN401 - a tensor, or a belief
        if isinstance(values[0], Tensor):
            return join(list(values))
        return {name: join([value[name] for value in values]) for name in values[0]}

    return Rollouts(
        **{f.name: joined([getattr(part, f.name) for part in parts]) for f in fields(Rollouts)}
    )
