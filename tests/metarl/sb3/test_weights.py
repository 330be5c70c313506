"""SB3's policies act the same in our form, on any action range, with and without a normaliser."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from metarl.deploy import MetaPolicy
from metarl.methods.baselines import baseline_recipe
from metarl.methods.config import with_settings
from metarl.methods.setup import family_of, policy_of
from metarl.runs.checkpoint import SavedPolicy
from metarl.sb3.training import make_ppo
from metarl.sb3.vec_env import TaskVecEnv
from metarl.sb3.weights import converted


@pytest.mark.parametrize("family", ["half-cheetah-velocity", "navigation"])  # controls to 1, to 0.1
@pytest.mark.parametrize(
    ("name", "normalised", "activation"),
    [("robust", True, "tanh"), ("robust", False, "relu"), ("oracle", True, "relu")],
)
def test_the_converted_policy_takes_the_same_actions(family, normalised, activation, name):
    config = with_settings(
        baseline_recipe(family, name),
        {
            "policy.normalize_observations": normalised,
            "policy.activation": activation,
            "policy.hidden_sizes": [7, 5],
            "policy.init_std": 0.5,
            "policy.action_scale": 3.0,
            "meta_batch_size": 4,
            "horizon": 10,
            "outer.minibatches": 2,
            "outer.learning_rate": 0.05,
        },
    )
    env = TaskVecEnv(family_of(config), 4, horizon=10)
    with torch.random.fork_rng(devices=[]):
        model, normaliser = make_ppo(config, env)
        model.learn(80)
    policy = policy_of(config)
    observations = 3 * np.random.default_rng(0).normal(size=(50, policy.observation_size))
    observations = observations.astype(np.float32)
    inputs = normaliser.normalize_obs(observations)
    with torch.no_grad():  # so that some controls are clipped, and some are not
        wide = model.policy.get_distribution(torch.from_numpy(inputs)).mode().std()
        model.policy.action_net.weight *= env.action_space.high[0] / wide
        model.policy.action_net.bias *= 0.1
    params = converted(model.policy, normaliser, policy)
    assert params.keys() == policy.init(torch.Generator().manual_seed(0)).keys()

    expected, _ = model.predict(inputs, deterministic=True)
    ours, _ = MetaPolicy(SavedPolicy(policy, params, config, {})).predict(observations)
    assert 0 < np.mean(np.abs(expected) == env.action_space.high) < 1
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)

    # The noise has the same width: the spread of outputs, in controls.
    half = (env.action_space.high - env.action_space.low) / 2
    spread = policy.log_std(params).exp()[0].numpy() * half / config.policy.action_scale
    np.testing.assert_allclose(spread, model.policy.log_std.exp().detach().numpy(), rtol=1e-5)


def test_noise_begins_as_wide_as_the_configuration_says():
    config = with_settings(
        baseline_recipe("navigation", "robust"),
        {"policy.init_std": 0.5, "meta_batch_size": 4, "horizon": 10},
    )
    env = TaskVecEnv(family_of(config), 4, horizon=10)
    with torch.random.fork_rng(devices=[]):
        model, normaliser = make_ppo(
            dataclasses.replace(config, outer=dataclasses.replace(config.outer, minibatches=2)), env
        )
    policy = policy_of(config)
    spread = converted(model.policy, normaliser, policy)["log_std"].exp()
    torch.testing.assert_close(spread, torch.full((2,), 0.5))
