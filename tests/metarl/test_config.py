"""Configs: JSON round trip, and errors that name field, value and range."""

from __future__ import annotations

import json

import pytest
import torch

from metarl.adaptation.gradient import GradientAdaptationConfig
from metarl.algorithms.maml_trpo import TrpoConfig
from metarl.config import TrainConfig, from_json, to_json
from metarl.recipes import recipe
from metarl.state import Generators
from metarl_envs import InputError


def test_json_round_trip_is_exact():
    config = recipe("navigation")
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("iterations", 0),
        ("meta_batch_size", -1),
        ("episodes_per_task", 0),
        ("horizon", 0),
        ("sim_threads", 0),
        ("checkpoint_every", 0),
        ("seed", -1),
        ("max_fault_share", 0.0),
        ("device", "tpu"),
    ],
)
def test_impossible_values_are_refused_by_name_and_value(field, value):
    with pytest.raises(InputError, match=field) as error:
        TrainConfig(**({"family": "navigation", "horizon": 10} | {field: value}))
    assert str(value) in str(error.value)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (GradientAdaptationConfig, "inner_lr", 0.0),
        (GradientAdaptationConfig, "adaptation_steps", 0),
        (GradientAdaptationConfig, "discount", 1.5),
        (GradientAdaptationConfig, "gae_lambda", -0.1),
        (TrpoConfig, "max_kl", 0.0),
        (TrpoConfig, "cg_iterations", 0),
        (TrpoConfig, "backtrack_ratio", 1.0),
        (TrpoConfig, "curvature_fraction", 1.5),
    ],
)
def test_impossible_settings_of_the_loops_are_refused(config, field, value):
    with pytest.raises(InputError, match=field):
        config(**{field: value})


def test_files_of_another_version_are_refused_with_the_field():
    data = to_json(recipe("navigation"))
    with pytest.raises(InputError, match="missing fields"):
        from_json({k: v for k, v in data.items() if k != "seed"})
    with pytest.raises(InputError, match=r"unknown fields.*colour"):
        from_json(data | {"colour": 1})
    with pytest.raises(InputError, match=r"iterations = 'many'"):
        from_json(data | {"iterations": "many"})
    with pytest.raises(InputError, match="inner_loss"):
        from_json(data | {"inner": data["inner"] | {"inner_loss": "dice"}})


def test_cuda_without_a_device_is_a_clear_error():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    config = TrainConfig(family="navigation", horizon=10, device="cuda")
    with pytest.raises(InputError, match="no CUDA device"):
        config.torch_device()
    assert TrainConfig(family="navigation", horizon=10).torch_device().type == "cpu"


def test_generators_are_independent_and_continue_from_a_saved_state():
    streams = Generators.from_seed(7)
    draws = [torch.rand(4, generator=g) for g in (streams.tasks, streams.resets, streams.actions)]
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[1], draws[2])
    again = Generators.from_state(streams.state())
    assert torch.equal(
        torch.rand(4, generator=streams.resets), torch.rand(4, generator=again.resets)
    )
    assert not torch.equal(
        torch.rand(4, generator=Generators.from_seed(8).tasks),
        torch.rand(4, generator=Generators.from_seed(7).tasks),
    )
