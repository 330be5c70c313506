"""Adaptation on a robot: the arithmetic of the batched path, its sizes, seeds and records."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from support.helpers import Momentum, largest_difference
from support.point_robot import Failing
from support.tiny import tiny_policy

import metarl
from metarl import Limits
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import run_inner_loop
from metarl.adaptation.learned_rates import MetaSgd
from metarl.deploy import (
    MetaPolicy,
    adapt_to_task,
)
from metarl.deploy.adapt import adaptation_generators
from metarl.errors import NonFiniteUpdateError
from metarl.methods.setup import inner_loop_of
from metarl.outer.state import initial_params
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl_envs import BatchEnv, InputError, get_family

UNCAPPED = Limits(max_step_kl=math.inf)
BUNDLED = Path(metarl.__file__).parent / "assets" / "half-cheetah-direction"


class Replay(gymnasium.Env):
    """Plays recorded episodes of one task, whatever the actions."""

    def __init__(self, family, rollouts: list[Rollouts]):
        low, high = (bound.numpy() for bound in family.action_bounds())
        self.action_space = Box(low.astype(np.float32), high.astype(np.float32))
        self.observation_space = Box(-np.inf, np.inf, (family.observation_size,), np.float64)
        self.episodes = [
            (
                torch.cat([r.observations[0, e], r.final_observations[0, e, None]]).numpy(),
                r.rewards[0, e].numpy(),
            )
            for r in rollouts
            for e in range(r.rewards.shape[1])
        ]
        self.seeds, self.options = [], []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.options.append(options)
        self.observations, self.rewards = self.episodes[len(self.seeds) - 1]
        self.t = 0
        return self.observations[0], {}

    def step(self, action):
        assert self.action_space.contains(action)
        reward = self.rewards[self.t]
        self.t += 1
        return self.observations[self.t], reward, False, False, {}


def one_step(saved, env, seed):
    """The inner loop of one step, as `adapt_to_task` runs it."""
    start, how = expand(saved.params, 1), inner_loop_of(saved.config, 1.0)
    streams = adaptation_generators(seed)
    collected = partial(Collector(env, saved.policy).collect, resets=streams[0], actions=streams[1])
    return run_inner_loop(saved.policy, how, start, 1, collected)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(
    "inner",
    [GradientStep(inner_lr_decay=0.5), MetaSgd(), Momentum()],
    ids=lambda inner: type(inner).__name__,
)
def test_one_world_at_a_time_gives_the_parameters_of_the_batched_path(inner, steps):
    # The point starts at the origin without noise, so both paths see the same episodes.
    saved = tiny_policy("navigation", horizon=100)
    config = replace(saved.config, inner=inner)
    params = initial_params(saved.policy, config.inner, torch.Generator().manual_seed(0))
    saved = replace(saved, config=config, params=params)
    task = get_family("navigation").make_task({"goal": (0.3, -0.2)})
    batched = adapt_to_task(saved, task, episodes=4, steps=steps, seed=5)
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    env.reset(options={"task": {"goal": [0.3, -0.2]}})
    alone = MetaPolicy(saved).adapt(env, episodes=4, steps=steps, seed=5, limits=UNCAPPED)
    assert largest_difference(saved.params, batched.params) > 1e-3
    assert largest_difference(batched.params, alone.saved.params) <= 1e-6
    # What it is measured by is the mean action: a start that is always the same, and no noise.
    saved_alone, adapted_alone = (act(p, env) for p in (MetaPolicy(saved), alone))
    np.testing.assert_allclose(batched.returns[[0, -1]], [saved_alone, adapted_alone], rtol=1e-4)
    assert abs(alone.adapted["returns"][0] - batched.returns[0]) > 1e-3  # that is with noise


def act(policy, env) -> float:
    """Return of the mean action over 100 steps."""
    observation, total = env.reset()[0], 0.0
    for _ in range(100):
        observation, reward, *_ = env.step(policy.predict(observation)[0])
        total += reward
    return total


def test_same_rollouts_give_the_parameters_of_the_batched_path_on_a_robot():
    saved, family = tiny_policy("half-cheetah-direction"), get_family("half-cheetah-direction")
    env = BatchEnv(family, 1, 3, horizon=12)
    env.set_tasks(family.make_task({"direction": -1}))
    inner = one_step(saved, env, seed=2)
    replay = Replay(family, inner.rollouts)
    alone = MetaPolicy(saved).adapt(replay, episodes=3, seed=2, limits=UNCAPPED)
    batched = {name: value[0] for name, value in inner.adapted.items()}
    assert largest_difference(saved.params, batched) > 1e-3
    assert largest_difference(batched, alone.saved.params) <= 1e-6


def test_the_bundled_policy_adapts_alone_as_in_the_batch_over_whole_episodes():
    saved, family = metarl.load(BUNDLED).saved, get_family("half-cheetah-direction")
    env = BatchEnv(family, 1, 5, horizon=100)
    env.set_tasks(family.make_task({"direction": -1}))
    inner = one_step(saved, env, seed=2)
    alone = MetaPolicy(saved).adapt(
        Replay(family, inner.rollouts), episodes=5, seed=2, limits=UNCAPPED
    )
    batched = {name: value[0] for name, value in inner.adapted.items()}
    assert largest_difference(saved.params, batched) > 1e-2
    assert largest_difference(batched, alone.saved.params) <= 1e-6


def test_adapting_seeds_the_first_reset_only_and_never_names_a_task():
    saved, family = tiny_policy("navigation", horizon=3), get_family("navigation")
    env = BatchEnv(family, 1, 4, horizon=3)
    inner = one_step(saved, env, seed=0)
    replay = Replay(family, inner.rollouts)
    MetaPolicy(saved).adapt(replay, episodes=2, steps=2, seed=9)
    assert replay.seeds == [9, None, None, None]
    assert replay.options == [None] * 4


def test_adapting_keeps_the_environment_in_its_task():
    env = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDirection-v0")
    env.reset(options={"task": {"direction": -1}})
    MetaPolicy(tiny_policy("half-cheetah-direction", horizon=3)).adapt(env, episodes=2)
    assert env.reset()[1]["task"] == {"direction": -1.0}


def test_adapting_leaves_the_original_as_it_was():
    policy = MetaPolicy(tiny_policy("navigation"))
    before = {name: value.clone() for name, value in policy.saved.params.items()}
    adapted = policy.adapt(gymnasium.make("metarl_envs:MetaRL/Navigation-v0"), episodes=2)
    assert largest_difference(before, policy.saved.params) == 0
    assert policy.adapted is None
    assert adapted.adapted["episodes"] == 2


def test_every_episode_is_recorded_and_printed(capsys):
    records = []
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    limits = Limits(check_episodes=2, max_step_kl=math.inf)
    adapted = policy.adapt(
        Failing(None, 99), episodes=2, steps=2, limits=limits, on_episode=records.append,
        verbose=True,
    )  # fmt: skip
    assert [(r.collection, r.number, r.of, r.check) for r in records] == [
        (1, 1, 2, False), (1, 2, 2, False), (2, 1, 2, False), (2, 2, 2, False),
        (3, 1, 2, True), (3, 2, 2, True),
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines == [str(record) for record in records]
    assert lines[2].startswith("step 2 of 2, episode 1 of 2: return -")
    assert {r.ended for r in records} == {"truncated"}
    np.testing.assert_allclose(
        [np.mean([r.returned for r in records[i : i + 2]]) for i in (0, 2)],
        adapted.adapted["returns"],
    )
    assert len(adapted.episodes) == 4  # those of the check are for the callback
    with pytest.raises(InputError, match="on_episode = 'me': must be a function"):
        policy.adapt(Failing(None, 99), on_episode="me")


def test_as_many_steps_are_taken_as_the_policy_was_trained_for():
    saved = tiny_policy("navigation", horizon=4)
    saved = replace(saved, config=replace(saved.config, adaptation_steps=3))
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    adapted = MetaPolicy(saved).adapt(env, episodes=2).adapted
    assert (adapted["steps"], adapted["limits"]["steps_taken"]) == (3, 3)
    batched = adapt_to_task(saved, get_family("navigation").nominal_tasks(), episodes=2)
    assert len(batched.returns) == 4


def test_limits_of_another_type_are_refused():
    env = Failing(None, 99)
    with pytest.raises(InputError, match=r"limits = None: must be metarl.Limits"):
        MetaPolicy(tiny_policy("navigation")).adapt(env, limits=None)
    assert env.resets == 0


@pytest.mark.parametrize("name", ["episodes", "steps", "seed"])
def test_sizes_of_any_type_are_whole_numbers_or_refused(name):
    policy = MetaPolicy(tiny_policy("navigation", horizon=3))
    task = get_family("navigation").nominal_tasks()
    for good in (np.int64(2), np.array([2]), torch.tensor(2), 2.0):
        sizes = {"episodes": 2, "steps": 1, name: good}
        found = adapt_to_task(policy.saved, task, **sizes).saved.metadata["adapted"]
        assert (found[name], type(found[name])) == (2, int)
    for bad in (2.5, "2", None if name != "steps" else "two", [2, 3], True):
        env, sizes = Failing(None, 99), {"episodes": 2, "steps": 1, name: bad}
        with pytest.raises(InputError, match=f"{name} = .*: must be a whole number"):
            policy.adapt(env, **sizes)
        with pytest.raises(InputError, match=f"{name} = .*: must be a whole number"):
            adapt_to_task(policy.saved, task, **sizes)
        assert env.resets == 0


@pytest.mark.parametrize("sizes", [{"episodes": 0}, {"steps": 0}])
def test_impossible_sizes_are_refused(sizes):
    saved = tiny_policy("navigation")
    (name,) = sizes
    with pytest.raises(InputError, match=f"{name} = 0"):
        MetaPolicy(saved).adapt(gymnasium.make("metarl_envs:MetaRL/Navigation-v0"), **sizes)
    with pytest.raises(InputError, match=f"{name} = 0"):
        adapt_to_task(saved, get_family("navigation").nominal_tasks(), **sizes)


class Diverging(Replay):
    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, np.nan, *rest


def test_adaptation_without_a_valid_episode_is_an_error():
    saved, family = tiny_policy("navigation", horizon=3), get_family("navigation")
    env = BatchEnv(family, 1, 2, horizon=3)
    inner = one_step(saved, env, seed=0)
    with pytest.raises(NonFiniteUpdateError, match="step 1 is not finite"):
        MetaPolicy(saved).adapt(Diverging(family, inner.rollouts), episodes=2)
