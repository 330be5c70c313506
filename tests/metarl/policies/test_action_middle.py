"""A policy's output of 0 means the controls that hold the robot, wherever the policy goes."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest
import torch
from support.tiny_runs import TINY, edit_json, run_with, state_at

import metarl
from metarl.adaptation.none import Unadapted
from metarl.errors import RunError
from metarl.methods.config import TrainConfig, with_settings
from metarl.methods.families import recipe
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.runs.checkpoint import SavedPolicy, load_checkpoint, load_policy, save_policy
from metarl.training.warm_start import begun, load_start
from metarl_envs import FAMILIES, BatchEnv, InputError, TaskFamily, mujoco_robot, vary

ARM = """
<mujoco model="servos">
  <worldbody><body name="link">
    <joint name="shoulder" axis="0 1 0" damping="2"/>
    <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03"/>
    <body name="hand" pos="0.4 0 0">
      <joint name="elbow" axis="0 1 0" damping="1"/>
      <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.03"/>
    </body>
  </body></worldbody>
  <actuator>
    <position joint="shoulder" kp="400" ctrlrange="-3 1"/>
    <position joint="elbow" kp="400" ctrlrange="0 2.5"/>
  </actuator>
  <keyframe><key name="home" qpos="-1.25 0.5" ctrl="-1.25 0.5"/></keyframe>
