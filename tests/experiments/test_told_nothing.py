"""Families whose teachers are told nothing differ from the shipped ones in that alone."""

from __future__ import annotations

from torch import Generator

from experiments.told_nothing import quadruped_load
from metarl_envs import get_family


def test_the_tasks_are_those_of_the_family_and_have_no_features():
    shipped = get_family("quadruped-load")
    own, given = (
        f.sample_tasks(5, Generator().manual_seed(0), "train") for f in (quadruped_load, shipped)
    )
    assert own.values.keys() == given.values.keys()
    assert all(own.values[name].equal(value) for name, value in given.values.items())
    assert quadruped_load.task_features(own).shape == (5, 0)
    assert shipped.task_features(given).any()
    assert quadruped_load.parameters == shipped.parameters
