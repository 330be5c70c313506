"""Policies are loaded, printed, saved, and predict actions."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from support.helpers import largest_difference
from support.tiny import tiny_policy

import metarl
from metarl.deploy import (
    MetaPolicy,
    adapt_to_task,
)
from metarl.methods.baselines import baseline_recipe
from metarl.methods.setup import policy_of
from metarl.runs.checkpoint import SavedPolicy, save_policy
from metarl_envs import InputError, get_family

BUNDLED = Path(metarl.__file__).parent / "assets" / "half-cheetah-direction"


def test_prediction_is_the_scaled_and_clipped_mean():
    saved = tiny_policy("half-cheetah-direction")
    observation = np.linspace(-1, 1, 17)
    action, state = MetaPolicy(saved).predict(observation)
    inputs = torch.as_tensor(observation, dtype=torch.float32)[None]
    mean = saved.policy.mean(saved.params, inputs)[0]
    expected = (mean / 10).clamp(-1, 1).numpy()
    np.testing.assert_allclose(action, expected, rtol=1e-6)
    assert action.dtype == np.float32
    assert state is None


def test_a_batch_is_predicted_row_by_row():
    policy = MetaPolicy(tiny_policy("half-cheetah-direction"))
    observations = np.random.default_rng(0).normal(size=(5, 17))
    actions, _ = policy.predict(observations)
    rows = np.stack([policy.predict(observation)[0] for observation in observations])
    assert actions.shape == (5, 6)
    np.testing.assert_allclose(actions, rows, atol=1e-7)


def test_stochastic_prediction_has_the_policy_s_spread():
    saved = tiny_policy("half-cheetah-direction")
    observations = np.zeros((4000, 17))
    actions, _ = MetaPolicy(saved).predict(observations, deterministic=False)
    # Initial std 1 over an action scale of 10; clipping at +-1 is ten deviations away.
    np.testing.assert_allclose(actions.std(axis=0), 0.1, rtol=0.05)
    np.testing.assert_allclose(actions.mean(axis=0), 0.0, atol=0.01)


def test_actions_stay_within_the_actuator_range():
    saved = tiny_policy("half-cheetah-direction")
    action, _ = MetaPolicy(saved).predict(np.full((3, 17), 1e4), deterministic=False)
    assert np.abs(action).max() <= 1


@pytest.mark.parametrize(
    "given", [torch.ones(17, requires_grad=True), torch.ones(17).double(), [1] * 17]
)
def test_observations_of_any_type_are_numbers(given):
    policy = MetaPolicy(tiny_policy("half-cheetah-direction"))
    np.testing.assert_array_equal(policy.predict(given)[0], policy.predict(np.ones(17))[0])
    with pytest.raises(InputError, match=r"observation = \['x', .*: must be numbers"):
        policy.predict(["x"] * 17)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 1, 17), ()])
def test_observation_of_another_shape_is_refused(shape):
    policy = MetaPolicy(tiny_policy("half-cheetah-direction"))
    with pytest.raises(InputError, match=r"reads \(17,\) or \(N, 17\)"):
        policy.predict(np.zeros(shape))


def test_a_policy_is_printed_as_three_lines():
    policy = metarl.load(BUNDLED)
    first, second, third = str(policy).splitlines()
    assert first == (
        "Meta-SGD policy of half-cheetah-direction: 17 observations -> 6 actions from -1 to 1"
    )
    assert second == (
        "trained for 300 iterations, 24,000,000 steps; adapts by 1 gradient step on 20 episodes "
        "each"
    )
    assert third == "not adapted"
    oracle = baseline_recipe("half-cheetah-velocity", "oracle")
    function = replace(policy.saved.policy, action_low=(-1.0,) * 5 + (-2.0,))
    saved = replace(policy.saved, config=oracle, policy=function, metadata={})
    first, second, _ = repr(MetaPolicy(saved)).splitlines()
    assert first.startswith("Oracle PPO baseline of half-cheetah-velocity: 17 observations")
    assert first.endswith("6 actions")
    assert second == (
        "trained for an unknown time; acts as it is (adapts nothing: it observes the task)"
    )

    def last(**report):
        report = {"steps": 1, "episodes": 5, "returns": [1.25], "limits": {}} | report
        return repr(MetaPolicy(replace(policy.saved, metadata={"adapted": report}))).split("\n")[-1]

    assert last() == "adapted by 1 gradient step on 5 episodes each: return 1.2"
    assert last(returns=[1, 2], steps=2).startswith("adapted by 2 gradient steps on 5 episodes")
    assert last(returns=[1, 2]).endswith("return 1.0, then 2.0")
    check = {"rolled_back": False, "collection": {"return": 7}}
    assert last(limits={"check": check}).endswith(", and 7.0 in the check")
    check["rolled_back"] = True
    assert last(limits={"check": check}).endswith("; taken back by the check")
    assert last(interrupted="OSError: two\nlines").endswith("; cut short by OSError: two lines")


def test_adapted_policy_survives_saving(tmp_path):
    saved = tiny_policy("half-cheetah-direction")
    task = get_family("half-cheetah-direction").make_task({"direction": -1})
    adaptation = adapt_to_task(saved, task, episodes=3)
    folder = adaptation.save(tmp_path / "adapted")
    loaded = metarl.load(folder)
    assert largest_difference(loaded.saved.params, adaptation.params) == 0
    observation = np.linspace(-1, 1, 17)
    expected = MetaPolicy(adaptation.saved).predict(observation)[0]
    assert np.array_equal(loaded.predict(observation)[0], expected)
    assert loaded.adapted["task"] == {"direction": -1.0}
    assert loaded.adapted["returns"] == pytest.approx(adaptation.returns.tolist())


def test_policy_folder_loads_and_adapts(tmp_path):
    saved = tiny_policy("navigation")
    folder = save_policy(tmp_path / "policy", saved)
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    adapted = metarl.load(str(folder)).adapt(env, episodes=2)
    assert metarl.load(adapted.save(tmp_path / "adapted")).adapted["steps"] == 1


def test_stable_baselines3_can_evaluate_an_adapted_policy():
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    env = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDirection-v0")
    env.reset(options={"task": {"direction": -1}})
    policy = metarl.load(BUNDLED)
    adapted = policy.adapt(env, episodes=5)
    before, after = (
        evaluation.evaluate_policy(p, env, n_eval_episodes=2, warn=False)[0]
        for p in (policy, adapted)
    )
    assert before < 150
    assert after > 250
    observation, total = env.reset(seed=4)[0], 0.0
    for _ in range(100):
        observation, reward, *_ = env.step(adapted.predict(observation)[0])
        total += reward
    env.reset(seed=4)  # SB3 goes on from the same stream of resets
    again, _ = evaluation.evaluate_policy(adapted, env, n_eval_episodes=1, warn=False)
    assert again == pytest.approx(total, rel=0.15)


def test_importing_metarl_loads_nothing_heavy():
    code = "import metarl, sys; sys.exit(bool({'torch', 'mujoco', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_metarl_has_no_other_lazy_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        metarl.nothing  # noqa: B018


def test_an_oracle_acts_in_an_environment_that_tells_the_task():
    oracle = baseline_recipe("half-cheetah-velocity", "oracle")
    policy = policy_of(oracle)
    params = policy.init(torch.Generator().manual_seed(0))
    oracle = MetaPolicy(SavedPolicy(policy, params, replace(oracle, horizon=3), {}))
    silent, telling = (
        gymnasium.make("metarl_envs:MetaRL/HalfCheetahVelocity-v0", observe_task=observed)
        for observed in (False, True)
    )
    observation, _ = telling.reset(seed=0, options={"task": {"velocity": 1.5}})
    assert telling.action_space.contains(oracle.predict(observation)[0])
    adapted = oracle.adapt(telling, episodes=2)  # it has nothing to learn, and stays what it is
    assert all(torch.equal(adapted.saved.params[name], params[name]) for name in params)
    with pytest.raises(InputError, match=r"the policy reads a Box of shape \(18,\)"):
        oracle.adapt(silent, episodes=1)
