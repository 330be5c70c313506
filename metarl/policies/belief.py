"""Beliefs of policies about the task, and the episodes that they follow from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Belief = dict[str, Tensor]
"""Tensors that a policy carries along through a trial, by name: each (M, E, ...). Empty: none."""


class Outcome(NamedTuple):
    """Outcome of an action."""

    actions: Tensor  # (M, E, A) outputs, cut where controls were cut
    rewards: Tensor  # (M, E)
    terminated: Tensor  # (M, E) the MDP ended
    truncated: Tensor  # (M, E) the clock ran out
    observations: Tensor  # (M, E, O) after it, also after an episode's last step


class Episodes(Protocol):
    """Whole episodes as far as a policy reads them: `metarl.rollouts.data.Rollouts`.

    A trial joins n of them in time, T = n * (steps of one): `metarl.rollouts.trials.Trial`.
    """

    @property
    def observations(self) -> Tensor: ...  # (M, E, T, O)
    @property
    def actions(self) -> Tensor: ...  # (M, E, T, A) outputs
    @property
    def rewards(self) -> Tensor: ...  # (M, E, T)
    @property
    def terminated(self) -> Tensor: ...  # (M, E, T)
    @property
    def truncated(self) -> Tensor: ...  # (M, E, T)
    @property
    def valid(self) -> Tensor: ...  # (M, E, T)
    @property
    def final_observations(self) -> Tensor: ...  # (M, E, O) or (M, E, n, O)
    @property
    def features(self) -> Tensor | None: ...  # (M, E, T, F) the true task; None: not known
    @property
    def start(self) -> Belief: ...  # (M, E, ...) where a trial went on; {}: it began


def outcomes(episodes: Episodes, sent: Tensor) -> Iterator[Outcome]:
    """Outcomes of the T steps, whose outputs reached the robot as `sent`, (M, E, T, A)."""
    ends = episodes.terminated, episodes.truncated
    steps = (sent, episodes.rewards, *ends, next_observations(episodes))
    return map(Outcome, *(tensor.unbind(2) for tensor in steps))


def next_observations(episodes: Episodes) -> Tensor:
    """The observation after every step, an episode's last one included: (M, E, T, O)."""
    observations = episodes.observations
    M, E, T, O = observations.shape
    final = episodes.final_observations.reshape(M, E, -1, O)
    following = torch.cat([observations[:, :, 1:], final[:, :, -1:]], dim=2)
    final = final.repeat_interleave(T // final.shape[2], dim=2)
    ended = episodes.terminated | episodes.truncated
    return torch.where(ended.unsqueeze(-1), final, following)


def where(worlds: Tensor, belief: Belief, other: Belief) -> Belief:
    """`belief` in the worlds that are true, (M, E), and `other` in the rest."""
    return {
        name: torch.where(
            worlds.view(*worlds.shape, *[1] * (value.dim() - worlds.dim())), value, other[name]
        )
        for name, value in belief.items()
    }