</mujoco>
"""
MIDDLE = (-1.25, 0.5)
SCALES = torch.tensor([2.25, 2.0])
"""Distances of the middle to the farther bound: 1 and 2.5."""


def family_with(folder, **arguments):
    (folder / "servos.xml").write_text(ARM)
    robot = mujoco_robot(folder / "servos.xml", frame_skip=5, keyframe="home", **arguments)
    return TaskFamily(
        name="servos",
        robot=robot,
        horizon=10,
        parameters=(vary.mass(robot, "hand", (0.5, 2.0)),),
        reward=lambda transition: -transition.after["qpos"].square().sum(dim=1),
    )


@pytest.fixture
def family(tmp_path, monkeypatch):
    made = family_with(tmp_path)
    monkeypatch.setitem(FAMILIES, "servos", made)
    return made


CONFIG = dataclasses.replace(
    TINY, family="servos", policy=MlpConfig(hidden_sizes=(4,), action_scale=10.0)
)


def policy_of(family, config: TrainConfig = CONFIG) -> GaussianMlpPolicy:
    return GaussianMlpPolicy.for_family(family, config.policy)


def test_controls_are_linear_around_the_middle_and_stop_at_the_bounds(family):
    policy = policy_of(family)
    assert policy.action_middle == MIDDLE
    outputs = torch.tensor([[0.0, 0.0], [2.0, -2.0], [-2.0, 2.0], [10.0, 10.0], [-50.0, -50.0]])
    expected = [[-1.25, 0.5], [-0.8, 0.1], [-1.7, 0.9], [1.0, 2.5], [-3.0, 0.0]]
    torch.testing.assert_close(policy.controls(outputs), torch.tensor(expected))
    limited = dataclasses.replace(policy, control_limits=((-1.5, 0.25), (0.5, 0.75)))
    expected = [[-1.25, 0.5], [-0.8, 0.25], [-1.5, 0.75], [0.5, 0.75], [-1.5, 0.25]]
    torch.testing.assert_close(limited.controls(outputs), torch.tensor(expected))


def test_outputs_are_found_again_from_controls(family):
    policy = policy_of(family)
    outputs = torch.tensor([[0.1, -0.3], [-0.2, 0.4]], dtype=torch.float64)
    torch.testing.assert_close(policy.outputs(policy.controls(outputs)), outputs)
    for bound, of_controls in zip(policy.output_bounds(), family.action_bounds(), strict=True):
        torch.testing.assert_close(policy.controls(bound), of_controls)


def test_without_a_middle_controls_are_what_they_were_to_the_bit():
    low, high = (-0.3, 0.0, -2.0), (1.1, 2.6, 0.7)
    policy = GaussianMlpPolicy(MlpConfig(action_scale=3.0), 2, low, high)
    outputs = 4 * torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    lows, highs = torch.tensor(low), torch.tensor(high)
    middle, half = 0.5 * (highs + lows), 0.5 * (highs - lows)
    assert torch.equal(policy.controls(outputs), middle + half * (outputs / 3.0).clamp(-1, 1))


def test_a_policy_folder_keeps_the_middle(family, tmp_path):
    policy, params = policy_of(family), state_at(1, CONFIG).params
    folder = save_policy(tmp_path / "policy", SavedPolicy(policy, params, CONFIG, {}))
    assert load_policy(folder).policy == policy
    spaces = {"observation_size": 4, "action_low": [-3, 0], "action_high": [1, 2.5]}
    edit_json(folder / "config.json", spaces=spaces)  # from before there was a middle
    assert load_policy(folder).policy == dataclasses.replace(policy, action_middle=None)
    for broken in ([0.0], [0.0, -1.0], ["a", "b"], 3):
        edit_json(folder / "config.json", spaces=spaces | {"action_middle": broken})
        with pytest.raises(RunError, match=r"spaces = .* is not readable"):
            load_policy(folder)


def test_a_run_does_not_go_on_around_another_middle(family, tmp_path, monkeypatch):
    run = run_with(tmp_path / "run", 1, config=CONFIG)
    assert load_checkpoint(run)[1].iteration == 1
    changed = family_with(tmp_path, action_middle=[0.0, 0.5])
    monkeypatch.setitem(FAMILIES, "servos", changed)
    hint = (
        r"output 0 means the controls \[-1.25, 0.5\], that of servos now \[0.0, 0.5\]: give the "
        r"robot action_middle=\[-1.25, 0.5\]"
    )
    with pytest.raises(InputError, match=hint):
        load_checkpoint(run)
    saved = load_policy(run)  # it acts as it did all the same
    assert saved.policy.action_middle == MIDDLE
    with pytest.raises(InputError, match=hint):
        begun(saved, recipe("servos", "maml-trpo"))
    plain = dataclasses.replace(CONFIG, method="robust", inner=Unadapted())
    folder = save_policy(tmp_path / "robust", SavedPolicy(saved.policy, saved.params, plain, {}))
    with pytest.raises(InputError, match=hint):
        load_start(folder, plain)


def test_a_policy_from_the_middle_of_the_range_names_it(family, tmp_path):
    policy = dataclasses.replace(policy_of(family), action_middle=None)
    folder = save_policy(
        tmp_path / "old", SavedPolicy(policy, state_at(1, CONFIG).params, CONFIG, {})
    )
    with pytest.raises(InputError, match=r"action_middle=\[-1.0, 1.25\]"):
        begun(load_policy(folder), recipe("servos", "maml-trpo"))
    same = family_with(tmp_path, action_middle=[-1.0, 1.25])
    assert policy_of(same) == policy


@pytest.mark.parametrize("limits", [None, ((-1.5, 0.25), (0.5, 0.75))])
def test_the_onnx_file_acts_around_the_middle(family, tmp_path, limits):
    pytest.importorskip("onnx")
    runner = pytest.importorskip("experiments.run_onnx")
    export_onnx = importlib.import_module("metarl.deploy.onnx").export_onnx
    policy = dataclasses.replace(policy_of(family), control_limits=limits)
    params = state_at(1, CONFIG).params
    params["weight_1"] = 3 * params["weight_1"]
    folder = save_policy(tmp_path / "policy", SavedPolicy(policy, params, CONFIG, {}))
    ours = metarl.load(folder)
    act = runner.OnnxPolicy(export_onnx(ours, tmp_path / "policy.onnx").path)
    rows = 5 * np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    np.testing.assert_allclose(act(rows), ours.predict(rows)[0], atol=1e-6)
    still = dict(params, bias_1=torch.zeros(2), weight_1=torch.zeros(4, 2))
    save_policy(folder, SavedPolicy(policy, still, CONFIG, {}))
    export_onnx(metarl.load(folder), tmp_path / "still.onnx")
    assert runner.OnnxPolicy(tmp_path / "still.onnx")(rows[0]).tolist() == list(MIDDLE)


def test_sb3_acts_the_same_both_ways_and_begins_around_the_middle(family):
    pytest.importorskip("stable_baselines3")
    conversion = importlib.import_module("metarl.sb3.weights")
    recipes = importlib.import_module("metarl.methods.baselines")
    training = importlib.import_module("metarl.sb3.training")
    vec_env = importlib.import_module("metarl.sb3.vec_env")
    config = with_settings(
        recipes.baseline_recipe("servos", "robust"),
        {"policy.init_std": 0.5, "policy.hidden_sizes": [6], "outer.minibatches": 2}
        | {"meta_batch_size": 4, "horizon": 10},
    )
    env = vec_env.TaskVecEnv(family, 4, horizon=10)
    with torch.random.fork_rng(devices=[]):
        model, normaliser = training.make_ppo(config, env)
    rows = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    first, _ = model.predict(normaliser.normalize_obs(rows), deterministic=True)
    np.testing.assert_allclose(first, np.tile(MIDDLE, (50, 1)), atol=0.05)
    policy = policy_of(family, config)
    assert policy.action_middle == MIDDLE
    spread = model.policy.log_std.exp() / SCALES
    torch.testing.assert_close(spread.detach(), torch.full((2,), 0.5 / config.policy.action_scale))

    with torch.no_grad():
        model.policy.action_net.weight *= 100
    wanted, _ = model.predict(normaliser.normalize_obs(rows), deterministic=True)
    assert 0 < np.mean((wanted == env.action_space.low) | (wanted == env.action_space.high)) < 1
    params = conversion.converted(model.policy, normaliser, policy)
    found = policy.controls(policy.mean(params, torch.from_numpy(rows))).clamp(
        torch.tensor(policy.action_low), torch.tensor(policy.action_high)
    )
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)

    bare = dataclasses.replace(
        policy, config=dataclasses.replace(policy.config, normalize_observations=False)
    )
    kept = {n: v for n, v in params.items() if not n.startswith("obs_")}
    conversion.put_into(model.policy, bare, kept)
    back, _ = model.predict(rows, deterministic=True)
    found = bare.controls(bare.mean(kept, torch.from_numpy(rows)))
    np.testing.assert_allclose(back, found.numpy(), rtol=1e-4, atol=1e-5)


def test_an_untrained_policy_holds_the_robot_where_it_starts(family):
    env = BatchEnv(family, 1, 1, horizon=100)
    env.reset(torch.Generator().manual_seed(0))
    policy = policy_of(family)
    for _ in range(50):
        env.step(policy.controls(torch.zeros(1, 2)))
    assert (env.engine.data["qpos"][0] - torch.tensor([-1.25, 0.5])).abs().max() < 0.05
