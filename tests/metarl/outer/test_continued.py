"""Trials that outlast an iteration keep task and belief exactly; others begin anew."""

from __future__ import annotations

import torch
from torch import Generator

from metarl.outer.continued import GOES_ON, no_trials, trials_after, trials_now
from metarl_envs import get_family

FAMILY = get_family("half-cheetah-payload-velocity")
M, E, H = 6, 2, 3


def tasks(seed):
    return FAMILY.sample_tasks(M, Generator().manual_seed(seed), "train")


def belief(value):
    """Another number in every world."""
    return {"hidden": value + torch.arange(M * E * H).float().reshape(M, E, H)}


BEGUN = {"hidden": torch.zeros(M, E, H)}


def test_every_trial_begins_in_the_first_iteration():
    state = no_trials(FAMILY.nominal_tasks(M), BEGUN)
    found, beliefs = trials_now(state, tasks(0), BEGUN)
    assert all(torch.equal(found.values[name], value) for name, value in tasks(0).values.items())
    assert torch.equal(beliefs["hidden"], BEGUN["hidden"])


def test_a_trial_that_goes_on_keeps_its_task_and_belief_and_another_keeps_nothing():
    state = trials_after(tasks(0), belief(1.0), 0.5, Generator().manual_seed(0))
    goes_on = state[GOES_ON]
    assert 0 < goes_on.sum() < M
    found, beliefs = trials_now(state, tasks(1), BEGUN)
    for name, value in found.values.items():
        assert torch.equal(value[goes_on], tasks(0).values[name][goes_on])
        assert torch.equal(value[~goes_on], tasks(1).values[name][~goes_on])
        assert value.dtype == tasks(0).values[name].dtype
    assert torch.equal(beliefs["hidden"][goes_on], belief(1.0)["hidden"][goes_on])
    assert not beliefs["hidden"][~goes_on].any()


def test_lengths_are_geometric():
    """P(L >= k) = p^(k - 1), in 4,000 draws within four standard errors."""
    stream, p = Generator().manual_seed(0), 0.6
    for probability in (0.0, 1.0):
        state = trials_after(tasks(0), belief(0.0), probability, stream)
        assert state[GOES_ON].tolist() == [bool(probability)] * M
    many = FAMILY.nominal_tasks(4000)
    alive = torch.ones(4000, dtype=torch.bool)
    for k in range(1, 4):
        alive &= trials_after(many, {}, p, stream)[GOES_ON]
        expected = p**k
        assert abs(float(alive.float().mean()) - expected) < 4 * (expected / 4000) ** 0.5
