"""The collector against one world at a time, with early ends and faults."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch

from metarl.policies.gaussian import log_prob
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import expand
from metarl.rollouts.advantages import policy_batch
from metarl.rollouts.collect import Collector
from metarl_envs import BatchEnv, get_family

HORIZON = 12


def generator(seed):
    return torch.Generator().manual_seed(seed)


def setup(name, num_tasks, episodes, horizon=HORIZON):
    family = get_family(name)
    policy = GaussianMlpPolicy.for_family(family, MlpConfig(action_scale=1.0))
    env = BatchEnv(family, num_tasks, episodes, horizon=horizon)
    tasks = family.sample_tasks(num_tasks, generator(0), "train")
    env.set_tasks(tasks)
    separate = [policy.init(generator(100 + m)) for m in range(num_tasks)]
    params = {name: torch.stack([p[name] for p in separate]) for name in separate[0]}
    return family, policy, env, tasks, params


@pytest.mark.parametrize("name", ["navigation", "half-cheetah-dynamics"])
def test_batched_rollouts_replay_exactly_on_an_environment_stepped_by_hand(name):
    """Recorded actions, replayed step by step, give the recorded observations and rewards."""
    family, policy, env, tasks, params = setup(name, 3, 2)
    rollouts = Collector(env, policy).collect(params, generator(1), generator(2))
    replay = BatchEnv(family, 3, 2, horizon=HORIZON)
    replay.set_tasks(tasks)
    observation = replay.reset(generator(1))
    for t in range(HORIZON):
        valid = rollouts.valid[:, :, t].flatten()
        recorded = rollouts.observations[:, :, t].flatten(0, 1)
        assert torch.equal(recorded[valid], observation.float()[valid])
        outputs = rollouts.actions[:, :, t]
        step = replay.step(policy.controls(outputs).flatten(0, 1), valid)
        rewards = rollouts.rewards[:, :, t].flatten()
        assert torch.equal(rewards[valid], step.rewards.float()[valid])
        observation = step.observations


def test_log_probs_are_those_of_the_policy_that_acted():
    _, policy, env, _, params = setup("half-cheetah-direction", 3, 2)
    rollouts = Collector(env, policy).collect(params, generator(1), generator(2))
    expected = log_prob(policy.distribution(params, rollouts), rollouts.actions)
    torch.testing.assert_close(rollouts.log_probs, expected, rtol=1e-4, atol=1e-4)


def test_without_exploration_the_mean_acts_and_no_number_is_drawn():
    _, policy, env, _, params = setup("half-cheetah-direction", 3, 2)
    noise = generator(2)
    before = noise.get_state()
    rollouts = Collector(env, policy).collect(params, generator(1), noise, explore=False)
    means = policy.mean(params, rollouts.observations.flatten(1, 2))
    torch.testing.assert_close(rollouts.actions.flatten(1, 2), means, rtol=1e-4, atol=1e-5)
    assert torch.equal(noise.get_state(), before)


def test_truncation_at_the_horizon_is_not_termination():
    _, policy, env, _, params = setup("half-cheetah-direction", 2, 3)
    rollouts = Collector(env, policy).collect(params, generator(1), generator(2))
    assert not rollouts.terminated.any()
    assert rollouts.truncated[:, :, -1].all()
    assert not rollouts.truncated[:, :, :-1].any()
    assert rollouts.valid.all()
    assert rollouts.num_steps() == 2 * 3 * HORIZON


def drive_to_goal(policy, params, goal, num_tasks):
    """Parameters whose mean action points at the goal whatever the observation, no noise."""
    params = {name: torch.zeros_like(value) for name, value in params.items()}
    params["bias_2"] = (goal / 0.1).float()  # output 1 means one step of 0.1
    params["log_std"] = torch.full((num_tasks, 2), -12.0)
    return params


def test_an_episode_ends_at_termination_and_nothing_after_it_counts():
    family, policy, env, _, params = setup("navigation", 2, 3)
    goal = torch.tensor([[0.3, 0.0], [0.1, 0.0]])
    tasks = dataclasses.replace(family.nominal_tasks(2), values={"goal": goal.double()})
    env.set_tasks(tasks)
    # Clipped to one step of 0.1 towards +x, task 0 arrives after 3 steps, task 1 after 1.
    params = drive_to_goal(policy, params, torch.tensor([[0.1, 0.0], [0.1, 0.0]]), 2)
    rollouts = Collector(env, policy).collect(params, generator(1), generator(2))
    assert rollouts.valid.sum(-1).tolist() == [[3, 3, 3], [1, 1, 1]]
    assert rollouts.terminated.any(-1).all()
    assert not rollouts.truncated.any()
    torch.testing.assert_close(
        rollouts.returns(), torch.tensor([[-0.3] * 3, [0.0] * 3]), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(
        rollouts.final_observations[0, 0], torch.tensor([0.3, 0.0]), rtol=0, atol=1e-4
    )
    assert rollouts.num_steps() == 3 * 3 + 3 * 1
    batch = policy_batch(rollouts, 0.99, 1.0)
    weights = batch.weights
    assert torch.equal(weights > 0, rollouts.valid)
    torch.testing.assert_close(batch.weights.sum((1, 2)), torch.ones(2))


def test_a_faulted_world_is_masked_whole_and_leaves_the_others_bit_equal():
    _, policy, env, _, params = setup("half-cheetah-direction", 2, 2)
    sound = Collector(env, policy).collect(params, generator(1), generator(2))
    poisoned = {name: value.clone() for name, value in params.items()}
    poisoned["bias_2"][1] = torch.nan
    rollouts = Collector(env, policy).collect(poisoned, generator(1), generator(2))
    assert rollouts.diverged.tolist() == [[False, False], [True, True]]
    assert not rollouts.valid[1].any()
    assert torch.equal(rollouts.observations[0], sound.observations[0])
    assert torch.equal(rollouts.rewards[0], sound.rewards[0])
    assert torch.isnan(rollouts.returns()[1]).all()
    batch = policy_batch(rollouts, 0.99, 1.0)
    assert torch.isfinite(batch.advantages).all()
    assert not batch.weights[1].any()


def test_action_noise_of_a_world_does_not_depend_on_how_long_another_lives():
    family, policy, env, _, params = setup("navigation", 2, 2)
    far = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).double()
    near = torch.tensor([[0.1, 0.0], [0.5, 0.5]]).double()
    drawn = []
    for goal in (far, near):
        env.set_tasks(dataclasses.replace(family.nominal_tasks(2), values={"goal": goal}))
        drawn.append(Collector(env, policy).collect(params, generator(1), generator(2)))
    assert torch.equal(drawn[0].actions[1], drawn[1].actions[1])


def test_collection_is_reproducible_and_leaves_the_global_generator_alone():
    _, policy, env, _, params = setup("half-cheetah-direction", 2, 2)
    before = torch.get_rng_state()
    first, second = (
        Collector(env, policy).collect(params, generator(1), generator(2)) for _ in range(2)
    )
    assert torch.equal(first.observations, second.observations)
    assert torch.equal(first.actions, second.actions)
    assert torch.equal(torch.get_rng_state(), before)


def test_one_shared_policy_through_expand_equals_its_own_copies():
    _, policy, env, _, params = setup("half-cheetah-direction", 2, 2)
    one = {name: value[0] for name, value in params.items()}
    stacked = {name: torch.stack([value, value]) for name, value in one.items()}
    a = Collector(env, policy).collect(expand(one, 2), generator(1), generator(2))
    b = Collector(env, policy).collect(stacked, generator(1), generator(2))
    torch.testing.assert_close(a.observations, b.observations, rtol=1e-4, atol=1e-4)


def test_a_limit_that_only_worlds_after_their_end_met_is_no_warning(monkeypatch):
    _, policy, env, _, params = setup("half-cheetah-direction", 2, 2)
    monkeypatch.setattr(env.engine, "overflow_message", lambda: "limit = 1 was too low")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Collector(env, policy).collect(params, generator(1), generator(2))
    params["bias_2"][1] = torch.nan
    with pytest.warns(UserWarning, match="half-cheetah: limit = 1 was too low"):
        Collector(env, policy).collect(params, generator(1), generator(2))


def test_a_cpu_stops_when_the_last_world_has_ended(monkeypatch):
    family, policy, env, _, params = setup("navigation", 2, 3)
    goal = torch.tensor([[0.3, 0.0], [0.1, 0.0]]).double()
    env.set_tasks(dataclasses.replace(family.nominal_tasks(2), values={"goal": goal}))
    params = drive_to_goal(policy, params, torch.tensor([[0.1, 0.0], [0.1, 0.0]]), 2)
    stepped, step = [], env.step

    def counted(controls, mask):
        stepped.append(6 if mask is None else int(mask.sum()))
        return step(controls, mask)

    monkeypatch.setattr(env, "step", counted)
    Collector(env, policy).collect(params, generator(1), generator(2))
    assert stepped == [6, 3, 3]  # task 1 is there after one step, task 0 after three
