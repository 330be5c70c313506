"""Settings of any number type: the same object, and the same bytes on disk, as plain numbers."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

import numpy as np
import pytest
import torch
from support.number_types import WRAPS, Wrap, swapped
from support.own_robot import SOURCE
from support.tiny import tiny_policy
from support.tiny_runs import TINY, run_with

from metarl.adaptation import ADAPTATIONS
from metarl.evaluation.evaluate import evaluate
from metarl.methods.baselines import baseline_recipe
from metarl.methods.config import from_json, settings, to_json, with_settings
from metarl.methods.families import recipe
from metarl.methods.meta import METHODS
from metarl.methods.setup import family_of
from metarl.outer import OUTER_UPDATES
from metarl.outer.context_sac import SacSettings
from metarl.outer.trial_ppo import PpoSettings
from metarl.policies import POLICIES
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.privileged import PrivilegedPolicy
from metarl.runs.checkpoint import (
    SavedPolicy,
    create_run,
    load_checkpoint,
    load_policy,
    save_policy,
)
from metarl.runs.files import json_bytes
from metarl.runs.policy_folder import describe_family
from metarl.runs.run_folder import load_run_config
from metarl.training.benchmark import benchmark
from metarl.video import record
from metarl_envs import FAMILIES, InputError, TaskFamily, mujoco_robot, register_family, vary
from metarl_envs.inputs.plain import PlainFields

every_wrap = pytest.mark.parametrize("wrap", WRAPS, ids=lambda wrap: wrap.__name__)
PARTS = (
    *(kind() for kind in ADAPTATIONS.values()),
    *(kind() for kind in OUTER_UPDATES.values()),
    *(kind() for kind in POLICIES.values()),
    PpoSettings(),
    SacSettings(),
    MlpConfig(hidden_sizes=()),
    *(
        kind().policy_type()(kind(), 3, (-1.0,), (1.0,), ((-0.5,), (0.5,)), (0.25,))
        for kind in POLICIES.values()
        if kind is not MlpConfig
    ),
    PrivilegedPolicy(MlpConfig(), 3, (-1.0,), (1.0,), ((-0.5,), (0.5,)), (0.25,), 2),
    GaussianMlpPolicy(MlpConfig(), 3, (-1.0,), (1.0,), ((-0.5,), (0.5,)), (0.25,)),
    TINY,
)
every_part = pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)


def of(part: Any) -> dict[str, Any]:
    """An object's own fields by name, without the objects in it."""
    values = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
    return {n: v for n, v in values.items() if v is not None and not dataclasses.is_dataclass(v)}


@every_wrap
@every_part
def test_settings_of_any_type_become_plain_values(part, wrap):
    made = dataclasses.replace(part, **{name: wrap(value) for name, value in of(part).items()})
    assert made == part
    assert json.dumps(of(made)) == json.dumps(of(part))  # 1 is not written as 1.0 is


@every_part
def test_settings_of_a_wrong_type_are_refused_by_name(part):
    for name, value in of(part).items():
        own = {bool: (bool, np.bool_), str: (str,)}.get(type(value), ())
        for wrong in (None, "x", True, np.bool_(False), float("nan"), [1.0, [2.0, 3.0]]):
            if isinstance(wrong, own) or (
                wrong is None and name in ("control_limits", "action_middle")
            ):
                continue
            with pytest.raises(InputError, match=rf"^{name}\b.*: (must |allowed are )") as error:
                dataclasses.replace(part, **{name: wrong})
            assert "\n" not in str(error.value)


def test_every_dataclass_of_settings_is_tried():
    known, found = [PlainFields], set()
    while known:
        known += (cls := known.pop()).__subclasses__()
        if cls.__module__.startswith("metarl.") and not inspect.isabstract(cls):
            found.add(cls)
    assert found == {type(part) for part in PARTS}


def test_options_are_checked_in_python_as_in_files():
    with pytest.raises(InputError, match=r"^activation = 'gelu': allowed are tanh, relu"):
        MlpConfig(activation="gelu")
    with pytest.raises(InputError, match=r"^inner_loss = 'dice': allowed are .*log_prob"):
        dataclasses.replace(TINY, inner_loss="dice")


@every_wrap
@pytest.mark.parametrize("method", METHODS)
def test_every_setting_of_every_method_may_be_of_any_type(method, wrap):
    config = recipe("navigation", method)
    made = with_settings(config, {name: wrap(v) for name, v in settings(config).items()})
    assert made == config
    assert json.dumps(to_json(made)) == json.dumps(to_json(config))
    assert from_json(json.loads(json.dumps(to_json(made)))) == config


def wrapped(part: Any, wrap: Wrap) -> Any:
    """An object and those in it, with every number of the type that `wrap` makes."""
    own = of(part)
    changed = {name: wrap(value) for name, value in own.items()}
    inside = {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.name not in own}
    changed |= {name: wrapped(value, wrap) for name, value in inside.items()}
    return dataclasses.replace(part, **changed)


