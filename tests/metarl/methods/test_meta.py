"""Requirements on every method: train, checkpoint, resume bit for bit, adapt at deployment."""

from __future__ import annotations

import dataclasses

import gymnasium
import pytest
import torch

import metarl
from metarl.cli import main
from metarl.methods.config import TrainConfig, from_json, settings, to_json, with_settings
from metarl.methods.families import recipe
from metarl.methods.meta import METHODS
from metarl.policies.params import learned
from metarl.runs.checkpoint import create_run, load_checkpoint, load_policy
from metarl.runs.metrics_log import read_metrics
from metarl.training.trainer import initial_state, train
from metarl_envs import InputError, get_family


def tiny(method: str, iterations: int = 4) -> TrainConfig:
    """The method's own recipe, small."""
    config = recipe("navigation", method)
    sizes = {"meta_batch_size": 8, "episodes_per_task": 5, "horizon": 8, "sim_threads": 1}
    hidden = [4] if config.policy.hidden_sizes else []
    chosen = {"device": "cpu", "policy.hidden_sizes": hidden, "checkpoint_every": 2}
    if "outer.population" in settings(config):
        chosen["outer.population"] = 4
    return with_settings(config, {**sizes, **chosen, "iterations": iterations})


@pytest.mark.parametrize("method", METHODS)
def test_a_run_resumed_from_its_files_ends_in_the_same_bits(method, tmp_path):
    config = tiny(method)
    whole = tmp_path / "whole"
    create_run(whole, config, ["metarl", "train"])
    through = train(config, initial_state(config), whole, quiet=True)

    _, halfway = load_checkpoint(whole, 2)
    again = tmp_path / "again"
    create_run(again, config, ["metarl", "train"])
    resumed = train(config, halfway, again, quiet=True)

    assert resumed.iteration == through.iteration == 4
    for name, value in through.params.items():
        assert torch.equal(value, resumed.params[name]), name
    assert through.optimizer.keys() == resumed.optimizer.keys()
    for name, value in through.optimizer.items():
        assert torch.equal(value, resumed.optimizer[name]), name
    old, new = read_metrics(whole)[2:], read_metrics(again)
    for first, second in zip(old, new, strict=True):
        timed = {key for key in first if key.startswith("time/")}
        assert {k: v for k, v in first.items() if k not in timed} == {
            k: v for k, v in second.items() if k not in timed
        }


@pytest.mark.parametrize("method", METHODS)
def test_training_moves_every_learned_tensor_and_no_update_is_refused(method, tmp_path):
    config = tiny(method)
    create_run(tmp_path / "run", config, ["metarl", "train"])
    start = initial_state(config)
    end = train(config, start, tmp_path / "run", quiet=True)
    assert end.refused == 0
    still = [
        name
        for name, value in learned(start.params).items()
        if torch.equal(value, end.params[name])
    ]
    assert not still


@pytest.mark.parametrize("method", METHODS)
def test_the_trained_policy_adapts_through_load(method, tmp_path):
    config = tiny(method, iterations=1)
    create_run(tmp_path / "run", config, ["metarl", "train"])
    train(config, initial_state(config), tmp_path / "run", quiet=True)
    policy = metarl.load(tmp_path / "run")
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    env.reset(seed=0, options={"task": {"goal": [0.3, -0.2]}})
    adapted = policy.adapt(env, episodes=3, steps=2, seed=1)
    before, after = policy.saved.params, adapted.saved.params
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    folder = adapted.save(tmp_path / "adapted")
    observation = env.observation_space.sample()
    action, _ = metarl.load(folder).predict(observation)
    assert torch.equal(torch.tensor(action), torch.tensor(adapted.predict(observation)[0]))
    assert env.action_space.contains(action)


@pytest.mark.parametrize("method", METHODS)
def test_its_configuration_survives_json(method):
    config = recipe("half-cheetah-direction", method)
    assert config.method == method
    assert from_json(to_json(config)) == config


def test_methods_are_pairs_that_differ():
    pairs = {name: dataclasses.replace(recipe("navigation", name), method="") for name in METHODS}
    assert len({str(pair) for pair in pairs.values()}) == len(METHODS)


def test_metarl_methods_lists_every_method_with_its_paper(capsys):
    assert main(["methods"]) == 0
    text = capsys.readouterr().out
    for name, method in METHODS.items():
        assert name in text
        assert method.paper in text
        assert method.adapts in text


def test_families_on_which_a_method_learns_nothing_are_named_and_exist(capsys):
    failing = {name: m.learns_nothing_on for name, m in METHODS.items() if m.learns_nothing_on}
    assert set(failing) == {"cavia", "es-maml", "cma-es"}
    assert main(["methods"]) == 0
    table = capsys.readouterr().out
    assert main(["methods", "cavia"]) == 0
    one = capsys.readouterr().out
    for family in (name for names in failing.values() for name in names):
        assert get_family(family).name in table
        assert "learned nothing, whatever was tried, on: half-cheetah-direction" in one


def test_an_unknown_method_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown method 'prom': did you mean promp"):
        recipe("navigation", "prom")


def test_a_policy_file_names_its_method(tmp_path):
    config = tiny("promp", iterations=1)
    create_run(tmp_path / "run", config, ["metarl", "train"])
    train(config, initial_state(config), tmp_path / "run", quiet=True)
    assert load_policy(tmp_path / "run").config.method == "promp"
