"""Policies with a memory: what reaches the memory, replays of trials, worlds that share one."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.helpers import double_params, rollouts_of
from support.recorded_operations import differing, operations
from torch import Generator

from metarl.policies.base import Policy
from metarl.policies.belief import Outcome, where
from metarl.policies.encoders import ENCODERS
from metarl.policies.memory import PREVIOUS, MemoryConfig, MemoryPolicy
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl_envs import BatchEnv, InputError, get_family

ALL = pytest.mark.parametrize("encoder", ENCODERS)
GENERATOR = Generator().manual_seed(0)
M, E, L, O, A = 2, 5, 30, 3, 2
SMALL = {"memory_size": 6, "hidden_sizes": (5,), "action_scale": 2.0, "memory_length": 12}


def randn(*shape):
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def remembering(encoder: str, **given) -> MemoryPolicy:
    config = MemoryConfig(**(SMALL | {"encoder": encoder} | given))
    return MemoryPolicy(config, O, (-1.0,) * A, (1.0,) * A)


def different(policy):
    """Parameters of M policies."""
    params = [double_params(policy, seed) for seed in range(M)]
    return {name: torch.stack([p[name] for p in params]) for name in params[0]}


def trials() -> Rollouts:
    """Ends at random steps, and random invalid steps, all of them in a diverged world."""
    draw = torch.rand((M, E, L), generator=GENERATOR)
    valid = torch.rand((M, E, L), generator=GENERATOR) < 0.7
    valid[0, 1] = False
    return dataclasses.replace(
        rollouts_of(randn(M, E, L, O), 3 * randn(M, E, L, A), rewards=10 * randn(M, E, L)),
        terminated=draw < 0.15,
        truncated=(draw > 0.15) & (draw < 0.3),
        valid=valid,
    )


@ALL
@pytest.mark.parametrize("given", [{}, {"latent_size": 3, "normalize_observations": True}])
def test_a_scan_of_trials_is_their_replay_step_by_step(encoder, given):
    policy = remembering(encoder, **given)
    params, rollouts = different(policy), trials()
    begun = policy.begin(params, E)
    going_on = {name: 0.5 * randn(*value.shape) for name, value in begun.items()}
    for start in ({}, going_on):
        episodes = dataclasses.replace(rollouts, start=start)
        expected = Policy.distribution(policy, params, episodes)
        found = policy.distribution(params, episodes)
        torch.testing.assert_close(
            found.mean[episodes.valid], expected.mean[episodes.valid], rtol=0, atol=1e-10
        )
        assert torch.isfinite(found.mean).all()
        assert torch.equal(found.log_std, expected.log_std)


@ALL
@pytest.mark.parametrize("observe_reward", [True, False])
def test_the_last_reward_of_an_episode_reaches_the_next_ones_first_action(encoder, observe_reward):
    policy = remembering(encoder, observe_reward=observe_reward)
    params, last = different(policy), 10
    rollouts = dataclasses.replace(trials(), valid=torch.ones(M, E, L, dtype=torch.bool))
    rewards = rollouts.rewards.clone()
    rewards[:, :, last] += 5
    before = policy.distribution(params, rollouts).mean
    after = policy.distribution(params, dataclasses.replace(rollouts, rewards=rewards)).mean
    changed = (before != after).any(-1)
    assert not changed[:, :, : last + 1].any()
    assert changed[:, :, last + 1].all() == observe_reward
    assert changed.any() == observe_reward


@ALL
def test_the_end_of_an_episode_reaches_the_next_ones_first_action(encoder):
    policy = remembering(encoder)
    params, last = different(policy), 10
    rollouts = dataclasses.replace(
        trials(), valid=torch.ones(M, E, L, dtype=torch.bool), terminated=torch.zeros(M, E, L) > 0
    )
    truncated = rollouts.truncated.clone()
    truncated[:, :, last] = ~truncated[:, :, last]
    before = policy.distribution(params, rollouts).mean
    after = policy.distribution(params, dataclasses.replace(rollouts, truncated=truncated)).mean
    changed = (before != after).any(-1)
    assert not changed[:, :, : last + 1].any()
    assert changed[:, :, last + 1].all()


def test_the_step_before_is_read_as_sent_by_hand():
    policy = remembering("gru")
    params = {name: value.unsqueeze(0) for name, value in double_params(policy).items()}
    begun = policy.begin(params, 3)
    assert begun[PREVIOUS].tolist() == [[[0, 0, 0, 1]] * 3]  # an episode begins
    flags = torch.tensor([[False, True, False]]), torch.tensor([[False, False, True]])
    rewards = torch.tensor([[torch.e - 1, 0.0, -(torch.e - 1)]], dtype=torch.float64)
    sent = torch.tensor([[[1.0, -2.0]] * 3], dtype=torch.float64)
    after = policy.observe(params, begun, Outcome(sent, rewards, *flags, randn(1, 3, O)))
    expected = [[0.5, -1, 1, 0], [0.5, -1, 0, 1], [0.5, -1, -1, 1]]
    torch.testing.assert_close(after[PREVIOUS][0], torch.tensor(expected, dtype=torch.float64))
    assert set(after) == set(begun)


def worlds(encoder, capture=None, tasks=3, episodes=4):
    """A collector, one policy's parameters and streams, in worlds whose episodes end early."""
    family = get_family("hopper-dynamics")
    config = MemoryConfig(**(SMALL | {"encoder": encoder, "action_scale": 1.0}))
    policy = Policy.for_family(family, config)
    streams = [Generator().manual_seed(seed) for seed in range(4)]
    params = policy.init(streams[0])
    env = BatchEnv(family, tasks, episodes, horizon=25)
    env.set_tasks(family.sample_tasks(tasks, streams[1], "train"))
    return Collector(env, policy, capture), params, streams[2:]


