"""Configs: JSON round trip, and errors that name field, value and range."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from metarl.adaptation import ADAPTATIONS
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_rates import LayerRates
from metarl.adaptation.none import Unadapted
from metarl.methods.config import TrainConfig, from_json, settings, to_json, with_settings
from metarl.methods.families import recipe
from metarl.methods.setup import check_machine, device_of, inner_loop_of
from metarl.outer import OUTER_UPDATES
from metarl.outer.adam import Adam
from metarl.outer.e_maml import EMaml
from metarl.outer.maml_pp import MamlPlusPlus
from metarl.outer.meta_gradient import OuterUpdate
from metarl.outer.promp import ProMp
from metarl.outer.reptile import Reptile
from metarl.outer.rl2 import Rl2
from metarl.outer.state import Generators
from metarl.outer.teacher_student import TeacherStudent
from metarl.outer.trpo import Trpo
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
        within = registry is OUTER_UPDATES and not issubclass(cls, OuterUpdate)
        # Learners of adaptation within the episode take no other.
        config = make(**{place: cls()} | ({"inner": Unadapted()} if within else {}))
        data = json.loads(json.dumps(to_json(config)))
        assert data[place]["kind"] == kind
        assert from_json(data) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, 0) for name in ("iterations", "episodes_per_task", "horizon", "sim_threads")),
        *(("checkpoint_every", 0), ("adaptation_steps", 0), ("meta_batch_size", -1), ("seed", -1)),
        *(("device", "tpu"), ("engine", "brax"), ("max_fault_share", 0.0)),
        *(("discount", 1.5), ("discount", 0.0), ("gae_lambda", -0.1), ("gae_lambda", 1.5)),
    ],
)
def test_impossible_values_are_refused_by_name_and_value(field, value):
    with pytest.raises(InputError, match=field) as error:
        make(**{field: value})
    assert str(value) in str(error.value)


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (GradientStep, {"inner_lr": 0.0, "inner_lr_decay": 1.5}),
        (Trpo, {"max_kl": 0.0, "cg_iterations": 0, "max_backtracks": 0, "cg_damping": -1.0}),
        (Trpo, {"backtrack_ratio": 1.0, "curvature_fraction": 1.5, "adaptation_lr": 0.0}),
        (ProMp, {"learning_rate": 0.0, "adaptation_lr": -1.0, "epochs": 0, "minibatches": 0}),
        (ProMp, {"max_kl": 0.0, "clip": 1.0, "inner_kl_penalty": -1.0}),
        (EMaml, {"inner_kl_penalty": -1.0, "exploration": -0.1, "clip": 0.0}),
        (MamlPlusPlus, {"inner_kl_penalty": -1.0, "multi_step_until": 1.1}),
        (Adam, {"learning_rate": 0.0}),
        (Reptile, {"outer_lr": 0.0}),
        (Rl2, {"trial_episodes": 0, "clip": 1.0, "goes_on": 1.5, "entropy": -0.1}),
        (TeacherStudent, {"teacher_rate": 0.0, "passes": 0, "clip": 1.0, "teacher_share": -0.1}),
    ],
)
def test_impossible_settings_of_the_loops_are_refused(config, values):
    for field, value in values.items():
        with pytest.raises(InputError, match=f"^{field} = {value}: must be "):
            config(**{field: value})


@pytest.mark.parametrize(
    ("place", "values", "path", "value"),
    [
        ("", {"iterations": "many"}, "config.iterations", "'many'"),
        ("", {"iterations": 2.5}, "config.iterations", "2.5"),
        ("", {"meta_batch_size": True}, "config.meta_batch_size", "True"),
        ("", {"horizon": 0}, "config.horizon", "0"),
        ("", {"inner_loss": "dice"}, "config.inner_loss", "'dice'"),
        ("", {"colour": 1}, "config", "'colour'"),
        ("", {"policy": 3}, "config.policy.kind", "None"),
        ("", {"policy": {"kind": "abc"}}, "config.policy.kind", "'abc'"),
        ("policy", {"hidden_sizes": [8, 0]}, "config.policy.hidden_sizes[1]", "0"),
        ("policy", {"hidden_sizes": 8}, "config.policy.hidden_sizes", "8"),
        ("policy", {"init_std": None}, "config.policy.init_std", "None"),
        ("inner", {"colour": 1}, "config.inner", "'colour'"),
        ("inner", {"inner_lr": -1}, "config.inner.inner_lr", "-1.0"),
        ("outer", {"max_kl": "x"}, "config.outer.max_kl", "'x'"),
        ("origin", {"reference": 3}, "config.origin.reference", "3"),
    ],
)
def test_a_wrong_value_in_a_file_is_refused_with_its_path(place, values, path, value):
    data = to_json(recipe("navigation"))
    changed = data | ({place: data[place] | values} if place else values)
    with pytest.raises(InputError) as caught:
        from_json(changed)
    message = str(caught.value)
    assert message.startswith((f"{path} = {value}", f"{path}: ")) and value in message
    assert "\n" not in message


@pytest.mark.parametrize("data", [None, 3, "config", [], [1]])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(InputError, match="config: must be an object"):
        from_json(data)


def test_a_field_that_a_file_lacks_is_at_its_default_unless_there_is_none():
    data = to_json(make(discount=0.5, outer=ProMp(clip=0.1)))
    del data["discount"], data["outer"]["clip"]
    assert from_json(data) == make(outer=ProMp())
    with pytest.raises(InputError, match=r"config\.horizon: missing"):
        from_json({name: value for name, value in data.items() if name != "horizon"})


def test_loops_that_do_not_fit_each_other_are_refused():
    with pytest.raises(InputError, match="outer = Reptile with inner = MetaSgd"):
        from_json(to_json(make()) | {"inner": {"kind": "meta-sgd"}, "outer": {"kind": "reptile"}})
    with pytest.raises(InputError, match="meta_batch_size = 5: must be even"):
        from_json(to_json(make()) | {"outer": {"kind": "es"}, "meta_batch_size": 5})


@pytest.mark.parametrize("place", ["inner", "outer"])
@pytest.mark.parametrize("value", [{}, {"kind": "magic"}, {"kind": ["gradient"]}, "gradient", None])
def test_a_kind_that_is_not_there_is_refused_with_those_that_are(place, value):
    registry = ADAPTATIONS if place == "inner" else OUTER_UPDATES
    with pytest.raises(InputError, match=rf"^config\.{place}\.kind = .*: allowed are ") as caught:
        from_json(to_json(make()) | {place: value})
    assert str(caught.value).endswith(", ".join(registry))


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
        ({"outer.clip": 2}, r"^outer\.clip = 2.0: must be greater than 0 and less than 1$"),
        ({"outer.epochs": "x"}, r"^outer\.epochs = 'x': must be a whole number"),
        ({"inner.first_order": 1}, r"^inner\.first_order = 1: must be True or False"),
        ({"policy.hidden_sizes": [8, -1]}, r"^policy\.hidden_sizes\[1\] = -1: must be at least 1"),
        ({"iterations": True}, "^iterations = True: must be a whole number"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        with_settings(recipe("navigation", "promp"), given)
    assert "\n" not in str(caught.value)


def test_the_adaptation_of_an_iteration_is_that_of_its_share_of_the_run():
    rates = LayerRates(first_order_until=0.5)
    config = make(inner=rates, inner_loss="ratio", discount=0.9, gae_lambda=0.8)
    early, late = inner_loop_of(config, 0.4), inner_loop_of(config, 0.6)
    assert (early.adaptation, late.adaptation) == (rates.at(0.4), rates.at(0.6))
    assert early.adaptation != late.adaptation
    assert (early.inner_loss, early.discount, early.gae_lambda) == ("ratio", 0.9, 0.8)


# ---- devices and random streams ------------------------------------------------------------------


def test_cuda_without_a_device_is_a_clear_error():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    config = make(device="cuda")
    with pytest.raises(InputError, match="no CUDA device"):
        device_of(config)
    assert device_of(make()).type == "cpu"


def test_generators_are_independent_and_continue_from_a_saved_state():
    streams = Generators.from_seed(7)
    draws = [torch.rand(4, generator=getattr(streams, name)) for name in streams.state()]
    assert len({tuple(draw.tolist()) for draw in draws}) == 7
    again = Generators.from_state(streams.state())
    assert torch.equal(
        torch.rand(4, generator=streams.resets), torch.rand(4, generator=again.resets)
    )
    assert not torch.equal(
        torch.rand(4, generator=Generators.from_seed(8).tasks),
        torch.rand(4, generator=Generators.from_seed(7).tasks),
    )


def test_collections_that_a_learner_keeps_count_as_memory(monkeypatch):
    """128 x 100 steps of navigation take 14 numbers each: 2 collections, or 6 + 1 of 2 each."""
    names = {"meta_batch_size": 128, "horizon": 100}
    rl2, student = (
        dataclasses.replace(recipe("navigation", method), **names)
        for method in ("rl2", "teacher-student")
    )
    assert rl2.outer.collections_held(1) == 2 and student.outer.collections_held(1) == 14
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 5_000_000}.__getitem__)
    check_machine(rl2)  # 1.4 MB
    with pytest.raises(InputError, match=r"100 steps x 14 collections need more than"):
        check_machine(student)  # 10 MB
