"""The engine without a simulator."""

from __future__ import annotations

import pytest
import torch

from metarl_envs import InputError
from metarl_envs.engines import AnalyticEngine


def add(qpos, ctrl):
    return qpos + ctrl


def make(num_worlds=3):
    engine = AnalyticEngine(add, num_worlds, nq=2, nu=2)
    zeros = torch.zeros(num_worlds, 2, dtype=torch.float64)
    engine.reset(None, zeros, zeros)
    return engine


def test_masked_step_moves_only_its_worlds():
    engine = make()
    engine.data["ctrl"][:] = torch.tensor([1.0, 2.0])
    engine.step(2, torch.tensor([True, False, True]))
    assert engine.data["qpos"].tolist() == [[2, 4], [0, 0], [2, 4]]
    assert engine.data["time"].tolist() == [2, 0, 2]


def test_masked_reset_restarts_only_its_worlds():
    engine = make()
    engine.data["ctrl"][:] = 1.0
    engine.step(1)
    ones = torch.ones(3, 2, dtype=torch.float64)
    engine.reset(torch.tensor([True, False, False]), 5 * ones, ones)
    assert engine.data["qpos"].tolist() == [[5, 5], [1, 1], [1, 1]]
    assert engine.data["time"].tolist() == [0, 1, 1]


def test_state_round_trip():
    engine = make()
    engine.data["ctrl"][:] = 0.25
    engine.step(1)
    saved = engine.state()
    engine.step(3)
    expected = engine.state()
    engine.set_state(saved)
    engine.step(3)
    assert all(torch.equal(value, expected[name]) for name, value in engine.state().items())


@pytest.mark.parametrize("field", ["qpos", "ctrl"])
def test_nan_is_a_fault_of_its_own_world(field):
    engine = make()
    engine.data[field][1, 0] = torch.nan
    engine.step(1)
    assert engine.faults().tolist() == [0, 1, 0]


def test_takes_no_model_fields_and_no_empty_size():
    with pytest.raises(ValueError, match="body_mass"):
        make().set_model_fields({"body_mass": torch.ones(3)})
    with pytest.raises(InputError, match="num_worlds = 0: must be at least 1"):
        make(0)
