"""Recorded time steps against steps taken one by one: the same rollouts, bit for bit."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import pytest
import torch
from support.recorded_operations import differing, every_time, operations
from torch import Generator

from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import BELIEFS
from metarl_envs import BatchEnv, get_family, vary

DISTURBED = dataclasses.replace(
    get_family("navigation"),
    observes_task=True,
    parameters=(
        *get_family("navigation").parameters,
        vary.action_delay(2),
        vary.observation_noise(get_family("navigation").robot, (0.0, 0.1)),
        vary.observation_bias(get_family("navigation").robot, (-0.1, 0.1), entries=[1]),
    ),
)


def collections(family, capture, *, sizes=(3, 4), count=3, horizon=25, **options):
    """`count` collections with one environment: each has its own tasks, policy and streams."""
    network = MlpConfig(action_scale=1.0, normalize_observations=True)
    policy = GaussianMlpPolicy.for_family(family, network)
    env = BatchEnv(family, *sizes, horizon=horizon, **options)
    collector, found = Collector(env, policy, capture), []
    for seed in range(count):
        streams = [Generator().manual_seed(10 * seed + purpose) for purpose in range(4)]
        env.set_tasks(family.sample_tasks(sizes[0], streams[0], "train"))
        params = expand(policy.init(streams[1]), sizes[0])
        found.append(collector.collect(params, *streams[2:]))
    return found


@pytest.mark.parametrize("capture", [operations, every_time])
@pytest.mark.parametrize("name", ["navigation", "half-cheetah-dynamics", "hopper-dynamics"])
def test_captured_steps_give_the_rollouts_of_steps_one_by_one(name, capture):
    expected, found = (collections(get_family(name), capture) for capture in (None, capture))
    for one, other in zip(expected, found, strict=True):
        assert one.valid.any()
        assert not differing(one, other)
    if name == "hopper-dynamics":  # worlds that fell go on in one of the two
        assert not expected[0].valid.all()


@pytest.mark.parametrize("capture", [operations, every_time])
def test_late_actions_and_noisy_observations_are_captured_too(capture):
    expected, found = collections(DISTURBED, None), collections(DISTURBED, capture)
    for one, other in zip(expected, found, strict=True):
        assert not differing(one, other)
    assert not torch.equal(found[0].observations, found[1].observations)


def test_a_step_is_captured_once_for_a_policy_function_and_environment():
    recorded = []

    def counting(work):
        recorded.append(work)
        return operations(work)

    family = get_family("navigation")
    env = BatchEnv(family, 2, 3, horizon=4)
    streams = [Generator().manual_seed(seed) for seed in range(2)]
    wide, narrow = MlpConfig(hidden_sizes=(8,)), MlpConfig(hidden_sizes=(5,))
    relu = MlpConfig(hidden_sizes=(8,), activation="relu")  # parameters shaped as those of wide
    collectors = [
        Collector(env, GaussianMlpPolicy.for_family(family, network), counting)
        for network in (wide, narrow, relu)
    ]
    for i, expected in ((0, 2), (0, 2), (1, 4), (2, 6), (0, 6)):
        params = expand(collectors[i].policy.init(Generator().manual_seed(0)), 2)
        collectors[i].collect(params, *streams)
        assert len(recorded) == expected  # what is done before the engine's step, and after


@pytest.mark.parametrize("capture", [None, operations])
def test_a_later_collection_leaves_an_earlier_one_alone(capture):
    """Also with one world, whose tensors need no new order in memory and so could be handed out."""
    family = get_family("navigation")
    env = BatchEnv(family, 1, 1, horizon=4)
    policy = GaussianMlpPolicy.for_family(family, MlpConfig(action_scale=1.0))
    params = expand(policy.init(Generator().manual_seed(0)), 1)
    streams = [Generator().manual_seed(seed) for seed in range(2)]
    collector = Collector(env, policy, capture)
    first = collector.collect(params, *streams)
    copies = {n: v.clone() for n, v in vars(first).items() if n not in BELIEFS}
    second = collector.collect(params, *streams)
    assert not torch.equal(first.actions, second.actions)
    assert all(torch.equal(getattr(first, name), copy) for name, copy in copies.items())


@pytest.mark.parametrize("capture", [None, operations, every_time])
@pytest.mark.parametrize("name", ["navigation", "half-cheetah-dynamics"])
def test_a_dropped_environment_is_freed_at_once(name, capture):
    """On a GPU it holds worlds and graphs, and an allocation that fails collects no garbage."""
    family = get_family(name)
    env = BatchEnv(family, 2, 3, horizon=4)
    policy = GaussianMlpPolicy.for_family(family, MlpConfig(hidden_sizes=(8,)))
    params = expand(policy.init(Generator().manual_seed(0)), 2)
    streams = [Generator().manual_seed(seed) for seed in range(2)]
    collector = Collector(env, policy, capture)
    collector.collect(params, *streams)
    gone = weakref.ref(env), weakref.ref(env.engine)
    gc.disable()
    try:
        del env, collector
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()


def test_a_world_that_ended_is_seen_as_it_ended_while_it_goes_on():
    rollouts = collections(get_family("hopper-dynamics"), operations, count=1)[0]
    lengths = rollouts.valid.sum(-1)
    assert lengths.min() < 25
    after = rollouts.observations.gather(
        2, lengths.clamp(max=24).view(3, 4, 1, 1).expand(-1, -1, 1, 11)
    )[:, :, 0]
    early = lengths < 25
    assert torch.equal(after[early], rollouts.final_observations[early])


def test_a_reward_that_asks_for_a_value_cannot_be_captured():
    family = get_family("navigation")

    def reward(transition):
        return transition.after["qpos"][:, 0] * float(transition.after["qpos"].max())

    env = BatchEnv(dataclasses.replace(family, reward=reward), 2, 3, horizon=4)
    policy = GaussianMlpPolicy.for_family(family, MlpConfig())
    params = expand(policy.init(Generator().manual_seed(0)), 2)
    streams = [Generator().manual_seed(seed) for seed in range(2)]
    with pytest.raises(RuntimeError, match="waits for the device"):
        Collector(env, policy, operations).collect(params, *streams)
