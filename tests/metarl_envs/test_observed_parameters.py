"""An observed parameter: its value ends every observation, in every interface."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import torch
from torch import Generator

from metarl_envs import (
    BatchEnv,
    MetaEnv,
    MetaVectorEnv,
    Tasks,
    family_from_gym,
    get_family,
    gym_robot,
    vary,
)
from metarl_envs.robots.half_cheetah import HALF_CHEETAH

HIDDEN = dataclasses.replace(
    get_family("half-cheetah-payload-velocity"), name="hidden", observes_task=False
)
SPEED = vary.goal("velocity", (-2.0, 2.0), nominal=1.0, unit="m/s", observed=True)
PLACE = vary.goal("place", (-1.0, 1.0), nominal=(0.0, 0.5), unit="m", observed=True)
NOISY = vary.observation_noise(HALF_CHEETAH, (0.1, 0.2))
OBSERVED = dataclasses.replace(
    HIDDEN, name="observed", parameters=(PLACE, HIDDEN.parameters[1], SPEED, NOISY)
)
TASKS = Tasks.concatenate(
    [
        OBSERVED.make_task({"velocity": -1.5, "place": [0.25, -0.5], "observation_noise": 0.1}),
        OBSERVED.make_task({"velocity": 0.5, "place": [-1.0, 1.0], "torso_mass_scale": 2.0}),
    ]
)
WANTED = torch.tensor([[0.25, -0.5, -1.5], [-1.0, 1.0, 0.5]], dtype=torch.float64)


def test_a_goal_is_hidden_unless_it_is_observed():
    assert not vary.goal("velocity", (-2.0, 2.0), nominal=1.0).observed
    assert HIDDEN.observed_task(HIDDEN.nominal_tasks(3)).shape == (3, 0)
    assert HIDDEN.observation_size == HALF_CHEETAH.observation_size == 17


def test_values_follow_the_observation_in_their_own_unit_and_the_families_order():
    assert OBSERVED.observation_size == 20
    assert torch.equal(OBSERVED.observed_task(TASKS), WANTED)
    env = BatchEnv(OBSERVED, 2, 3, horizon=4)
    env.set_tasks(TASKS)
    first = env.reset(Generator().manual_seed(0))
    step = env.step(torch.full((6, 6), 0.2, dtype=torch.float64))
    for observed in (first, step.observations):
        assert torch.equal(observed[:, 17:], WANTED.repeat_interleave(3, dim=0))


def test_observing_changes_neither_physics_nor_reward_nor_noise():
    plain = dataclasses.replace(
        OBSERVED,
        parameters=tuple(dataclasses.replace(p, observed=False) for p in OBSERVED.parameters),
    )
    seen = []
    for family in (OBSERVED, plain):
        env = BatchEnv(family, 2, 1)
        env.set_tasks(TASKS)
        env.reset(Generator().manual_seed(0))
        step = env.step(torch.full((2, 6), 0.2, dtype=torch.float64))
        seen.append((step.observations[:, :17], step.rewards))
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])


def test_a_new_task_shows_at_once():
    env = BatchEnv(OBSERVED, 2, 1)
    env.set_tasks(TASKS)
    env.reset(Generator().manual_seed(0))
    env.set_tasks(TASKS[[1, 0]])
    assert torch.equal(env.observation()[:, 17:], WANTED[[1, 0]])


def test_an_oracle_observes_the_features_of_all_after_them():
    oracle = dataclasses.replace(OBSERVED, observes_task=True)
    features = oracle.observed_task(TASKS)
    assert torch.equal(features[:, :3], WANTED)
    assert torch.equal(features[:, 3:], OBSERVED.task_features(TASKS))
    assert oracle.observation_size == 20 + 5


def test_gymnasiums_environments_show_it():
    env = MetaEnv(OBSERVED)
    task = TASKS.describe(0)
    observation, _ = env.reset(seed=0, options={"task": task})
    assert env.observation_space.shape == (20,)
    np.testing.assert_array_equal(observation[17:], WANTED[0])
    observation, *_ = env.step(env.action_space.sample())
    np.testing.assert_array_equal(observation[17:], WANTED[0])

    worlds = MetaVectorEnv(OBSERVED, num_envs=2)
    worlds.set_tasks(TASKS)
    observations, _ = worlds.reset(seed=0)
    np.testing.assert_array_equal(observations[:, 17:], WANTED)


def test_a_gymnasium_robot_shows_it_too():
    family = family_from_gym(
        gym_robot("Pendulum-v1"),
        lambda robot: [
            vary.attribute(robot, "m", (0.5, 2.0)),
            vary.goal("angle", (-1.0, 1.0), nominal=0.0, observed=True),
        ],
        name="pendulum-observed",
        reward=lambda t: -(t.after["observation"][:, 1] - t.task["angle"]).square(),
    )
    env = MetaEnv(family)
    observation, _ = env.reset(seed=0, options={"task": {"angle": 0.75}})
    assert observation.shape == (4,)
    assert observation[3] == 0.75


def test_a_robot_of_its_own_observes_by_gymnasiums_wrapper():
    """The recipe of the guide: a robot's environment with the goal behind its observation."""
    wrapped = gymnasium.wrappers.TransformObservation(
        gymnasium.make("HalfCheetah-v5"),
        lambda observation: np.append(observation, -1.5),
        gymnasium.spaces.Box(-np.inf, np.inf, (18,), np.float64),
    )
    observation, _ = wrapped.reset(seed=0)
    assert observation.shape == (18,) and observation[-1] == -1.5
    observation, *_ = wrapped.step(wrapped.action_space.sample())
    assert observation[-1] == -1.5
