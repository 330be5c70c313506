"""Replays of a policy before and after adaptation from one state."""

from dataclasses import replace

import numpy as np
import torch
from support.tiny import tiny_policy

from metarl.policies.mlp import GaussianMlpPolicy
from metarl.video.episode import before_and_after, follow, play, reset_alike
from metarl_envs import BatchEnv, get_family


def test_replay_starts_both_worlds_in_the_same_state():
    env = BatchEnv(get_family("half-cheetah-velocity"), 2, 1, horizon=5)
    first = reset_alike(env, seed=1)
    assert torch.equal(first[0], first[1])
    assert torch.equal(first, reset_alike(env, seed=1))
    assert not torch.equal(first, reset_alike(env, seed=2))


def test_replay_of_one_policy_twice_is_the_same_twice():
    saved = tiny_policy("half-cheetah-velocity", horizon=8)
    env = BatchEnv(get_family("half-cheetah-velocity"), 2, 1, horizon=8)
    episode = follow(env, saved.policy, before_and_after(saved.params, saved.params), seed=0)
    assert np.array_equal(episode.returns[0], episode.returns[1])
    assert episode.lengths == (8, 8)
    assert episode.endings == ("", "")


def test_an_oracle_observes_the_task_in_a_replay():
    observed = replace(get_family("half-cheetah-velocity"), observes_task=True)
    saved = tiny_policy("half-cheetah-velocity", horizon=8)
    policy = GaussianMlpPolicy.for_family(observed, saved.config.policy)
    params = policy.init(torch.Generator().manual_seed(0))
    env = BatchEnv(observed, 2, 1, horizon=8)
    assert torch.equal(reset_alike(env, seed=1), env.observation())
    assert follow(env, policy, before_and_after(params, params), seed=0).lengths == (8, 8)


def test_running_return_and_mean_quantity_by_hand():
    saved = tiny_policy("half-cheetah-velocity", horizon=6)
    env = BatchEnv(get_family("half-cheetah-velocity"), 2, 1, horizon=6)
    moved = {name: value + 0.1 for name, value in saved.params.items()}
    params = before_and_after(saved.params, moved)
    episode = follow(env, saved.policy, params, seed=0)
    steps = list(play(env, saved.policy, params, reset_alike(env, 0)))
    rewards = np.stack([step[0].numpy().copy() for step in steps], axis=1)
    amounts = np.stack([step[1].numpy().copy() for step in steps], axis=1)
    np.testing.assert_allclose(episode.returns[:, 1:], rewards.cumsum(axis=1), rtol=1e-12)
    means = amounts.cumsum(axis=1) / np.arange(1, 7)
    np.testing.assert_allclose(episode.quantity[:, 1:], means, rtol=1e-12)
    assert not np.array_equal(episode.returns[0], episode.returns[1])


def test_world_that_has_ended_stands_still_and_earns_nothing():
    saved = tiny_policy("hopper-dynamics", horizon=200)
    env = BatchEnv(get_family("hopper-dynamics"), 2, 1, horizon=200)
    # World 1 pushes every joint to one side and falls earlier than world 0, which goes limp.
    pushed = saved.params | {"bias_1": torch.full((3,), 100.0)}
    episode = follow(env, saved.policy, before_and_after(saved.params, pushed), seed=0)
    first, second = episode.lengths
    assert second < first
    assert episode.endings[1] == "terminated"
    assert (episode.returns[1, second:] == episode.returns[1, second]).all()
