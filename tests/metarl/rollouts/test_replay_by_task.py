"""Replay by task: which transitions it holds, and in whose place."""

import dataclasses

import pytest
import torch
from support.helpers import rollouts_of

from metarl.policies.base import Policy
from metarl.policies.context import ContextConfig
from metarl.rollouts.replay import (
    Transitions,
    drawn_steps,
    drawn_trials,
    empty,
    filled,
    stored,
    transitions_of,
    with_trials,
)
from metarl.rollouts.trials import joined
from metarl_envs import get_family

POLICY = Policy.for_family(get_family("navigation"), ContextConfig())


def episode(first, valid, terminated=None, diverged=False):
    """An episode of at most three steps in one world; step t observes first + t."""
    steps = torch.arange(3)
    observations = (first + steps.float()).view(1, 1, 3, 1).expand(1, 1, 3, 2)
    rollouts = rollouts_of(observations, rewards=10 * observations[..., 0])
    last = steps == valid - 1
    return dataclasses.replace(
        rollouts,
        actions=0.1 * observations,
        terminated=(last if terminated else torch.zeros(3, dtype=torch.bool)).view(1, 1, 3),
        truncated=(torch.zeros(3, dtype=torch.bool) if terminated else last).view(1, 1, 3),
        valid=((steps < valid) & (not diverged)).view(1, 1, 3),
        final_observations=torch.full((1, 1, 2), 99.0),
    )


def test_transitions_of_a_trial_with_one_termination_and_one_truncation():
    trial = joined([episode(1, 2, terminated=True), episode(5, 3)], torch.full((1, 6, 1), 7.0), {})
    known = transitions_of(POLICY, trial)
    assert known.lengths.tolist() == [5]
    assert known.valid().tolist() == [[True] * 5 + [False]]
    assert known.observations[0, :5, 0].tolist() == [1, 2, 5, 6, 7]
    assert known.following[0, :5, 1].tolist() == [2, 99, 6, 7, 99]
    assert known.rewards[0, :5].tolist() == [10, 20, 50, 60, 70]
    assert known.terminated[0, :5].tolist() == [False, True, False, False, False]
    expected = torch.tanh(0.1 * torch.tensor([1.0, 2, 5, 6, 7]))
    torch.testing.assert_close(known.actions[0, :5, 0], expected)
    assert known.features.tolist() == [[7]]


def test_an_episode_that_diverged_leaves_no_transition():
    trial = joined([episode(1, 3, diverged=True), episode(5, 3)], torch.zeros(1, 6, 1), {})
    assert transitions_of(POLICY, trial).observations[0, :3, 0].tolist() == [5, 6, 7]


def made(*numbers, steps=2, length=2):
    """Trials with recognisable features."""
    N = len(numbers)
    return Transitions(
        torch.zeros(N, steps, 2),
        torch.zeros(N, steps, 2),
        torch.tensor(numbers).view(-1, 1).expand(N, steps).float(),
        torch.zeros(N, steps, dtype=torch.bool),
        torch.zeros(N, steps, 2),
        torch.full((N,), length),
        torch.tensor(numbers).view(-1, 1).float(),
    )


def test_new_trials_take_the_place_of_the_oldest():
    store = empty(5, 2, 2, 2, 1)
    for numbers, expected in (
        ((1, 2), [1, 2, 0, 0, 0]),
        ((3, 4), [1, 2, 3, 4, 0]),
        ((5, 6), [6, 2, 3, 4, 5]),
        ((7, 8), [6, 7, 8, 4, 5]),
    ):
        before = {name: value.clone() for name, value in store.items()}
        grown = with_trials(store, made(*numbers))
        assert all(torch.equal(value, before[name]) for name, value in store.items())
        store = grown
        assert stored(store).features[:, 0].tolist() == expected
        assert stored(store).rewards[:, 1].tolist() == expected


def test_drawn_trials_are_different_and_have_transitions():
    store = with_trials(with_trials(empty(9, 2, 2, 2, 1), made(1, 2, 3)), made(4, 5, length=0))
    rng, seen = torch.Generator().manual_seed(0), set()
    for _ in range(20):
        drawn = drawn_trials(store, filled(store), 2, rng).features[:, 0].tolist()
        assert len(set(drawn)) == 2
        seen |= set(drawn)
    assert seen == {1, 2, 3}
    assert sorted(drawn_trials(store, filled(store), 8, rng).features[:, 0].tolist()) == [1, 2, 3]


def test_drawn_steps_are_uniform_below_the_lengths():
    steps = drawn_steps(torch.tensor([3, 1]), 3000, torch.Generator().manual_seed(0))
    shares = torch.bincount(steps[0]) / 3000
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert steps[1].unique().tolist() == [0]


def test_steps_of_trials_keep_together():
    trials = made(1, 2, steps=3, length=3)
    trials = trials._replace(rewards=torch.tensor([[1.0, 2, 3], [4, 5, 6]]))
    at = trials._replace(observations=trials.rewards.unsqueeze(-1)).at(
        torch.tensor([[2, 0, 2, 1], [1, 1, 0, 2]])
    )
    assert at.rewards.tolist() == [[3, 1, 3, 2], [5, 5, 4, 6]]
    assert at.observations[..., 0].tolist() == at.rewards.tolist()
    assert at.lengths.tolist() == [3, 3]
