"""Advantages over trials against numbers worked by hand, and the trials that they are of."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.signs import FAMILY, HORIZON, SignWorlds, sign_policy
from support.trials import (
    EPISODES,
    NUM_WORLDS,
    T,
    double,
    memory_policy,
    privileged_policy,
    random,
    some_trial,
)
from torch import Generator

from metarl.policies.params import expand
from metarl.policies.privileged import TASK_FEATURES
from metarl.rollouts.collect import Collector
from metarl.rollouts.trials import as_steps, collect_trial, trial_advantages
from metarl_envs import get_family

# Two episodes of three steps: the first terminates in its second step, the second runs out of time.
REWARDS = [1.0, 2.0, 0.0, 3.0, 4.0, 5.0]
VALUES = [1.0, 1.0, 0.0, 2.0, 2.0, 2.0]
ENDED = [False, True, False, False, False, True]
VALID = [True, True, False, True, True, True]
# gamma = lambda = 1/2, so delta_t = r_t + V_t+1 / 2 - V_t and A_t = delta_t + A_t+1 / 4.
ACROSS = [0.5 + 2.734375 / 4, 2 + 2.9375 / 4, 0, 2 + 3.75 / 4, 3 + 3 / 4, 3]
EACH = [0.5 + 1 / 4, 1, 0, 2 + 3.75 / 4, 3 + 3 / 4, 3]
"""Across: deltas 0.5, 2 (= 2 + 2/2 - 1), 2, 3, 3; each for itself: the second is 2 - 1 = 1."""


def advantages(rewards, values, ended, valid, *, across):
    tensors = (torch.tensor([values]) for values in (rewards, values, ended, valid))
    return trial_advantages(*tensors, 0.5, 0.5, across_episodes=across)[0].tolist()


@pytest.mark.parametrize(("across", "expected"), [(True, ACROSS), (False, EACH)])
def test_one_termination_and_one_truncation(across, expected):
    assert advantages(REWARDS, VALUES, ENDED, VALID, across=across) == expected


@pytest.mark.parametrize(("across", "expected"), [(True, ACROSS), (False, EACH)])
def test_a_diverged_episode_between_changes_nothing(across, expected):
    def around(values, padding):
        return [*values[:3], *padding, *values[3:]]

    found = advantages(
        around(REWARDS, [0.0] * 3),
        around(VALUES, [0.0] * 3),
        around(ENDED, [False] * 3),
        around(VALID, [False] * 3),
        across=across,
    )
    assert found == around(expected, [0.0] * 3)


def test_with_lambda_one_the_advantage_is_the_discounted_rest_of_the_trial():
    trial, values = some_trial(), random(9, 1, NUM_WORLDS, EPISODES * T)
    found = trial_advantages(
        trial.rewards,
        values,
        trial.terminated | trial.truncated,
        trial.valid,
        0.9,
        1.0,
        across_episodes=True,
    )
    for world in range(NUM_WORLDS):
        steps = trial.valid[0, world].nonzero()[:, 0]
        for i, step in enumerate(steps):
            rest = sum(0.9**k * trial.rewards[0, world, s] for k, s in enumerate(steps[i:]))
            expected = rest - values[0, world, step]
            torch.testing.assert_close(found[0, world, step], expected)
    assert not found[~trial.valid].any()


def test_steps_one_by_one_are_the_sequence_for_a_policy_without_a_memory():
    policy = privileged_policy(latent_size=2)
    params = expand(double(policy.init(Generator().manual_seed(3))), 1)
    trial = some_trial()
    trial = dataclasses.replace(trial, start={TASK_FEATURES: trial.features[:, :, 0]})
    whole = policy.distribution(params, trial)
    steps, (rewards,) = as_steps(trial, trial.rewards)
    assert steps.valid.all() and steps.valid.shape == (1, int(trial.valid.sum()), 1)
    alone = policy.distribution(params, steps)
    torch.testing.assert_close(alone.mean[:, :, 0], whole.mean[trial.valid].unsqueeze(0))
    assert whole.mean.std() > 0.1
    assert torch.equal(rewards.flatten(), trial.rewards[trial.valid])
    for name in ("features", "clock", "log_probs", "truncated"):
        assert torch.equal(getattr(steps, name)[0, :, 0], getattr(trial, name)[trial.valid]), name


def stretch(policy, params, broken):
    """Three episodes of four trials; some (episode, world) diverge in their first step."""
    family = get_family(FAMILY)
    tasks = family.sample_tasks(4, Generator().manual_seed(0), "train")
    worlds = SignWorlds(4, 1, broken)
    begun = policy.begin(expand(params, 1), 4)
    belief = {name: value.reshape(4, 1, *value.shape[2:]) for name, value in begun.items()}
    return collect_trial(
        Collector(worlds, policy),
        params,
        tasks,
        family.task_features,
        3,
        Generator().manual_seed(1),
        Generator().manual_seed(2),
        belief,
    )


def test_the_memory_reads_in_acting_what_it_reads_in_learning():
    """A diverged episode between is forgotten in both."""
    policy = dataclasses.replace(
        memory_policy(normalize_observations=False),
        observation_size=17,
        action_low=(-1.0,) * 6,
        action_high=(1.0,) * 6,
    )
    params = policy.init(Generator().manual_seed(5))
    experience = stretch(policy, params, broken={(1, 2)})
    trial = experience.trial
    assert trial.valid.sum(-1).tolist() == [[12, 12, 8, 12]]
    dist = policy.distribution(expand(params, 1), trial)
    noise = trial.actions - dist.mean
    quadratic = -0.5 * (noise / dist.log_std.exp()).square().sum(-1)
    constant = -dist.log_std.sum(-1) - 3 * torch.tensor(2 * torch.pi).log()
    torch.testing.assert_close(
        (quadratic + constant)[trial.valid], trial.log_probs[trial.valid], rtol=0, atol=1e-4
    )
    # What the trial goes on with is the belief after all valid steps.
    shorter = stretch(policy, params, broken={(2, 0)})
    for name, value in shorter.rollouts[-1].start.items():
        assert torch.equal(shorter.belief[name][0], value[0])
        assert not torch.equal(shorter.belief[name][1], value[1])


def test_a_trial_is_its_episodes_in_order():
    saved = sign_policy()
    quiet = saved.params | {"log_std": torch.full((6,), -9.0)}
    experience = stretch(saved.policy, quiet, broken=())
    trial, episodes = experience.trial, experience.rollouts
    assert trial.valid.shape == (1, 4, 3 * HORIZON)
    for n, episode in enumerate(episodes):
        part = slice(n * HORIZON, (n + 1) * HORIZON)
        assert torch.equal(trial.rewards[0, :, part], episode.rewards[:, 0])
        assert torch.equal(trial.final_observations[0, :, n], episode.final_observations[:, 0])
    ends = trial.clock[0, 2].tolist()
    assert ends[0] == [0, 0] and ends[5] == pytest.approx([1 / 4, 1 / 3])
    assert ends[-1] == pytest.approx([3 / 4, 2 / 3])
    # The first episode shows the sign; the second is as the task asks.
    signs = experience.tasks.values["direction"].float()
    first, second = (episode.rewards.sign()[:, 0].mean(-1) for episode in episodes[:2])
    assert torch.equal(second, torch.ones(4)) and torch.equal(first.sign(), signs)
