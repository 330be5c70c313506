"""An exported policy gives the actions of `predict`, with onnxruntime and numpy alone."""

import ast
import hashlib
import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from support.tiny import tiny_policy

import metarl
from metarl import Limits
from metarl.cli import main, missing_module
from metarl.deploy import MetaPolicy
from metarl.errors import RunError
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.runs.checkpoint import SavedPolicy
from metarl_envs import InputError

onnx = pytest.importorskip("onnx")
OnnxPolicy = pytest.importorskip("experiments.run_onnx").OnnxPolicy  # imports onnxruntime
onnx_export = importlib.import_module("metarl.deploy.onnx")
export_onnx, likely_observations = onnx_export.export_onnx, onnx_export.likely_observations

ROOT = Path(__file__).resolve().parents[3]
BUNDLED = ROOT / "metarl" / "assets" / "half-cheetah-direction"
RUNNER = ROOT / "experiments" / "run_onnx.py"


def random_policy(low=(-1.0, -0.4), high=(1.0, 2.0), **how) -> MetaPolicy:
    """All parameters random, so that an entry which the graph leaves out is missed."""
    network = MlpConfig(hidden_sizes=(16, 8), action_scale=0.3, **how)
    policy = GaussianMlpPolicy(network, 3, low, high)
    generator = torch.Generator().manual_seed(3)
    params = {
        name: torch.rand(value.shape, generator=generator) + (0.5 if name == "obs_var" else -0.5)
        for name, value in policy.init(generator).items()
    }
    config = replace(tiny_policy("navigation").config, policy=network)
    return MetaPolicy(SavedPolicy(policy, params, config, {}))


POLICIES = {
    "tanh": lambda: random_policy(),
    "relu": lambda: random_policy(activation="relu"),
    "normalised": lambda: random_policy(normalize_observations=True),
    "context": lambda: random_policy(context_size=4),
    "linear": lambda: MetaPolicy(SavedPolicy(*linear())),
    "limited": lambda: limited(random_policy(), ((-0.1, 0.0), (0.3, 0.5))),
    "bundled": lambda: metarl.load(BUNDLED),
}


def linear():
    network = MlpConfig(hidden_sizes=())
    policy = GaussianMlpPolicy(network, 3, (-1.0,), (1.0,))
    params = policy.init(torch.Generator().manual_seed(1))
    return policy, params, replace(tiny_policy("navigation").config, policy=network), {}


def limited(policy, limits):
    function = replace(policy.saved.policy, control_limits=limits)
    return MetaPolicy(replace(policy.saved, policy=function))


@pytest.mark.parametrize("name", POLICIES)
def test_actions_are_those_of_predict(tmp_path, name):
    policy = POLICIES[name]()
    exported = export_onnx(policy, tmp_path / "new" / "policy.onnx")
    act, observations = OnnxPolicy(exported.path), likely_observations(policy)
    expected, _ = policy.predict(observations)
    spread = expected.max(axis=0) - expected.min(axis=0)
    assert (spread > 0.05).all()  # the observations tell actions apart
    function = policy.saved.policy
    tolerance = 1e-6 * (np.array(function.action_high) - np.array(function.action_low))
    assert (np.abs(act(observations) - expected) <= tolerance).all()
    assert act(observations).dtype == np.float32
    one = observations[7]
    assert (np.abs(act(one) - policy.predict(one)[0]) <= tolerance).all()
    assert act(one).shape == expected[7].shape
    assert exported.largest_difference < 1e-6


def test_the_cases_reach_the_bounds_that_they_are_about_and_never_pass_them(tmp_path):
    for name, low, high, reached in (
        ("tanh", (-1.0, -0.4), (1.0, 2.0), ["low"]),
        ("limited", (-0.1, 0.0), (0.3, 0.5), ["low", "high"]),
    ):
        policy = POLICIES[name]()
        act = OnnxPolicy(export_onnx(policy, tmp_path / f"{name}.onnx").path)
        observations = likely_observations(policy)
        for actions in (act(observations), policy.predict(observations)[0]):
            assert (actions >= np.float32(low)).all()  # to the last bit: -0.4 is not one of them
            assert (actions <= np.float32(high)).all()
            for bound in reached:
                limit = np.float32(low if bound == "low" else high)
                assert (actions == limit).any(axis=0).all()


def test_an_adapted_and_limited_policy_runs_its_environment_as_predict_does(tmp_path):
    env = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDirection-v0")
    env.reset(options={"task": {"direction": -1}})
    limits = Limits(action_low=-0.8, action_high=0.7)
    adapted = metarl.load(BUNDLED).adapt(env, episodes=5, limits=limits)
    act = OnnxPolicy(export_onnx(adapted, tmp_path / "adapted.onnx").path)
    observation, _ = env.reset(seed=3)
    total, actions = 0.0, []
    for _ in range(100):
        actions.append(act(observation))
        # On the same way: on its own, contacts would make rounding grow.
        np.testing.assert_allclose(actions[-1], adapted.predict(observation)[0], atol=1e-5, rtol=0)
        observation, reward, *_ = env.step(actions[-1])
        total += reward
    assert np.max(actions) == np.float32(0.7)
    assert np.min(actions) == np.float32(-0.8)
    assert total > 200
    props = {p.key: p.value for p in onnx.load(tmp_path / "adapted.onnx").metadata_props}
    assert props["family"] == "half-cheetah-direction"
    assert json.loads(props["adapted"]) == adapted.adapted


