"""Replays of a policy before and after adaptation from one state."""

from dataclasses import replace

import numpy as np
import torch
from support.tiny import tiny_policy

from metarl.policies.mlp import GaussianMlpPolicy
from metarl.video.episode import Episode, Script, before_and_after, follow, play, reset_alike
from metarl_envs import BatchEnv, get_family


def script(saved, params, seed=0, **given) -> Script:
    task = get_family(saved.config.family).nominal_tasks()
    return Script(saved.policy, params, task, seed, **given)


def test_replay_starts_both_worlds_in_the_same_state():
    env = BatchEnv(get_family("half-cheetah-velocity"), 2, 1, horizon=5)
    first = reset_alike(env, seed=1)
    assert torch.equal(first[0], first[1])
    assert torch.equal(first, reset_alike(env, seed=1))
    assert not torch.equal(first, reset_alike(env, seed=2))


def test_replay_of_one_policy_twice_is_the_same_twice():
    saved = tiny_policy("half-cheetah-velocity", horizon=8)
    env = BatchEnv(get_family("half-cheetah-velocity"), 2, 1, horizon=8)
    episode = follow(env, script(saved, before_and_after(saved.params, saved.params)))
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
    both = before_and_after(params, params)
    assert follow(env, Script(policy, both, observed.nominal_tasks(), 0)).lengths == (8, 8)


def test_running_return_and_mean_quantity_by_hand():
    saved = tiny_policy("half-cheetah-velocity", horizon=6)
    env = BatchEnv(get_family("half-cheetah-velocity"), 2, 1, horizon=6)
    moved = {name: value + 0.1 for name, value in saved.params.items()}
    params = before_and_after(saved.params, moved)
    episode = follow(env, script(saved, params))
    _, *steps = play(env, script(saved, params))
    rewards = np.stack([step.rewards.numpy() for step in steps], axis=1)
    amounts = np.stack([step.quantity.numpy() for step in steps], axis=1)
    np.testing.assert_allclose(episode.returns[:, 1:], rewards.cumsum(axis=1), rtol=1e-12)
    means = amounts.cumsum(axis=1) / np.arange(1, 7)
    np.testing.assert_allclose(episode.means()[:, 1:], means, rtol=1e-12)
    assert not np.array_equal(episode.returns[0], episode.returns[1])


def test_world_that_has_ended_stands_still_and_earns_nothing():
    saved = tiny_policy("hopper-dynamics", horizon=200)
    env = BatchEnv(get_family("hopper-dynamics"), 2, 1, horizon=200)
    # World 1 pushes every joint to one side and falls earlier than world 0, which goes limp.
    pushed = saved.params | {"bias_1": torch.full((3,), 100.0)}
    episode = follow(env, script(saved, before_and_after(saved.params, pushed)))
    first, second = episode.lengths
    assert second < first
    assert episode.endings[1] == "terminated"
    assert (episode.returns[1, second:] == episode.returns[1, second]).all()


def test_the_mean_of_the_quantity_begins_anew_where_the_task_changes():
    quantity = np.array([[1.0, 3.0, 10.0, 20.0, 30.0], [2.0, 4.0, 0.0, 0.0, 0.0]])
    episode = Episode(np.zeros((2, 6)), quantity, (5, 2), ("", ""), np.zeros((2, 6, 0)))
    # A world that ended before the change keeps the mean of its own task.
    expected = [[1.0, 1.0, 10.0, 10.0, 15.0, 20.0], [2.0, 2.0, 3.0, 3.0, 3.0, 3.0]]
    np.testing.assert_allclose(episode.means((0, 2)), expected)
