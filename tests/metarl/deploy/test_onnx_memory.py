"""An exported policy with a memory takes its state in and gives it out, as torch's does."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from support.remembering import RememberingConfig
from support.tiny_memory import tiny_memory
from torch import Generator

from metarl import Limits, RobotTrial
from metarl.deploy import MetaPolicy
from metarl.errors import RunError
from metarl.policies.base import Policy
from metarl.policies.encoders.gru import Gru
from metarl.policies.frame_stack import FrameStackConfig
from metarl_envs import InputError, get_family

onnx = pytest.importorskip("onnx")
OnnxPolicy = pytest.importorskip("experiments.run_onnx").OnnxPolicy  # imports onnxruntime
onnx_export = importlib.import_module("metarl.deploy.onnx")
export_onnx, likely_observations = onnx_export.export_onnx, onnx_export.likely_observations

RUNNER = Path(__file__).resolve().parents[3] / "experiments" / "run_onnx.py"
POLICIES = {
    "gru": {},
    "lstm": {"encoder": "lstm"},
    "scan": {"encoder": "scan"},
    "no rewards": {"observe_reward": False},
    "latent": {"latent_size": 3, "activation": "relu"},
    "normalised": {"normalize_observations": True, "action_scale": 3.0},
    "hopper": {"family_name": "hopper-dynamics", "horizon": 20},
}
WIDE = 1e-5
"""Largest difference of an action over a trial, as a share of the actuators' range."""


def both(policy, act, steps=60, robots=3):
    """Largest difference over a trial with ends of episodes, and how much actions vary."""
    low, high = (np.array(getattr(policy.saved.policy, f"action_{n}")) for n in ("low", "high"))
    random, state, largest, taken = np.random.default_rng(1), None, 0.0, []
    for t in range(steps):
        observations = likely_observations(policy, 100 + t)[:robots]
        expected, state = policy.predict(observations, state)
        taken.append(expected)
        found = act(observations)
        largest = max(largest, float((np.abs(found - expected) / (high - low)).max()))
        reward, end = 20 * random.normal(size=robots), random.random(robots) < 0.1
        kinds = random.random(robots) < 0.5
        state = policy.observe(state, expected, reward, observations, end & kinds, end & ~kinds)
        act.observe(reward, end)
    return largest, float(np.ptp(np.stack(taken), axis=0).max())


@pytest.mark.parametrize("name", POLICIES)
def test_a_trial_with_ends_of_episodes_is_the_same(tmp_path, name):
    policy = MetaPolicy(tiny_memory(**POLICIES[name]))
    exported = export_onnx(policy, tmp_path / "policy.onnx")
    assert exported.largest_difference < WIDE
    largest, spread = both(policy, OnnxPolicy(exported.path))
    assert largest < WIDE
    assert spread > 0.05


def test_the_interface_holds_what_the_policy_reads(tmp_path):
    for reads in (True, False):
        policy = MetaPolicy(tiny_memory(observe_reward=reads))
        model = onnx.load(export_onnx(policy, tmp_path / "policy.onnx").path)
        inputs, outputs = (
            {v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim] for v in vs}
            for vs in (model.graph.input, model.graph.output)
        )
        assert inputs == {
            "observation": ["N", 2],
            "last_action": ["N", 2],
            **({"last_reward": ["N", 1]} if reads else {}),
            "episode_end": ["N", 1],
            "memory.hidden": ["N", 5],
        }
        assert outputs == {"action": ["N", 2], "memory.hidden.next": ["N", 5]}
        start = json.loads({p.key: p.value for p in model.metadata_props}["metarl.start"])
        assert start.keys() == inputs.keys() - {"observation"}
        assert start["episode_end"] == [1]
        assert start["memory.hidden"] == [0] * 5


