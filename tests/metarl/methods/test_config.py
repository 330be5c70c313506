"""Configs: JSON round trip, and errors that name field, value and range."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from metarl.adaptation import ADAPTATIONS
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_rates import LayerRates
from metarl.methods.config import TrainConfig, from_json, settings, to_json, upgraded, with_settings
from metarl.methods.families import recipe
from metarl.outer import OUTER_UPDATES
from metarl.outer.adam import Adam
from metarl.outer.e_maml import EMaml
from metarl.outer.maml_pp import MamlPlusPlus
from metarl.outer.promp import ProMp
from metarl.outer.reptile import Reptile
from metarl.outer.state import Generators
from metarl.outer.trpo import Trpo
from metarl.policies.mlp import MlpConfig
from metarl_envs import InputError


def make(**changes) -> TrainConfig:
    return TrainConfig(**{"family": "navigation", "method": "maml-trpo", "horizon": 10} | changes)


def test_json_round_trip_is_exact():
    config = recipe("navigation")
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("registry", [ADAPTATIONS, OUTER_UPDATES])
def test_json_round_trip_of_everything_registered(registry):
    place = "inner" if registry is ADAPTATIONS else "outer"
    for kind, cls in registry.items():
        data = json.loads(json.dumps(to_json(make(**{place: cls()}))))
        assert data[place]["kind"] == kind
        assert from_json(data) == make(**{place: cls()})


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
        ("engine", "brax"),
        ("adaptation_steps", 0),
        ("discount", 1.5),
        ("discount", 0.0),
        ("gae_lambda", -0.1),
        ("gae_lambda", 1.5),
    ],
)
def test_impossible_values_are_refused_by_name_and_value(field, value):
    with pytest.raises(InputError, match=field) as error:
        make(**{field: value})
    assert str(value) in str(error.value)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (GradientStep, "inner_lr", 0.0),
        (GradientStep, "inner_lr_decay", 1.5),
        (Trpo, "max_kl", 0.0),
        (Trpo, "cg_iterations", 0),
        (Trpo, "max_backtracks", 0),
        (Trpo, "cg_damping", -1.0),
        (Trpo, "backtrack_ratio", 1.0),
        (Trpo, "curvature_fraction", 1.5),
        (Trpo, "adaptation_lr", 0.0),
        (ProMp, "learning_rate", 0.0),
        (ProMp, "adaptation_lr", -1.0),
        (ProMp, "epochs", 0),
        (ProMp, "minibatches", 0),
        (ProMp, "max_kl", 0.0),
        (ProMp, "clip", 0.0),
        (ProMp, "clip", 1.0),
        (ProMp, "inner_kl_penalty", -1.0),
        (EMaml, "inner_kl_penalty", -1.0),
        (MamlPlusPlus, "inner_kl_penalty", -1.0),
        (Adam, "learning_rate", 0.0),
        (EMaml, "exploration", -0.1),
        (MamlPlusPlus, "multi_step_until", 1.1),
        (Reptile, "outer_lr", 0.0),
    ],
)
def test_impossible_settings_of_the_loops_are_refused(config, field, value):
    with pytest.raises(InputError, match=f"^{field} = {value}: must be "):
        config(**{field: value})


def test_files_of_another_version_are_refused_with_the_field():
    data = to_json(recipe("navigation"))
    with pytest.raises(InputError, match="missing fields"):
        from_json({k: v for k, v in data.items() if k != "seed"})
    with pytest.raises(InputError, match=r"unknown fields.*colour"):
        from_json(data | {"colour": 1})
    with pytest.raises(InputError, match=r"iterations = 'many'"):
        from_json(data | {"iterations": "many"})
    with pytest.raises(InputError, match=r"config\.inner_loss = 'dice': allowed are .*log_prob"):
        from_json(data | {"inner_loss": "dice"})
    with pytest.raises(InputError, match=r"config\.inner: unknown fields.*colour"):
        from_json(data | {"inner": data["inner"] | {"colour": 1}})
    with pytest.raises(InputError, match=r"config\.outer: missing fields.*max_kl"):
        from_json(data | {"outer": {"kind": "trpo"}})


@pytest.mark.parametrize("place", ["inner", "outer"])
@pytest.mark.parametrize("value", [{}, {"kind": "magic"}, {"kind": ["gradient"]}, "gradient", None])
def test_a_kind_that_is_not_there_is_refused_with_those_that_are(place, value):
    registry = ADAPTATIONS if place == "inner" else OUTER_UPDATES
    with pytest.raises(InputError, match=rf"^config\.{place}\.kind = .*: allowed are ") as caught:
        from_json(to_json(make()) | {place: value})
    assert str(caught.value).endswith(", ".join(registry))


def test_files_from_before_a_policy_could_be_told_the_task_say_it_was_not():
    data = to_json(make(observe_task=True))
    assert from_json(data).task_family().observes_task
    old = from_json({k: v for k, v in data.items() if k != "observe_task"})
    assert not old.task_family().observes_task


def test_files_from_before_training_was_evaluated_say_that_it_was_not():
    data = to_json(make())
    assert (data["evaluate_every"], data["evaluation_tasks"]) == (20, 10)
    old = {k: v for k, v in data.items() if k not in ("evaluate_every", "evaluation_tasks")}
    assert from_json(old).evaluate_every == 0


def test_files_from_before_engines_could_be_chosen_say_cpu():
    data = to_json(make(engine="warp"))
    assert from_json(data).engine == "warp"
    assert from_json({k: v for k, v in data.items() if k != "engine"}).engine == "cpu"


# ---- single settings -----------------------------------------------------------------------------


def test_settings_are_everything_but_what_defines_the_run():
    config = recipe("navigation", "promp")
    flat = settings(config)
    assert (flat["outer.clip"], flat["inner.inner_lr"], flat["seed"]) == (0.3, 0.1, 0)
    assert flat["policy.hidden_sizes"] == (100, 100)
    assert not {"family", "method", "inner", "outer", "inner.kind", "outer.kind"} & set(flat)
    assert with_settings(config, flat) == config


def test_a_setting_changes_itself_and_nothing_else():
    config = recipe("navigation", "promp")
    changed = with_settings(config, {"outer.clip": 0.2, "seed": 3, "policy.hidden_sizes": [7]})
    assert (changed.seed, changed.policy.hidden_sizes) == (3, (7,))
    assert changed.outer == ProMp(learning_rate=2e-3, clip=0.2)
    assert dataclasses.replace(changed, seed=0, outer=config.outer, policy=config.policy) == config
    assert config.outer == ProMp(learning_rate=2e-3)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"outer.cg_iterations": 1}, "unknown setting of promp 'outer.cg_iterations'"),
        ({"outer.clop": 0.1}, "unknown setting of promp 'outer.clop': did you mean outer.clip"),
        ({"family": "navigation"}, "unknown setting of promp 'family'"),
        ({"outer.kind": "trpo"}, "unknown setting of promp 'outer.kind'"),
        ({"outer": {}}, "unknown setting of promp 'outer'"),
        ({"outer.clip": 2}, "^clip = 2.0: must be between 0 and 1"),
        ({"outer.epochs": "x"}, r"config\.outer\.epochs = 'x': must be a whole number"),
        ({"inner.first_order": 1}, r"config\.inner\.first_order = 1: must be True or False"),
        ({"iterations": True}, "config.iterations = True: must be a whole number"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        with_settings(recipe("navigation", "promp"), given)
    assert "\n" not in str(caught.value)


def test_the_adaptation_of_an_iteration_is_that_of_its_share_of_the_run():
    rates = LayerRates(first_order_until=0.5)
    config = make(inner=rates, inner_loss="ratio", discount=0.9, gae_lambda=0.8)
    early, late = config.inner_loop(progress=0.4), config.inner_loop(progress=0.6)
    assert (early.adaptation, late.adaptation) == (rates.at(0.4), rates.at(0.6))
    assert early.adaptation != late.adaptation
    assert (early.inner_loss, early.discount, early.gae_lambda) == ("ratio", 0.9, 0.8)


# ---- schema 1 ------------------------------------------------------------------------------------


def test_a_configuration_of_schema_1_says_the_same_in_the_new_form():
    old = {
        **{"family": "navigation", "horizon": 50, "iterations": 7, "meta_batch_size": 9},
        **{"episodes_per_task": 11, "seed": 3, "device": "cpu", "sim_threads": 2},
        **{"checkpoint_every": 5, "max_fault_share": 0.3},
        "policy": {
            **{"hidden_sizes": [4], "activation": "relu", "init_std": 0.5, "min_std": 1e-3},
            **{"action_scale": 1.0, "normalize_observations": True},
        },
        "inner": {
            **{"inner_lr": 0.2, "inner_lr_decay": 0.5, "adaptation_steps": 2},
            **{"inner_loss": "ratio", "first_order": True, "discount": 0.9, "gae_lambda": 0.8},
        },
        "outer": {
            **{"max_kl": 0.02, "cg_iterations": 5, "cg_damping": 1e-3, "backtrack_ratio": 0.5},
            **{"max_backtracks": 4, "curvature_fraction": 0.5},
        },
    }
    before = json.dumps(old)
    assert from_json(upgraded(old)) == TrainConfig(
        family="navigation",
        method="maml-trpo",
        horizon=50,
        iterations=7,
        meta_batch_size=9,
        episodes_per_task=11,
        seed=3,
        device="cpu",
        engine="cpu",
        sim_threads=2,
        checkpoint_every=5,
        evaluate_every=0,
        max_fault_share=0.3,
        adaptation_steps=2,
        inner_loss="ratio",
        discount=0.9,
        gae_lambda=0.8,
        policy=MlpConfig(0.5, 1e-3, 1.0, True, (4,), "relu"),
        inner=GradientStep(0.2, 0.5, True),
        outer=Trpo(0.02, 5, 1e-3, 0.5, 4, 0.5),
    )
    assert json.dumps(old) == before


@pytest.mark.parametrize("data", [None, 3, {}, {"inner": 1, "outer": {}, "policy": {}}])
def test_what_is_no_configuration_of_schema_1_is_refused(data):
    with pytest.raises(InputError, match="config: not of schema 1"):
        upgraded(data)
    with pytest.raises(InputError, match="config: not of schema 1"):
        upgraded(to_json(make()))


# ---- devices and random streams ------------------------------------------------------------------


def test_cuda_without_a_device_is_a_clear_error():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    config = make(device="cuda")
    with pytest.raises(InputError, match="no CUDA device"):
        config.torch_device()
    assert make().torch_device().type == "cpu"


def test_generators_are_independent_and_continue_from_a_saved_state():
    streams = Generators.from_seed(7)
    draws = [torch.rand(4, generator=getattr(streams, name)) for name in streams.state()]
    assert len({tuple(draw.tolist()) for draw in draws}) == 6
    again = Generators.from_state(streams.state())
    assert torch.equal(
        torch.rand(4, generator=streams.resets), torch.rand(4, generator=again.resets)
    )
    assert not torch.equal(
        torch.rand(4, generator=Generators.from_seed(8).tasks),
        torch.rand(4, generator=Generators.from_seed(7).tasks),
    )
