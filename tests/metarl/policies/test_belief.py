"""Outcomes that beliefs follow from, by hand."""

import dataclasses

import pytest
import torch
from support.helpers import rollouts_of

from metarl.policies.belief import outcomes
from metarl.rollouts.data import joined_episodes


def test_the_observation_after_an_end_is_the_final_one():
    observations = torch.arange(3.0).view(1, 1, 3, 1).expand(1, 3, 3, 1)
    ends = torch.eye(3, dtype=torch.bool)[:2]  # the first step of world 0, the second of world 1
    none = torch.zeros(3, dtype=torch.bool)
    episodes = dataclasses.replace(
        rollouts_of(observations),
        terminated=torch.stack([ends[0], none, none])[None],
        truncated=torch.stack([none, ends[1], none])[None],
        final_observations=torch.tensor([[[7.0], [8.0], [9.0]]]),
    )
    after = torch.stack([o.observations for o in outcomes(episodes, observations)], dim=2)
    assert after[0, :, :, 0].tolist() == [[7, 2, 7], [1, 8, 8], [1, 2, 9]]


def test_beliefs_go_with_their_episodes():
    belief = {"memory": torch.arange(6.0).view(2, 3)}
    rollouts = dataclasses.replace(rollouts_of(torch.zeros(2, 3, 4, 1)), belief=belief)
    assert rollouts.some_episodes(slice(1, 2)).belief["memory"].tolist() == [[1], [4]]
    assert rollouts.some_tasks([1]).belief["memory"].tolist() == [[3, 4, 5]]
    joined = joined_episodes([rollouts, rollouts])
    assert joined.belief["memory"].shape == joined.quantity.shape == (2, 6)
    going_on = dataclasses.replace(rollouts, start=belief)
    assert going_on.some_episodes(slice(1, 2)).start["memory"].tolist() == [[1], [4]]
    with pytest.raises(AssertionError, match="trials that began and trials that went on"):
        joined_episodes([rollouts, going_on])
