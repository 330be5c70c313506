"""Statistics of the observations of training, and that a trained policy carries them."""

import dataclasses
from dataclasses import replace

import numpy as np
import torch
from support.tiny_runs import TINY

from metarl.policies.mlp import GaussianMlpPolicy
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.runs.checkpoint import create_run, load_policy
from metarl.training.metrics import observation_statistics
from metarl.training.trainer import initial_state, train
from metarl_envs import BatchEnv, get_family


def some_rollouts(seed=0):
    family = get_family("navigation")
    policy = GaussianMlpPolicy.for_family(family, TINY.policy)
    params = expand(policy.init(torch.Generator().manual_seed(0)), 2)
    env = BatchEnv(family, 2, 2, horizon=4)
    streams = (torch.Generator().manual_seed(seed + i) for i in (0, 1))
    return Collector(env, policy).collect(params, *streams)


def test_statistics_are_those_of_the_valid_steps_alone():
    rollouts = some_rollouts()
    observations = torch.full((2, 2, 4, 2), 1e6)  # where it is not valid
    valid = torch.zeros((2, 2, 4), dtype=torch.bool)
    # Episodes of 2, 1, 0 and 2 steps: entry 0 is 1, 3 | 5 | - | 1, 1; entry 1 is 7 in all.
    for m, e, seen in ((0, 0, [1, 3]), (0, 1, [5]), (1, 1, [1, 1])):
        valid[m, e, : len(seen)] = True
        observations[m, e, : len(seen)] = torch.tensor([[float(s), 7.0] for s in seen])
    found = observation_statistics(replace(rollouts, observations=observations, valid=valid))
    seen = np.array([1, 3, 5, 1, 1])
    np.testing.assert_allclose(found["mean"], [2.2, 7])
    np.testing.assert_allclose(found["std"], [seen.std(), 0], atol=1e-12)
    # Variances within: 1, 0 and 0.
    np.testing.assert_allclose(found["std_within"], [np.sqrt(1 / 3), 0], atol=1e-12)


def test_without_a_sound_episode_there_are_none():
    rollouts = some_rollouts()
    assert observation_statistics(replace(rollouts, valid=torch.zeros_like(rollouts.valid))) == {}


def test_a_trained_policy_carries_those_of_its_last_iteration(tmp_path):
    config = dataclasses.replace(TINY, iterations=2, evaluate_every=1, evaluation_tasks=2)
    create_run(tmp_path / "run", config, ["metarl", "train"])
    state = train(config, initial_state(config), tmp_path / "run", quiet=True)
    for folder in (tmp_path / "run", tmp_path / "run" / "best"):
        noted = load_policy(folder).metadata["observations"]
        assert set(noted) == {"mean", "std", "std_within"}
        assert len(noted["mean"]) == 2
    assert load_policy(tmp_path / "run").metadata["observations"] == state.observed
    assert min(state.observed["std"]) > 0
    card = (tmp_path / "run" / "checkpoints" / "000002" / "README.md").read_text()
    assert "- env_steps: " in card
    assert "std_within" not in card
