"""Observations that training never had are warned of at the first episode, and no others."""

import math
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import NormalizeObservation, TransformObservation
from support.tiny import tiny_policy

import metarl
from metarl import Limits
from metarl.deploy import MetaPolicy
from metarl.deploy.observation_check import Observed, alike, differences, observed_in_training
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.training.metrics import observation_statistics
from metarl_envs import BatchEnv, get_family

UNCAPPED = Limits(max_step_kl=math.inf)
TRAINING = Observed(np.array([0.02, 5.0, 0.0]), np.array([0.5, 0.1, 8.0]), np.array([0.4, 0.1, 7]))


def seen(*scales, mean=(0.0, 5.0, 0.0), steps=50):
    noise = np.random.default_rng(0).normal(size=(steps, 3))
    return np.array(mean) + noise * scales


def test_what_is_like_training_is_not_told():
    assert differences(TRAINING, seen(0.4, 0.1, 7.0)) == []
    assert differences(TRAINING, seen(2.0, 0.5, 35.0)) == []  # a wilder robot
    assert differences(TRAINING, seen(0.4, 0.1, 7.0, mean=(2.0, 5.3, 30.0))) == []


def test_degrees_are_told_by_entry():
    (line,) = differences(TRAINING, seen(0.4 * 57.3, 0.1, 7.0, mean=(1.1, 5.0, 0.0)))
    assert line.startswith("observation[0] has mean ")
    assert line.endswith(" here, 0.02 +- 0.5 in training")
    (line,) = differences(TRAINING, seen(0.4, 0.1, 7.0, mean=(57.3, 5.0, 0.0)), ["a", "b", "c"])
    assert line.startswith("observation[0] (a) has mean 57.")


def test_another_order_is_told_by_smaller_differences():
    swapped = seen(7.0, 0.1, 0.4)
    assert alike(TRAINING, swapped) < 0.8
    assert differences(TRAINING, swapped)[0].startswith("observation[0] has mean")  # 14 times
    assert differences(TRAINING, seen(7.0, 1.4, 98.0)) == []  # 14 times, but all alike


def test_a_sensor_that_stands_still_is_told():
    stuck = seen(0.4, 0.0, 7.0)
    (line,) = differences(TRAINING, stuck)
    assert line == "observation[1] stands still at 5 here, and moved in training"
    assert differences(TRAINING, stuck[:10]) == []
    still = replace(TRAINING, std_within=np.array([0.4, 0.0, 7.0]))  # such as a goal
    assert differences(still, stuck) == []


def test_statistics_come_from_what_was_saved_or_from_the_normaliser():
    saved = tiny_policy("navigation")
    assert observed_in_training(saved) is None
    noted = {"mean": [1, 2], "std": [3, 4], "std_within": [5, 6]}
    found = observed_in_training(replace(saved, metadata={"observations": noted}))
    assert found is not None
    assert (found.mean.tolist(), found.std_within.tolist()) == ([1, 2], [5, 6])
    for broken in ({}, {"mean": [1, 2]}, noted | {"std": "wide"}, noted | {"std": [1.0]}, None, 3):
        assert observed_in_training(replace(saved, metadata={"observations": broken})) is None
    bundled = metarl.load(metarl.__file__.replace("__init__.py", "assets/half-cheetah-direction"))
    found = observed_in_training(bundled.saved)
    assert found is not None
    np.testing.assert_allclose(found.std**2, bundled.saved.params["obs_var"], rtol=1e-5)


@pytest.fixture(scope="module")
def policy():
    """As saved after training: with statistics over training tasks."""
    saved, family = tiny_policy("half-cheetah-dynamics", horizon=60), None
    family = get_family("half-cheetah-dynamics")
    env = BatchEnv(family, 8, 4, horizon=60)
    streams = [torch.Generator().manual_seed(i) for i in range(3)]
    env.set_tasks(family.sample_tasks(8, streams[0], "train"))
    rollouts = Collector(env, saved.policy).collect(expand(saved.params, 8), *streams[1:])
    return MetaPolicy(replace(saved, metadata={"observations": observation_statistics(rollouts)}))


WRAPPERS = {
    "degrees": lambda env: TransformObservation(env, np.rad2deg, None),
    "standardised": NormalizeObservation,
    "velocities first": lambda env: TransformObservation(env, lambda o: np.roll(o, 9), None),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_that_training_did_not_have_are_warned_of_once(policy, name):
    env = WRAPPERS[name](gymnasium.make("metarl_envs:MetaRL/HalfCheetahDynamics-v0"))
    env.action_space = env.unwrapped.action_space
    with pytest.warns(UserWarning, match=r"observations are not those of training") as told:
        adapted = policy.adapt(env, episodes=3, limits=UNCAPPED)
    (line,) = [str(w.message) for w in told if "not those of training" in str(w.message)]
    assert "\n" not in line
    assert line.count(" in training;") <= 3
    assert "degrees instead of radians" in line
    with pytest.warns(UserWarning, match="not those of training"):  # a log, too
        metarl.adapt_from(policy, adapted.episodes, limits=UNCAPPED)
    with pytest.warns(UserWarning, match="not those of training"):  # and a stream
        metarl.ContinualAdapter(policy, window=2, limits=UNCAPPED).episode(env)


def test_tasks_of_extrapolation_raise_no_alarm(policy):
    env = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDynamics-v0")
    family = get_family("half-cheetah-dynamics")
    tasks = family.sample_tasks(10, torch.Generator().manual_seed(3), "extrapolation")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i in range(10):
            env.reset(seed=i, options={"task": tasks.describe(i)})
            policy.adapt(env, episodes=1, limits=UNCAPPED)
