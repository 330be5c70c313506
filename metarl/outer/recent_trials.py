"""The last few collections of trials, for learners that learn from more than the newest one.

Axes: C collections, N worlds, L steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import torch
from torch import Tensor

from metarl.outer.trial_ppo import without_prefix
from metarl.policies.params import Params
from metarl.rollouts.trials import START, Trial

REPLAY, COUNT = "replay.", "replay.count"


def replay_of(trial: Trial, others: Mapping[str, Tensor], collections: int) -> Params:
    """An empty replay for so many collections like this one.

    Args:
        trial: of the shapes.
        others: what is kept beside it, each (1, N, ...).
        collections: C.
    """
    entries = trial.entries() | dict(others)
    held = {
        REPLAY + name: value.new_zeros(collections, *value.shape[1:])
        for name, value in entries.items()
    }
    return held | {COUNT: torch.zeros((), dtype=torch.long)}


def with_collection(state: Params, trial: Trial, others: Mapping[str, Tensor]) -> Params:
    """The replay with one more collection, in the place of the oldest if it is full."""
    state = dict(state)
    count = int(state[COUNT])
    for name, value in (trial.entries() | dict(others)).items():
        held = state[REPLAY + name].clone()
        held[count % len(held)] = value[0]
        state[REPLAY + name] = held
    return state | {COUNT: torch.tensor(count + 1)}


def num_replayed(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """The number of trials held, and that of one collection."""
    collections, worlds = state[REPLAY + "valid"].shape[:2]
    return min(int(state[COUNT]), collections) * worlds, worlds


def replayed(state: Mapping[str, Tensor], which: Tensor) -> tuple[Trial, Params]:
    """Trials by their numbers (n,), counted over collections and worlds; what was kept beside."""
    held = without_prefix(REPLAY, {n: v for n, v in state.items() if n != COUNT})
    chosen = {name: value.flatten(0, 1)[which].unsqueeze(0) for name, value in held.items()}
    names = {f.name for f in fields(Trial)}
    own = {n: chosen.pop(n) for n in list(chosen) if n in names or n.startswith(START)}
    return Trial.of_entries(own), chosen


def some_of(state: Mapping[str, Tensor], name: str, which: Tensor) -> Tensor:
    """An entry of the replay, such as `valid`, of trials by their numbers: (n,) -> (n, ...)."""
    return state[REPLAY + name].flatten(0, 1)[which]
