"""Rollouts: episodes of M policies in M x E worlds.

Axes: M tasks, E episodes per task, T steps, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from metarl.policies.belief import Belief

BELIEFS = ("start", "belief")
"""Fields of `Rollouts` that hold several tensors."""


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
    quantity: Tensor  # (M, E) the family's physical quantity, averaged over the episode; or success
    # in any of its steps
    diverged: Tensor  # (M, E)
    start: Belief = field(default_factory=dict)
    """The policy's belief before each episode's first step, each (M, E, ...), where a trial went on
    from earlier episodes; {}: a trial began."""
    belief: Belief = field(default_factory=dict)
    """The policy's belief after each episode's last step, each (M, E, ...)."""

    @property
    def features(self) -> None:
        """None: policies that act on a task are not given it."""
        return None

    def to(self, device: torch.device) -> Rollouts:
        """The same rollouts on another device."""
        return _each(lambda tensor: tensor.to(device), self)

    def returns(self) -> Tensor:
        """Undiscounted return of every episode: (M, E); NaN for diverged episodes."""
        return torch.where(self.diverged, torch.nan, self.rewards.sum(-1))

    def task_returns(self) -> Tensor:
        """Mean return over the valid episodes of each task: (M,)."""
        return self.returns().nanmean(dim=1)

    def some_episodes(self, which: slice) -> Rollouts:
        """Some of every task's E episodes: views."""
        return _each(lambda tensor: tensor[:, which], self)

    def some_tasks(self, which: slice | list[int]) -> Rollouts:
        """Some of the M tasks, with all of their episodes."""
        return _each(lambda tensor: tensor[which], self)

    def num_steps(self) -> int:
        """Environment steps simulated, those of diverged episodes included."""
        ended = self.terminated | self.truncated
        length = ended.float().argmax(-1) + 1
        return int(torch.where(ended.any(-1), length, ended.shape[-1]).sum())


def joined_episodes(parts: Sequence[Rollouts]) -> Rollouts:
    """Episodes of the same tasks, one collection after the other: (M, E1 + E2 + ..., ...)."""
    return _each(lambda *tensors: torch.cat(tensors, 1), *parts)


def _each(function: Callable[..., Tensor], *rollouts: Rollouts) -> Rollouts:
    """Rollouts whose every tensor is `function` of the tensors of that name."""
    names = [f.name for f in fields(Rollouts) if f.name not in BELIEFS]
    assert len({tuple(r.start) for r in rollouts}) == 1, "trials that began and trials that went on"

    def beliefs(name: str) -> Belief:
        parts = [getattr(r, name) for r in rollouts]
        return {key: function(*(part[key] for part in parts)) for key in parts[0]}

    return Rollouts(
        **{name: function(*(getattr(r, name) for r in rollouts)) for name in names},
        start=beliefs("start"),
        belief=beliefs("belief"),
    )