def test_the_runner_needs_neither_torch_nor_metarl(tmp_path):
    policy = random_policy(normalize_observations=True)
    path = export_onnx(policy, tmp_path / "policy.onnx").path
    observations = likely_observations(policy)[:20]
    code = (
        "import sys, runpy\n"
        "for name in ('torch', 'metarl', 'metarl_envs', 'gymnasium', 'onnx'):\n"
        "    sys.modules[name] = None\n"  # importing it now raises
        f"sys.argv = ['run_onnx.py', {str(path)!r}]\n"
        f"runpy.run_path({str(RUNNER)!r}, run_name='__main__')\n"
    )
    lines = "\n".join(" ".join(map(repr, row.tolist())) for row in observations)
    done = subprocess.run(
        [sys.executable, "-c", code], input=lines, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    actions = np.array([line.split() for line in done.stdout.splitlines()], dtype=np.float32)
    np.testing.assert_allclose(actions, policy.predict(observations)[0], atol=1e-6, rtol=0)
    assert "observation_names ['observation[0]', 'observation[1]', 'observation[2]']" in done.stderr
    short = subprocess.run(
        [sys.executable, "-c", code], input="1 2\n", cwd=tmp_path, capture_output=True, text=True
    )
    assert short.returncode == 1
    assert short.stderr.splitlines()[-1].startswith("run_onnx: observation of 2 numbers: must be 3")


def test_the_file_says_time_step_horizon_and_names(tmp_path):
    path = export_onnx(metarl.load(BUNDLED), tmp_path / "policy.onnx").path
    about = OnnxPolicy(path).about
    assert float(about["metarl.dt_s"]) == 0.05
    assert int(about["metarl.horizon"]) == 100
    names = json.loads(about["metarl.observation_names"])
    assert len(names) == 17
    assert (names[0], names[2], names[8], names[-1]) == (
        "qpos.rootz", "qpos.bthigh", "qvel.rootx", "qvel.ffoot",
    )  # fmt: skip
    expected = ["bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"]
    assert json.loads(about["metarl.action_names"]) == expected
    with pytest.raises(ValueError, match=r"of 3 numbers: must be 17: .*qpos.rootz"):
        OnnxPolicy(path)(np.zeros((2, 3)))


def test_a_policy_of_a_family_that_is_not_at_hand_is_exported_with_what_was_saved(tmp_path):
    policy = metarl.load(BUNDLED)
    config = replace(policy.saved.config, family="not-here")
    described = {"dt_s": 0.02, "observation_names": [f"o{i}" for i in range(17)]}
    for family, dt, first in ((described, "0.02", "o0"), ({}, "", "observation[0]")):
        lost = MetaPolicy(replace(policy.saved, config=config, family=family))
        about = OnnxPolicy(export_onnx(lost, tmp_path / "lost.onnx").path).about
        assert about["metarl.dt_s"] == dt
        assert json.loads(about["metarl.observation_names"])[0] == first


def test_the_runner_refuses_a_file_that_has_changed(tmp_path):
    path = export_onnx(random_policy(), tmp_path / "policy.onnx").path
    whole = path.read_bytes()
    assert whole[-64:].decode() == hashlib.sha256(whole[:-64]).hexdigest()
    about = onnx.load_model_from_string(whole).metadata_props
    assert (about[-1].key, about[-1].value) == ("metarl.sha256", whole[-64:].decode())
    at = whole.index(b"weight_0") + 60  # in a weight, which onnxruntime takes as it comes
    for changed in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[:-1], b""):
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"policy\.onnx: is not as `metarl export` wrote it"):
            OnnxPolicy(str(path))
    ran = subprocess.run(
        [sys.executable, RUNNER, path], capture_output=True, text=True, input="", check=False
    )
    assert ran.stderr.startswith("run_onnx: ")
    assert "Traceback" not in ran.stderr


def test_the_runner_is_short_and_imports_two_libraries():
    tree = ast.parse(RUNNER.read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert names == {"hashlib", "json", "sys", "numpy", "onnxruntime"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
    code = {n.lineno for n in ast.walk(tree) if isinstance(n, ast.stmt) and not docstring(n)}
    assert len(code) <= 60


def docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_the_runner_refuses_what_is_not_finite(tmp_path):
    act = OnnxPolicy(export_onnx(random_policy(), tmp_path / "policy.onnx").path)
    with pytest.raises(ValueError, match="must be finite"):
        act(np.array([0.0, np.nan, 0.0]))


def test_a_graph_with_other_actions_is_not_written(tmp_path, monkeypatch):
    policy, other = random_policy(), random_policy()
    other.saved.params["bias_2"] += 0.01
    wrong = onnx_export.onnx_model(other)
    monkeypatch.setattr(onnx_export, "onnx_model", lambda policy: wrong)
    with pytest.raises(RunError, match=r"not written: its actions differ .* by 0\.0"):
        export_onnx(policy, tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.onnx"):
        export_onnx(random_policy(), tmp_path / "policy.pt")


def test_the_command_exports_runs_and_policies(tmp_path, capsys):
    out = tmp_path / "policy.onnx"
    assert main(["export", str(BUNDLED), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert f"wrote {out}\n" in shown
    assert "observation (N, 17) float32 -> action (N, 6) float32" in shown
    policy = metarl.load(BUNDLED)
    observations = likely_observations(policy)
    np.testing.assert_allclose(
        OnnxPolicy(out)(observations), policy.predict(observations)[0], atol=1e-6, rtol=0
    )
    assert main(["export", str(tmp_path / "nothing")]) == 1
    assert main(["export", str(BUNDLED), "--out", str(tmp_path / "policy.txt")]) == 2


def test_without_onnx_the_command_names_the_extra():
    assert missing_module("onnx").endswith("pip install 'metarl-robotics[onnx]'")
