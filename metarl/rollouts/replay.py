"""Replay by task: the newest trials, each with all transitions of one task.

A store is a dict of tensors, so that it is part of a checkpoint, and every function returns a new
one. Axes: C trials of capacity, N trials, L = n*T steps, O observation, A action, F task features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from metarl.policies.base import Policy
from metarl.policies.belief import outcomes
from metarl.policies.params import Params
from metarl.rollouts.trials import Trial

COUNT = "count"
"""Entry of a store, (): trials ever added. The next one takes the place of the oldest."""


class Transitions(NamedTuple):
    """Transitions of N trials, in order; the valid ones come first."""

    observations: Tensor  # (N, L, O)
    actions: Tensor  # (N, L, A) squashed, as they were sent
    rewards: Tensor  # (N, L)
    terminated: Tensor  # (N, L)
    following: Tensor  # (N, L, O) observations after them
    lengths: Tensor  # (N,) number of valid transitions
    features: Tensor  # (N, F) of the true task

    def valid(self) -> Tensor:
        """Steps that are transitions and not padding: (N, L)."""
        steps = torch.arange(self.rewards.shape[1], device=self.lengths.device)
        return steps < self.lengths.unsqueeze(1)

    def at(self, steps: Tensor) -> Transitions:
        """Transitions at some steps of each trial, (N, B): (N, B, ...)."""
        by_step = (value.gather(1, _like(steps, value)) for value in self[:5])
        return Transitions(*by_step, lengths=self.lengths, features=self.features)


def transitions_of(policy: Policy, trial: Trial) -> Transitions:
    """The transitions of a trial, (1, N, L, ...), without the padding between its episodes."""
    following = torch.stack([o.observations for o in outcomes(trial, trial.actions)], dim=2)
    steps = (
        trial.observations,
        policy.squashed(policy.sent(trial.actions)),
        trial.rewards,
        trial.terminated,
        following,
    )
    order = torch.argsort((~trial.valid[0]).to(torch.uint8), dim=1, stable=True)
    sorted_steps = (value[0].gather(1, _like(order, value[0])) for value in steps)
    features = trial.features[0, :, 0]  # one task per trial
    return Transitions(*sorted_steps, lengths=trial.valid[0].sum(1), features=features)


def empty(capacity: int, steps: int, observation: int, action: int, features: int) -> Params:
    """A store of C trials of L steps without any, float32."""
    store = Transitions(
        observations=torch.zeros(capacity, steps, observation),
        actions=torch.zeros(capacity, steps, action),
        rewards=torch.zeros(capacity, steps),
        terminated=torch.zeros(capacity, steps, dtype=torch.bool),
        following=torch.zeros(capacity, steps, observation),
        lengths=torch.zeros(capacity, dtype=torch.long),
        features=torch.zeros(capacity, features),
    )
    return store._asdict() | {COUNT: torch.zeros((), dtype=torch.long)}


def with_trials(store: Mapping[str, Tensor], new: Transitions) -> Params:
    """The store with N <= C more trials, in place of the oldest where it is full."""
    count, (capacity, _) = store[COUNT], store["rewards"].shape
    places = (count + torch.arange(len(new.rewards), device=count.device)) % capacity
    fresh = {n: store[n].index_copy(0, places, v.to(store[n])) for n, v in new._asdict().items()}
    return fresh | {COUNT: count + len(new.rewards)}


def stored(store: Mapping[str, Tensor]) -> Transitions:
    """All places of the store; empty ones have length 0."""
    return Transitions(*(store[name] for name in Transitions._fields))


def filled(store: Mapping[str, Tensor]) -> Tensor:
    """Places of the trials with transitions, (n,). Waits for the device."""
    return stored(store).lengths.nonzero().squeeze(1)


def drawn_trials(
    store: Mapping[str, Tensor], places: Tensor, number: int, generator: Generator
) -> Transitions:
    """Different trials from some places, as many as asked for or as there are."""
    order = torch.randperm(len(places), generator=generator, device=generator.device)
    chosen = places[order[:number].to(places.device)]
    return Transitions(*(value[chosen] for value in stored(store)))


def drawn_steps(lengths: Tensor, number: int, generator: Generator) -> Tensor:
    """Uniform whole numbers below each of the lengths: (N,) -> (N, B)."""
    shape = (len(lengths), number)
    shares = torch.rand(shape, generator=generator, device=generator.device).to(lengths.device)
    return (shares * lengths.unsqueeze(1)).long().clamp(max=lengths.unsqueeze(1) - 1)


def _like(steps: Tensor, value: Tensor) -> Tensor:
    """Step numbers (N, B) as `gather` takes them for a tensor (N, L, ...)."""
    steps = steps.view(*steps.shape, *[1] * (value.dim() - 2))
    return steps.expand(*steps.shape[:2], *value.shape[2:])