def test_the_reference_evaluator_agrees(tmp_path):
    policy = MetaPolicy(tiny_memory())
    path = export_onnx(policy, tmp_path / "policy.onnx").path
    evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(str(path))
    start = json.loads(OnnxPolicy(path).about["metarl.start"])
    observation = likely_observations(policy)[:1]
    feeds = {name: np.array([value], np.float32) for name, value in start.items()}
    action, hidden = evaluator.run(None, {"observation": observation, **feeds})
    expected, state = policy.predict(observation)
    np.testing.assert_allclose(action, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(hidden, state.belief["hidden"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("reads", [True, False])
def test_an_adapted_policy_is_exported_with_its_belief_and_bounds(tmp_path, reads):
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    env.reset(options={"task": {"goal": [0.3, -0.2]}})
    limits = Limits(action_low=-0.08, action_high=0.07)
    policy = MetaPolicy(tiny_memory(observe_reward=reads))
    adapted = policy.adapt(env, episodes=2, limits=limits)
    act = OnnxPolicy(export_onnx(adapted, tmp_path / "adapted.onnx").path)
    trial = RobotTrial(adapted)
    observation, _ = env.reset()
    for t in range(30):
        action = trial.act(observation)
        np.testing.assert_allclose(act(observation), action, rtol=0, atol=2e-6)
        assert np.abs(action).max() <= np.float32(0.08)
        observation, reward, *_ = env.step(action)
        trial.observe(reward, observation, truncated=t == 11)
        act.observe(reward, t == 11)
    act.begin()
    first = OnnxPolicy(export_onnx(policy, tmp_path / "policy.onnx").path)
    assert np.abs(act(observation) - first(observation)).max() > 1e-4


def test_the_runner_never_acts_on_a_stale_reward(tmp_path):
    act = OnnxPolicy(export_onnx(MetaPolicy(tiny_memory()), tmp_path / "policy.onnx").path)
    act([0.0, 0.1])
    with pytest.raises(ValueError, match=r"reward of the last action is missing: policy\.observe"):
        act([0.0, 0.1])
    act.observe(1.0)
    act([0.0, 0.1])
    silent = MetaPolicy(tiny_memory(observe_reward=False))
    act, state = OnnxPolicy(export_onnx(silent, tmp_path / "policy.onnx").path), None
    for t in range(5):
        expected, state = silent.predict([0.1 * t, 0.0], state)
        np.testing.assert_allclose(act([0.1 * t, 0.0]), expected, rtol=0, atol=1e-6)


def test_lines_may_hold_rewards_and_ends(tmp_path):
    policy = MetaPolicy(tiny_memory())
    path = export_onnx(policy, tmp_path / "policy.onnx").path
    lines = "0.1 0.2\n0.2 0.1 -1.5\n0 0 2.0 1\n"
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(path)], input=lines, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    trial, expected = RobotTrial(policy), []
    for observation, outcome in (((0.1, 0.2), (-1.5, False)), ((0.2, 0.1), (2.0, True))):
        expected.append(trial.act(observation))
        trial.observe(outcome[0], [0, 0], truncated=outcome[1])
    expected.append(trial.act([0, 0]))
    actions = np.array([line.split() for line in done.stdout.splitlines()], dtype=np.float32)
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-6)


def test_a_graph_that_forgets_is_not_written(tmp_path, monkeypatch):
    made = Gru.add_step

    def forgetful(self, params, graph, state, inputs):
        summary, _ = made(self, params, graph, state, inputs)
        return summary, state

    monkeypatch.setattr(Gru, "add_step", forgetful)
    with pytest.raises(RunError, match="not written: its actions differ"):
        export_onnx(MetaPolicy(tiny_memory()), tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("config", [RememberingConfig(), FrameStackConfig()])
def test_other_kinds_say_what_can_be_exported(tmp_path, config):
    function = Policy.for_family(get_family("navigation"), config)
    saved = tiny_memory()
    params = function.init(Generator().manual_seed(0))
    other = MetaPolicy(replace(saved, policy=function, params=params))
    with pytest.raises(InputError, match=r"cannot be exported.*mlp and memory \(gru, lstm, scan\)"):
        export_onnx(other, tmp_path / "policy.onnx")


def test_the_command_says_what_goes_in(tmp_path, capsys, monkeypatch):
    from metarl.cli import main

    monkeypatch.chdir(tmp_path)
    MetaPolicy(tiny_memory()).save(tmp_path / "policy")
    assert main(["export", "policy", "--out", "policy.onnx"]) == 0
    shown = capsys.readouterr().out
    assert "observation (N, 2), last_action (N, 2), last_reward (N, 1)" in shown
    assert "memory.hidden (N, 5) float32 -> action (N, 2), memory.hidden.next (N, 5)" in shown
