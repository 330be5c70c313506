"""Policies on a stack of frames: what they read, by hand, and replays of random trials."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from support.helpers import double_params, rollouts_of
from torch import Generator

from metarl.policies.base import Policy
from metarl.policies.belief import Outcome
from metarl.policies.frame_stack import OBSERVED, STACK, FrameStackConfig, FrameStackPolicy
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import expand, head
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl_envs import BatchEnv, get_family

GENERATOR = Generator().manual_seed(0)
M, E, L, O, A = 2, 5, 12, 3, 2


def randn(*shape):
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def stacking(size: int = O, actions: int = A, **given) -> FrameStackPolicy:
    config = FrameStackConfig(**({"hidden_sizes": (6,), "action_scale": 2.0} | given))
    return FrameStackPolicy(config, size, (-1.0,) * actions, (1.0,) * actions)


def some_params(policy, normalised=False):
    params = [double_params(policy, seed) for seed in range(M)]
    together = {name: torch.stack([p[name] for p in params]) for name in params[0]}
    if normalised:
        together["obs_var"] = together["obs_var"].abs() + 0.5
    return together


def trials(policy, start=None) -> Rollouts:
    """Trials with ends at random steps, and invalid steps at random, also between episodes."""
    draw = torch.rand((M, E, L), generator=GENERATOR)
    rollouts = rollouts_of(randn(M, E, L, O), 3 * randn(M, E, L, A), rewards=10 * randn(M, E, L))
    return dataclasses.replace(
        rollouts,
        terminated=draw < 0.15,
        truncated=(draw > 0.15) & (draw < 0.3),
        valid=torch.rand((M, E, L), generator=GENERATOR) > 0.2,
        start=start or {},
    )


def test_a_step_reads_the_episodes_last_steps_by_hand():
    """Linear in all it reads, with another power of ten for each number."""
    policy = stacking(1, 1, frames=3, hidden_sizes=())
    assert policy.input_size == 1 + 2 * (1 + 1 + 2)
    params = policy.init(Generator().manual_seed(0)) | {"log_std": torch.zeros(1)}

    def reads(stack, observation):
        standard, past = torch.tensor([observation]), policy.observations_in(stack)
        return policy.inputs(standard, past, stack)[0].tolist()

    def stepped(belief, observation, action, reward, ended=False):
        _, belief = policy.act(params, belief, torch.tensor([[observation]]))
        flags = torch.tensor([ended]), torch.tensor([False])
        after = torch.tensor([[9.0]])  # the next observation comes with `act`
        step = Outcome(torch.tensor([[action]]), torch.tensor([reward]), *flags, after)
        return policy.observe(params, belief, step)

    belief = policy.begin(params, 1)
    assert reads(belief[STACK], [5.0]) == [5, 0, 0, 0, 0, 0, 0, 0, 0]
    belief = stepped(belief, 5.0, 1.0, math.e - 1)
    assert reads(belief[STACK], [6.0]) == pytest.approx([6, 5, 0.5, 1, 1, 0, 0, 0, 0])
    belief = stepped(belief, 6.0, -2.0, 1 - math.e**2)
    expected = [7, 6, -1, -2, 1, 5, 0.5, 1, 1]
    assert reads(belief[STACK], [7.0]) == pytest.approx(expected)
    weights = torch.tensor(expected)
    linear = params | {"weight_0": torch.eye(9)[:, 4:5] * 2, "bias_0": torch.zeros(1)}
    dist, _ = policy.act(linear, belief, torch.tensor([[7.0]]))
    assert dist.mean.item() == pytest.approx(2 * float(weights[4]))
    belief = stepped(belief, 7.0, 0.0, 0.0)
    assert reads(belief[STACK], [8.0]) == pytest.approx([8, 7, 0, 0, 1, 6, -1, -2, 1])
    belief = stepped(belief, 8.0, 0.0, 0.0, ended=True)
    assert reads(belief[STACK], [5.0]) == [5, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("frames", [1, 2, 4, 20])
@pytest.mark.parametrize("normalised", [False, True])
def test_a_replay_in_one_product_equals_step_by_step(frames, normalised):
    policy = stacking(frames=frames, normalize_observations=normalised)
    params = some_params(policy, normalised)
    begun = policy.begin(params, E)
    rollouts = trials(policy)
    lived = Policy.distribution(policy, params, rollouts)
    dist = policy.distribution(params, rollouts)
    assert dist.log_std.shape == lived.log_std.shape == (M, 1, 1, A)
    valid = rollouts.valid
    torch.testing.assert_close(dist.mean[valid], lived.mean[valid], rtol=0, atol=1e-12)
    assert torch.isfinite(dist.mean).all()
    # From the middle of an episode: the stack of another trial's first steps.
    belief = begun
    for _ in range(2):
        _, belief = policy.act(params, belief, randn(M, E, O))
        no = torch.zeros(M, E, dtype=torch.bool)
        belief = policy.observe(
            params, belief, Outcome(randn(M, E, A), randn(M, E), no, no, randn(M, E, O))
        )
    going_on = trials(policy, belief)
    lived = Policy.distribution(policy, params, going_on).mean[going_on.valid]
    found = policy.distribution(params, going_on).mean[going_on.valid]
    torch.testing.assert_close(found, lived, rtol=0, atol=1e-12)
    fresh = policy.distribution(params, dataclasses.replace(going_on, start={}))
    assert (frames == 1) == torch.equal(fresh.mean[going_on.valid], found)


def test_one_policy_replays_as_each_of_several_does():
    policy = stacking()
    params = double_params(policy)
    rollouts = trials(policy).some_tasks([0])
    several = policy.distribution(expand(params, 1), rollouts).mean
    belief, means = policy.begin(params, E), []
    no = torch.zeros(E, dtype=torch.bool)
    for t in range(3):
        dist, belief = policy.act(params, belief, rollouts.observations[0, :, t])
        sent = policy.sent(rollouts.actions[0, :, t])
        step = Outcome(sent, rollouts.rewards[0, :, t], no, no, randn(E, O))
        belief = policy.observe(params, belief, step)
        means.append(dist.mean)
    whole = (rollouts.valid[0, :, :3] & ~(rollouts.terminated | rollouts.truncated)[0, :, :3]).all(
        -1
    )
    assert whole.any()
    expected = torch.stack(means, dim=1)[whole]
    torch.testing.assert_close(several[0, whole, :3], expected, rtol=0, atol=1e-12)


def test_an_end_hides_all_that_was_before_it():
    policy = stacking(frames=4)
    params = some_params(policy)
    rollouts = trials(policy)
    ended = torch.zeros(M, E, L, dtype=torch.bool)
    ended[:, :, 5] = True
    whole = torch.ones_like(ended)
    rollouts = dataclasses.replace(
        rollouts, terminated=ended, truncated=torch.zeros_like(ended), valid=whole
    )
    actions = rollouts.actions.clone()
    actions[:, :, :6] += 0.3
    other = dataclasses.replace(rollouts, actions=actions)
    change = (policy.distribution(params, other).mean - policy.distribution(params, rollouts).mean)[
        ..., 0
    ].abs()
    assert change[:, :, 1:6].amax((0, 1)).min() > 1e-6
    assert not change[:, :, 6:].any()


def test_rewards_are_read_only_if_observed():
    rollouts = trials(stacking())
    other = dataclasses.replace(rollouts, rewards=rollouts.rewards + 1)
    for observed in (True, False):
        policy = stacking(observe_reward=observed)
        params = some_params(policy)
        means = [policy.distribution(params, r).mean for r in (rollouts, other)]
        assert torch.equal(*means) != observed


def test_without_past_frames_it_is_the_feed_forward_policy():
    policy = stacking(frames=1, normalize_observations=True)
    config = MlpConfig(hidden_sizes=(6,), action_scale=2.0, normalize_observations=True)
    plain = GaussianMlpPolicy(config, O, (-1.0,) * A, (1.0,) * A)
    first, second = (p.init(Generator().manual_seed(1)) for p in (policy, plain))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    params, rollouts = some_params(policy, normalised=True), trials(policy)
    expected = plain.distribution(params, rollouts).mean
    torch.testing.assert_close(policy.distribution(params, rollouts).mean, expected)


def test_head_and_statistics_are_where_all_policies_have_them():
    policy = stacking(normalize_observations=True)
    params = policy.init(Generator().manual_seed(0))
    assert head(params) == ("weight_1", "bias_1", "log_std")
    assert params["weight_0"].shape == (policy.input_size, 6)
    assert params["obs_mean"].shape == (O,)
    rescaled = policy.rescaled(params, 3.0)
    belief, observations = policy.begin(params, E), randn(E, O).float()
    one, other = (policy.act(p, belief, observations)[0] for p in (params, rescaled))
    torch.testing.assert_close(other.mean, 3 * one.mean)
    torch.testing.assert_close(other.log_std, one.log_std + math.log(3))


def test_standardised_observations_of_all_frames():
    """Doubled observations with doubled statistics give the same actions, empty frames included."""
    policy = stacking(normalize_observations=True)
    params = some_params(policy, normalised=True)
    doubled = params | {"obs_mean": 2 * params["obs_mean"], "obs_var": 4 * params["obs_var"]}
    rollouts = trials(policy)
    other = dataclasses.replace(rollouts, observations=2 * rollouts.observations)
    torch.testing.assert_close(
        policy.distribution(doubled, other).mean, policy.distribution(params, rollouts).mean
    )


@pytest.mark.parametrize("horizon", [9, 25])  # hoppers fall after some 20 steps
def test_collected_episodes_replay_as_they_acted_and_leave_an_empty_stack(horizon):
    family = get_family("hopper-dynamics")
    config = FrameStackConfig(action_scale=1.0, normalize_observations=True)
    policy = Policy.for_family(family, config)
    streams = [Generator().manual_seed(seed) for seed in range(4)]
    params = expand(policy.init(streams[0]), M)
    env = BatchEnv(family, M, E, horizon=horizon)
    env.set_tasks(family.sample_tasks(M, streams[1], "train"))
    rollouts = Collector(env, policy).collect(params, *streams[2:])
    assert bool(rollouts.valid.all()) == (horizon == 9)
    noise = rollouts.actions - policy.distribution(params, rollouts).mean
    drawn = torch.randn(
        (horizon, M, E, policy.action_size), generator=Generator().manual_seed(3)
    ).movedim(0, 2)
    valid = rollouts.valid
    torch.testing.assert_close(noise[valid], drawn[valid], rtol=0, atol=1e-5)
    assert rollouts.belief.keys() == {STACK, OBSERVED}
    assert not any(value.any() for value in rollouts.belief.values())
