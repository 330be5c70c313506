"""A goal that the policy is told, through training, baselines, deployment and export."""

from __future__ import annotations

import dataclasses
import importlib.util

import numpy as np
import pytest
import torch

import metarl
from metarl.cli import main
from metarl_envs import FAMILIES, MetaEnv, load_family

FILE = """
import dataclasses
from metarl_envs import FAMILIES

HIDDEN = FAMILIES["half-cheetah-payload-velocity"]
speed, payload = HIDDEN.parameters
family = dataclasses.replace(
    HIDDEN, name="told-speed", parameters=(dataclasses.replace(speed, observed=True), payload)
)
"""
SIZES = ["--meta-batch-size", "2", "--episodes-per-task", "2", "--horizon", "6", "--quiet"]
needs_sb3 = pytest.mark.skipif(
    importlib.util.find_spec("stable_baselines3") is None, reason="needs the extra sb3"
)


@pytest.fixture(autouse=True)
def in_a_users_folder(tmp_path, monkeypatch):
    (tmp_path / "told.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    yield
    FAMILIES.pop("told-speed", None)


def train() -> metarl.deploy.MetaPolicy:
    command = ["train", "told.py:family", "--iterations", "1", "--sim-threads", "1", *SIZES]
    assert main([*command, "--run", "run"]) == 0
    return metarl.load("run")


def test_the_policy_reads_it_and_adapts_to_the_rest():
    policy = train()
    assert policy.saved.policy.observation_size == 18
    env = MetaEnv(load_family("told.py:family"))
    env.set_task({"velocity": -1.5, "torso_mass_scale": 2.0})
    adapted = policy.adapt(env, episodes=2)
    observation, _ = env.reset(seed=0)
    assert observation[-1] == -1.5
    other = np.append(observation[:-1], 1.5)
    one, two = (adapted.predict(o)[0] for o in (observation, other))
    assert np.abs(one - two).max() > 1e-3  # one action for each goal


def test_it_is_an_input_of_the_exported_file(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    policy = train()
    assert main(["export", "run", "--out", "policy.onnx"]) == 0
    session = onnxruntime.InferenceSession("policy.onnx")
    (given,) = session.get_inputs()
    assert given.shape[-1] == 18
    observation = np.linspace(-1, 1, 18, dtype=np.float32)
    (action,) = session.run(None, {given.name: observation[None]})[:1]
    np.testing.assert_allclose(action[0], policy.predict(observation)[0], atol=1e-6)


@needs_sb3
@pytest.mark.parametrize(("baseline", "size"), [("robust", 18), ("oracle", 20)])
def test_baselines_are_told_it_and_only_the_oracle_the_rest(baseline, size):
    command = ["baseline", baseline, "told.py:family", "--env-steps", "64", "--worlds", "2"]
    command += ["--outer.minibatches", "2", "--horizon", "16", "--sim-threads", "1", "--quiet"]
    assert main([*command, "--run", "run"]) == 0
    assert metarl.load("run").saved.policy.observation_size == size


def test_a_family_that_tells_something_else_is_refused():
    train()
    FAMILIES.pop("told-speed", None)
    hidden = FILE.replace("observed=True", "observed=False")
    with open("told.py", "w") as file:
        file.write(hidden)
    with pytest.raises(metarl.errors.RunError, match="18"):
        load_family("told.py:family")
        metarl.load("run")


def test_every_parameter_of_a_shipped_family_can_be_told():
    for family in list(FAMILIES.values()):
        told = dataclasses.replace(
            family,
            parameters=tuple(dataclasses.replace(p, observed=True) for p in family.parameters),
        )
        tasks = told.sample_tasks(3, torch.Generator().manual_seed(0), "train")
        values = [v.reshape(3, -1).numpy() for v in tasks.values.values()]
        np.testing.assert_array_equal(
            told.observed_task(tasks).numpy(), np.concatenate(values, axis=1)
        )