@ALL
def test_one_shared_policy_acts_as_its_copies_do(encoder):
    found = []
    for count in (1, 3):
        collector, params, streams = worlds(encoder)
        first = collector.collect(expand(params, count), *streams)
        second = collector.collect(expand(params, count), *streams, belief=first.belief)
        found.append((first, second))
    for shared, copies in zip(*found, strict=True):
        assert torch.equal(shared.valid, copies.valid)
        torch.testing.assert_close(
            shared.actions[shared.valid], copies.actions[shared.valid], rtol=0, atol=1e-4
        )
        for name, value in copies.belief.items():
            assert shared.belief[name].shape == value.shape


@ALL
def test_recorded_steps_carry_all_of_the_belief(encoder):
    found = []
    for capture in (None, operations):
        collector, params, streams = worlds(encoder, capture)
        first = collector.collect(expand(params, 1), *streams)
        found.append((first, collector.collect(expand(params, 1), *streams, belief=first.belief)))
    for one, other in zip(*found, strict=True):
        assert not differing(one, other)
        for name, value in one.belief.items():
            assert torch.equal(value, other.belief[name]), name


@ALL
def test_beliefs_last_for_a_trial_whose_end_is_each_worlds_own(encoder):
    collector, params, streams = worlds(encoder)
    policy, params = collector.policy, expand(params, 3)
    belief, steps = policy.begin(params, 4), 0
    handed_on, again = None, Generator().manual_seed(3)
    for _ in range(3):
        rollouts = collector.collect(params, *streams, belief=handed_on)
        noise = torch.randn((25, 3, 4, policy.action_size), generator=again)
        for t in range(25):  # the loop that goes on, whatever the collector was handed
            valid = rollouts.valid[:, :, t]
            dist, after = policy.act(params, belief, rollouts.observations[:, :, t])
            acted = rollouts.actions[:, :, t]
            mean = (acted - noise[t])[valid]
            torch.testing.assert_close(dist.mean[valid], mean, rtol=0, atol=1e-4)
            steps += int(valid.sum())
            told = rollouts.terminated[:, :, t], rollouts.truncated[:, :, t]
            outcome = (policy.sent(acted), rollouts.rewards[:, :, t], *told)
            after = policy.observe(params, after, Outcome(*outcome, rollouts.final_observations))
            belief = where(valid, after, belief)
        ends = torch.rand((3, 4), generator=GENERATOR) < 0.5
        belief = where(ends, policy.begin(params, 4), belief)
        handed_on = where(ends, policy.begin(params, 4), rollouts.belief)
    assert steps > 3 * 12
    assert not rollouts.valid.all()


def test_a_window_of_too_few_steps_is_refused():
    with pytest.raises(InputError, match=r"memory_length = 10: .* at least 11"):
        MemoryConfig(encoder="window", memory_length=10)
    assert MemoryConfig(encoder="gru", memory_length=10).memory_length == 10
