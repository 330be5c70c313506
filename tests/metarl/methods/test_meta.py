"""Requirements on every method: train, checkpoint, resume bit for bit, adapt at deployment."""

from __future__ import annotations

import dataclasses

import gymnasium
import pytest
import torch

import metarl
from metarl.adaptation.none import Unadapted
from metarl.cli import main
from metarl.methods.config import TrainConfig, from_json, settings, to_json, with_settings
from metarl.methods.families import recipe
from metarl.methods.meta import METHODS
from metarl.outer.teacher_student import TeacherStudent
from metarl.policies.params import learned
from metarl.runs.checkpoint import create_run, load_checkpoint, load_policy
from metarl.runs.metrics_log import read_metrics
from metarl.training.trainer import initial_state, train
from metarl_envs import InputError, get_family

BETWEEN_EPISODES = [n for n in METHODS if not isinstance(recipe("navigation", n).inner, Unadapted)]
FIXED = {"grbal": ["log_std"], "rebal": ["log_std"]}
"""Learned entries that a method leaves as they are: a planner's noise is a setting."""


def tiny(method: str, iterations: int = 4) -> TrainConfig:
    """The method's own recipe, small."""
    config = recipe("navigation", method)
    sizes = {"meta_batch_size": 8, "episodes_per_task": 5, "horizon": 8, "sim_threads": 1}
    hidden = [4] if config.policy.hidden_sizes else []
    chosen = {"device": "cpu", "policy.hidden_sizes": hidden, "checkpoint_every": 2}
    if "outer.population" in settings(config):
        chosen["outer.population"] = 4
    if method in FIXED:
        chosen |= {"outer.steps": 10, "policy.candidates": 8, "policy.rounds": 1}
    if method == "teacher-student":  # a phase of each kind
        chosen |= {
            "outer.teacher_share": 0.5,
            "outer.reinforcement_share": 0.25,
            "outer.critic_first": 0,
        }
    return with_settings(config, {**sizes, **chosen, "iterations": iterations})


@pytest.mark.parametrize("method", METHODS)
def test_a_run_moves_every_learned_tensor_and_resumes_to_the_same_bits(method, tmp_path):
    config, folders = tiny(method), (tmp_path / "whole", tmp_path / "again")
    for folder in folders:
        create_run(folder, config, ["metarl", "train"])
    start = initial_state(config)
    whole = train(config, start, folders[0], quiet=True)
    unchanged = [n for n, v in learned(start.params).items() if torch.equal(v, whole.params[n])]
    assert unchanged == FIXED.get(method, []) and whole.refused == 0

    _, halfway = load_checkpoint(folders[0], 2)
    resumed = train(config, halfway, folders[1], quiet=True)
    assert resumed.iteration == whole.iteration == 4
    for first, second in ((whole.params, resumed.params), (whole.optimizer, resumed.optimizer)):
        assert first.keys() == second.keys()
        assert [name for name in first if not torch.equal(first[name], second[name])] == []
    old, new = read_metrics(folders[0])[2:], read_metrics(folders[1])
    assert [untimed(line) for line in old] == [untimed(line) for line in new]


def untimed(line):
    return {name: value for name, value in line.items() if not name.startswith("time/")}


@pytest.mark.parametrize("method", BETWEEN_EPISODES)
def test_the_trained_policy_adapts_through_load(method, tmp_path):
    config = tiny(method, iterations=1)
    create_run(tmp_path / "run", config, ["metarl", "train"])
    train(config, initial_state(config), tmp_path / "run", quiet=True)
    assert load_policy(tmp_path / "run").config.method == method
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


def test_families_on_which_a_method_learns_nothing_are_named_and_exist(capsys):
    failing = {name: m.learns_nothing_on for name, m in METHODS.items() if m.learns_nothing_on}
    assert set(failing) == {"cavia", "es-maml", "cma-es", "pearl"}
    assert main(["methods"]) == 0
    table = capsys.readouterr().out
    assert main(["methods", "cavia"]) == 0
    one = capsys.readouterr().out
    for family in (name for names in failing.values() for name in names):
        assert get_family(family).name in table
        assert "note: " in one and "half-cheetah-direction" in one


def test_an_unknown_method_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown method 'prom': did you mean promp"):
        recipe("navigation", "prom")


@pytest.mark.parametrize("method", [m for m in METHODS if m not in {*BETWEEN_EPISODES, *FIXED}])
def test_a_memory_reads_the_reward_only_where_something_hidden_may_show_in_it_alone(method):
    for family, expected in (("navigation", True), ("hopper-dynamics", False)):
        assert recipe(family, method).policy.observe_reward is expected


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("arm-reach", (0.2, 0.01)),  # by a keyframe
        ("quadruped-load", (0.2, 0.01)),  # by an action in the middle: an even trot
        ("half-cheetah-direction", (1.0, 1.0)),
    ],
)
def test_a_teacher_begins_where_servos_hold_its_robot(family, expected):
    outer = recipe(family, "teacher-student").outer
    assert isinstance(outer, TeacherStudent)
    assert (outer.teacher_std, outer.teacher_output) == expected
