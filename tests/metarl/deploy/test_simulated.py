"""Adaptation to one simulated task: its summary, and its seed."""

import pytest
from support.helpers import largest_difference
from support.tiny import tiny_policy

from metarl.deploy import (
    adapt_to_task,
)
from metarl_envs import get_family


def test_summary_names_task_quantity_and_unit():
    saved = tiny_policy("half-cheetah-direction")
    task = get_family("half-cheetah-direction").make_task({"direction": -1})
    adaptation = adapt_to_task(saved, task, episodes=3, steps=2)
    first, header, *rows, gain, how = adaptation.summary().splitlines()
    assert first == "half-cheetah-direction: direction = -1"
    assert header.endswith("return  forward velocity, m/s")
    for k, row in enumerate(rows):
        shown = [float(word) for word in row.split()]
        expected = [k, 3 * k, adaptation.returns[k], adaptation.quantity[k]]
        assert shown == pytest.approx(expected, abs=0.051)
    assert float(gain.split()[-1]) == pytest.approx(adaptation.gain, abs=0.051)
    assert "measured by the mean action" in how
    # direction = -1: the reward is the velocity backwards minus a small control cost.
    assert adaptation.returns[0] == pytest.approx(-12 * adaptation.quantity[0], abs=0.5)


def test_seed_fixes_an_adaptation_whatever_the_threads():
    saved = tiny_policy("half-cheetah-direction")
    task = get_family("half-cheetah-direction").make_task({"direction": 1})
    first, again, other = (
        adapt_to_task(saved, task, episodes=3, seed=seed, sim_threads=threads)
        for seed, threads in ((1, 1), (1, 2), (2, 1))
    )
    assert largest_difference(first.params, again.params) == 0
    assert largest_difference(first.params, other.params) > 0
