"""Runs of in-episode methods are deployed: without critic and teacher, with all that they know."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import safetensors.torch
import torch

import metarl
from metarl import RobotTrial
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.meta import METHODS
from metarl.methods.setup import policy_of
from metarl.runs.checkpoint import create_run
from metarl.training.trainer import initial_state, train
from metarl_envs import InputError

SIZES = {"meta_batch_size": 4, "horizon": 8, "iterations": 3, "sim_threads": 1, "device": "cpu"}
IN_EPISODE = [
    name
    for name in METHODS
    if policy_of(config := recipe("navigation", name)).begin(
        policy_of(config).init(torch.Generator()), 1
    )
]


NOT_EXPORTED = ("pearl", "grbal", "rebal")
FORGETFUL = ("grbal", "rebal")
"""Methods whose policies adapt to the last steps of the episode alone."""


@pytest.fixture(params=IN_EPISODE, scope="module")
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param.replace("*", "")) / "run"
    config = with_settings(recipe("navigation", request.param), SIZES)
    fewer = {"outer.steps": 10, "policy.candidates": 8} if request.param in FORGETFUL else {}
    config = with_settings(config, {"evaluate_every": 0, "checkpoint_every": 3} | fewer)
    create_run(folder, config, ["metarl", "train"])
    train(config, initial_state(config), folder, quiet=True)
    return folder


def test_the_methods_are_there():
    assert {"teacher-student", "rl2"} <= set(IN_EPISODE)


def test_the_policy_holds_nothing_but_what_acts(run, tmp_path):
    policy = metarl.load(run)
    function = policy.saved.policy
    fresh = function.init(torch.Generator().manual_seed(0))
    (weights,) = {path.parent for path in run.rglob("model.safetensors")}
    for folder in (weights, policy.save(tmp_path / "policy")):
        held = safetensors.torch.load_file(folder / "model.safetensors")
        assert {n: v.shape for n, v in held.items()} == {n: v.shape for n, v in fresh.items()}
        others = safetensors.torch.load_file(weights / "training.safetensors")
        apart = "replay" if function.needs_family else "critic"
        assert any(apart in name for name in others)  # which a run needs, and a robot does not
    assert {path.name for path in (tmp_path / "policy").iterdir()} == {
        "model.safetensors", "config.json", "README.md",
    }  # fmt: skip


def test_the_exported_file_holds_no_more_numbers_than_the_policy(run, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from metarl.deploy.onnx import export_onnx

    policy = metarl.load(run)
    if policy.saved.config.method in NOT_EXPORTED:
        with pytest.raises(InputError, match="Policy: cannot be exported"):
            export_onnx(policy, tmp_path / "policy.onnx")
        return
    path = export_onnx(policy, tmp_path / "policy.onnx").path
    graph = onnx.load(path).graph
    held = {constant.name: int(np.prod(constant.dims)) for constant in graph.initializer}
    of_networks = sum(n for name, n in held.items() if "action" not in name and "obs_" not in name)
    params = policy.saved.params
    apart = {name for name in params if name.startswith("obs_")} | {"log_std"}
    expected = sum(value.numel() for name, value in params.items() if name not in apart)
    scalars = {"lowest", "highest", "minus_one", "one", "one_more", "unread"} & held.keys()
    assert of_networks - len(scalars) == expected


def test_it_acts_adapts_and_goes_on_where_it_was(run, tmp_path):
    policy = metarl.load(run)
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0", max_episode_steps=8)
    env.reset(options={"task": {"goal": [0.3, -0.2]}})
    adapted = policy.adapt(env, episodes=2)
    again = metarl.load(adapted.save(tmp_path / "adapted"))
    assert (tmp_path / "adapted" / "belief.safetensors").is_file()
    observation, _ = env.reset()
    np.testing.assert_array_equal(
        RobotTrial(again).act(observation), RobotTrial(adapted).act(observation)
    )
    fresh = replace(adapted.saved, belief={})
    begins_anew = np.array_equal(
        RobotTrial(metarl.deploy.MetaPolicy(fresh)).act(observation),
        RobotTrial(adapted).act(observation),
    )
    assert begins_anew is (adapted.saved.config.method in FORGETFUL)
    assert str(again).splitlines()[1].endswith("adapts while it acts")


def test_a_trial_tells_the_factors_of_the_actuators_if_its_model_has_them(run):
    trial, observation = RobotTrial(metarl.load(run)), np.array([0.1, 0.2])
    if metarl.load(run).saved.config.method != "grbal":
        with pytest.raises(InputError, match="grbal"):
            _ = trial.factors
        return
    start = trial.factors
    np.testing.assert_array_equal(start, np.ones(2))
    trial.act(observation)
    np.testing.assert_array_equal(trial.factors, start)  # no outcome yet
    trial.observe(-1.0, observation + 0.1)
    assert trial.factors.shape == (2,) and (trial.factors != start).all()
    trial.act(observation)
    trial.observe(-1.0, observation, truncated=True)
    np.testing.assert_array_equal(trial.factors, start)  # the next episode knows nothing


def test_a_policy_folder_with_another_network_in_it_is_refused(run, tmp_path):
    saved = metarl.load(run).saved
    critic = {"critic.weight_0": torch.zeros(2, 2)}
    folder = metarl.deploy.MetaPolicy(replace(saved, params=saved.params | critic)).save(
        tmp_path / "policy"
    )
    with pytest.raises(metarl.errors.RunError, match=r"unexpected tensors \['critic\.weight_0'\]"):
        metarl.load(folder)
