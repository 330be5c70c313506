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
from metarl.rollouts.trials import Trial

REPLAY, START, COUNT = "replay.", "start.", "replay.count"


def replay_of(trial: Trial, others: Mapping[str, Tensor], collections: int) -> Params:
    """An empty replay for so many collections like this one.

    Args:
        trial: of the shapes.
        others: what is kept beside it, each (1, N, ...).
        collections: C.
    """
    entries = _entries(trial, others)
    held = {
        REPLAY + name: value.new_zeros(collections, *value.shape[1:])
        for name, value in entries.items()
    }
    return held | {COUNT: torch.zeros((), dtype=torch.long)}


def with_collection(state: Params, trial: Trial, others: Mapping[str, Tensor]) -> Params:
    """The replay with one more collection, in the place of the oldest if it is full."""
    state = dict(state)
    count = int(state[COUNT])
    for name, value in _entries(trial, others).items():
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
    own = {f.name: chosen.pop(f.name) for f in fields(Trial) if f.name != "start"}
    others = {name: value for name, value in chosen.items() if not name.startswith(START)}
    return Trial(**own, start=without_prefix(START, chosen)), others


def _entries(trial: Trial, others: Mapping[str, Tensor]) -> Params:
    """Tensors of a collection by name, each (1, N, ...)."""
    own = {name: value for name, value in vars(trial).items() if name != "start"}
    return own | {START + name: value for name, value in trial.start.items()} | dict(others)