@every_wrap
def test_run_and_policy_folders_are_those_of_plain_numbers(wrap, tmp_path):
    config = wrapped(TINY, wrap)
    create_run(tmp_path / "run", config, ["metarl", "train"])
    assert load_run_config(tmp_path / "run") == TINY
    saved = tiny_policy("navigation")
    counts = {"iteration": 7, "env_steps": 640, "returns": (-1.5, -0.25), "adapted": True}
    # Nothing says whether an entry of the metadata is to be an integer.
    given = counts if wrap is swapped else {name: wrap(value) for name, value in counts.items()}
    contents = []
    for name, metadata, setup in (("one", given, config), ("two", counts, TINY)):
        policy = GaussianMlpPolicy.for_family(family_of(setup), saved.config.policy)
        setup = dataclasses.replace(setup, policy=saved.config.policy)
        folder = save_policy(tmp_path / name, SavedPolicy(policy, saved.params, setup, metadata))
        contents.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert contents[0] == contents[1]
    assert load_policy(tmp_path / "one").metadata["iteration"] == 7


def test_results_of_numpy_and_torch_are_written_as_numbers():
    data = {
        "a": np.float32(0.5),
        "b": np.arange(2),
        "c": torch.tensor([[1.5]]),
        "d": np.bool_(True),
    }
    read = json.loads(json_bytes(data | {"e": np.float64("nan")}))
    assert [read[name] for name in "abcde"] == [0.5, [0, 1], [[1.5]], True, None]


def arm(wrap: Wrap) -> TaskFamily:
    robot = mujoco_robot(SOURCE / "arm.xml", frame_skip=wrap(10))
    return TaskFamily(
        name="arm-of-any-type",
        robot=robot,
        parameters=(
            vary.gear(robot, "*", wrap((0.5, 2.0)), each=True, extrapolation=wrap((2.0, 3.0))),
            vary.goal("height", wrap((0.25, 1.0)), nominal=wrap(0.5)),
        ),
        reward=lambda t: -(t.after["qpos"][:, 0] - t.task["height"]).abs(),
        horizon=wrap(12),
    )


@every_wrap
def test_a_family_of_ones_own_is_described_alike(wrap, monkeypatch):
    described, configs = [], []
    for family in (arm(wrap), arm(lambda value: value)):
        monkeypatch.setitem(FAMILIES, family.name, family)  # not known after this test
        register_family(family)
        described.append(json.dumps(describe_family(family)))
        configs.append(json.dumps(to_json(recipe(family.name, "promp"))))
    assert described[0] == described[1]
    assert configs[0] == configs[1]


@every_wrap
def test_an_evaluation_is_that_of_plain_numbers(wrap):
    saved = tiny_policy("navigation", horizon=6)
    sizes = {"num_tasks": 3, "steps": 1, "episodes_per_step": 4, "budgets": (2,), "seed": 5}
    found, expected = (
        evaluate(saved, splits=["test"], **{name: w(value) for name, value in sizes.items()})
        for w in (wrap, lambda value: value)
    )
    assert json.dumps(found.summary()) == json.dumps(expected.summary())


@pytest.mark.parametrize("name", ["num_tasks", "steps", "episodes_per_step", "seed"])
@pytest.mark.parametrize("wrong", [True, 1.5, "1", None, [1, 2]])
def test_sizes_of_an_evaluation_are_refused_by_name(name, wrong):
    with pytest.raises(InputError, match=rf"^{name} = .*: must be a whole number"):
        evaluate(tiny_policy("navigation"), **{name: wrong})


@pytest.mark.parametrize("name", ["steps", "episodes", "seed", "width", "height"])
@pytest.mark.parametrize("wrong", [True, 1.5, "1", None, [1, 2]])
def test_sizes_of_a_recording_are_refused_before_anything_runs(name, wrong, tmp_path):
    saved = tiny_policy("navigation")
    if name == "steps" and wrong is None:
        return  # as many as it was trained for
    tasks = family_of(saved.config).nominal_tasks()
    with pytest.raises(InputError, match=rf"^{name} = .*: must be a whole number"):
        record(saved, tasks, tmp_path / "videos", **{name: wrong})
    assert not (tmp_path / "videos").exists()


@every_wrap
def test_baselines_and_benchmarks_take_numbers_of_any_type(wrap, tmp_path):
    assert baseline_recipe("navigation", "robust", wrap(50_000)) == baseline_recipe(
        "navigation", "robust", 50_000
    )
    rows = list(benchmark(dataclasses.replace(TINY, horizon=2), wrap([3]), wrap(1)))
    assert json.dumps([row.worlds for row in rows]) == "[3]"
    assert load_checkpoint(run_with(tmp_path / "run", 1, 2), wrap(1))[1].iteration == 1
