"""The belief of a policy: carried through episodes, frozen at their end, replayed for losses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.recorded_operations import differing, every_time, operations
from support.remembering import RememberingConfig
from torch import Generator

from metarl.policies.base import Policy
from metarl.policies.belief import where
from metarl.policies.mlp import MlpConfig
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import BELIEFS
from metarl_envs import BatchEnv, get_family

CONFIG = RememberingConfig(action_scale=1.0)
CAPTURES = [None, operations, every_time]


def collections(name="navigation", capture=None, config=CONFIG, count=1, horizon=9):
    """Collections of three tasks, the second of which goes on with the trials of the first."""
    family = get_family(name)
    policy = Policy.for_family(family, config)
    streams = [Generator().manual_seed(seed) for seed in range(4)]
    params = expand(policy.init(streams[0]), 3)
    env = BatchEnv(family, 3, 4, horizon=horizon)
    env.set_tasks(family.sample_tasks(3, streams[1], "train"))
    collector, found = Collector(env, policy, capture), []
    for _ in range(count):
        belief = found[-1].belief if found else None
        found.append(collector.collect(params, *streams[2:], belief=belief))
    return policy, params, found


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("name", ["navigation", "hopper-dynamics"])
def test_replayed_episodes_give_the_means_that_acted(name, capture):
    policy, params, (rollouts,) = collections(name, capture, horizon=25)
    dist = policy.distribution(params, rollouts)
    assert dist.mean.shape == rollouts.actions.shape
    assert dist.log_std.shape == (3, 1, 1, policy.action_size)
    noise = (rollouts.actions - dist.mean)[rollouts.valid]
    shape = (25, 3, 4, policy.action_size)
    drawn = torch.randn(shape, generator=Generator().manual_seed(3)).movedim(0, 2)
    torch.testing.assert_close(noise, drawn[rollouts.valid], rtol=0, atol=1e-5)
    if name == "hopper-dynamics":
        assert not rollouts.valid.all()


@pytest.mark.parametrize("capture", [operations, every_time])
def test_captured_steps_carry_the_belief_as_steps_one_by_one_do(capture):
    *_, expected = collections("hopper-dynamics", None, count=2, horizon=25)
    *_, found = collections("hopper-dynamics", capture, count=2, horizon=25)
    for one, other in zip(expected, found, strict=True):
        assert not differing(one, other)
        for name, value in one.belief.items():
            assert torch.equal(value, other.belief[name]), name


@pytest.mark.parametrize("capture", CAPTURES)
def test_the_last_step_of_an_episode_reaches_the_belief_and_nothing_after_it(capture):
    _, _, (rollouts,) = collections("hopper-dynamics", capture, horizon=25)
    lengths = rollouts.valid.sum(-1)
    assert 1 < lengths.min() < 25
    assert torch.equal(rollouts.belief["acted"], lengths.float())
    last = (lengths - 1).unsqueeze(-1)
    reward, terminated, truncated = rollouts.belief["last"][..., :3].unbind(-1)
    assert torch.equal(reward, rollouts.rewards.gather(2, last).squeeze(2))
    assert torch.equal(terminated.bool(), rollouts.terminated.any(-1))
    assert torch.equal(truncated.bool(), rollouts.truncated.any(-1))
    assert terminated.any()
    A = rollouts.actions.shape[-1]
    assert torch.equal(rollouts.belief["last"][..., 3 + A :], rollouts.final_observations)
    action = rollouts.actions.gather(2, last.unsqueeze(-1).expand(-1, -1, -1, A)).squeeze(2)
    sent = rollouts.belief["last"][..., 3 : 3 + A]
    torch.testing.assert_close(sent, action.clamp(-1, 1), rtol=0, atol=1e-6)


def test_a_belief_that_is_handed_on_goes_on_and_is_replayed_from_there():
    policy, params, (first, second) = collections(count=2)
    assert torch.equal(second.belief["acted"], first.belief["acted"] + second.valid.sum(-1))
    mean = policy.distribution(params, second).mean
    fresh = policy.distribution(params, dataclasses.replace(second, start={})).mean
    stream = Generator().manual_seed(3)
    noise = [torch.randn((9, 3, 4, 2), generator=stream) for _ in range(2)][1].movedim(0, 2)
    acted = (second.actions - noise)[second.valid]
    torch.testing.assert_close(mean[second.valid], acted, rtol=0, atol=1e-5)
    assert not torch.allclose(fresh[second.valid], acted, atol=1e-2)


def test_a_gradient_through_the_replay_is_that_of_finite_differences():
    policy, params, (rollouts,) = collections()
    numbers = {
        f.name: getattr(rollouts, f.name).double()
        for f in dataclasses.fields(rollouts)
        if f.name not in BELIEFS and getattr(rollouts, f.name).is_floating_point()
    }
    rollouts = dataclasses.replace(rollouts, **numbers)
    params = {name: value.double() for name, value in params.items()}
    towards = {
        name: torch.linspace(-1, 1, value.numel(), dtype=torch.float64).view_as(value)
        for name, value in params.items()
    }

    def value(size):
        moved = {name: v + size * towards[name] for name, v in params.items()}
        return (policy.distribution(moved, rollouts).mean[rollouts.valid] ** 2).sum()

    size = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(size), size)
    difference = (value(1e-6) - value(-1e-6)) / 2e-6
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


def test_the_perceptrons_single_product_is_the_replay():
    config = MlpConfig(hidden_sizes=(8,), normalize_observations=True, context_size=2)
    policy, params, (rollouts,) = collections(config=config)
    at_once, replayed = (
        policy.distribution(params, rollouts),
        Policy.distribution(policy, params, rollouts),
    )
    torch.testing.assert_close(at_once.mean, replayed.mean)
    assert torch.equal(at_once.log_std, replayed.log_std)
    assert rollouts.belief == {}


def test_rescaled_outputs_and_noise_are_scaled_together_and_the_mean_can_be_left_out():
    policy, params, (rollouts,) = collections(config=MlpConfig(hidden_sizes=(8,)))
    before = policy.distribution(params, rollouts)
    after = policy.distribution(policy.rescaled(params, 2.5), rollouts)
    torch.testing.assert_close(after.mean, 2.5 * before.mean)
    torch.testing.assert_close(after.log_std.exp(), 2.5 * before.log_std.exp())
    still = policy.distribution(policy.without_mean(params), rollouts)
    assert not still.mean.any()
    assert torch.equal(still.log_std, before.log_std)


def test_where_takes_whole_rows():
    ones, zeros = {"a": torch.ones(2, 2, 3)}, {"a": torch.zeros(2, 2, 3)}
    worlds = torch.tensor([[True, False], [False, True]])
    assert where(worlds, ones, zeros)["a"][..., 0].tolist() == [[1, 0], [0, 1]]
