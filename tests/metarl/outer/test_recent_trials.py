"""The replay of trials: a ring of collections, read by number."""

from __future__ import annotations

from dataclasses import replace

import torch

from metarl.outer.recent_trials import num_replayed, replay_of, replayed, with_collection
from metarl.rollouts.trials import Trial


def trial_of(value, worlds=2, steps=3):
    def filled(*shape):
        return torch.full((1, worlds, *shape), float(value))

    flag = torch.ones(1, worlds, steps, dtype=torch.bool)
    return Trial(
        observations=filled(steps, 2),
        actions=filled(steps, 1),
        log_probs=filled(steps),
        rewards=filled(steps),
        terminated=flag,
        truncated=~flag,
        valid=flag,
        final_observations=filled(1, 2),
        features=filled(1),
        clock=filled(steps, 2),
        start={"hidden": filled(4)},
    )


def test_the_oldest_collection_makes_room_and_all_of_a_trial_comes_back():
    state = replay_of(trial_of(0), {"target": torch.zeros(1, 2)}, collections=2)
    assert num_replayed(state) == (0, 2)
    for value in (1, 2, 3):
        own = torch.tensor([[10.0 * value, 10.0 * value + 1]])
        state = with_collection(state, trial_of(value), {"target": own})
    assert num_replayed(state) == (4, 2)
    trial, others = replayed(state, torch.tensor([3, 0]))  # world 1 of slot 1, world 0 of slot 0
    assert trial.rewards[0, :, 0].tolist() == [2.0, 3.0]
    assert trial.start["hidden"][0, :, 0].tolist() == [2.0, 3.0]
    assert trial.truncated.dtype == torch.bool and bool(trial.terminated.all())
    assert others.keys() == {"target"} and others["target"].tolist() == [[21.0, 30.0]]


def test_a_state_is_never_changed_in_place():
    before = replay_of(trial_of(0), {}, collections=2)
    kept = {name: value.clone() for name, value in before.items()}
    with_collection(before, replace(trial_of(5)), {})
    assert all(torch.equal(value, kept[name]) for name, value in before.items())
