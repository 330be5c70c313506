"""Every family as a gymnasium.Env."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import Generator

from metarl_envs import FAMILIES, BatchEnv, InputError, MetaEnv, get_family, gymnasium_id

every_family = pytest.mark.parametrize("family", list(FAMILIES))
# The warnings that Gymnasium's own tests of its environments tolerate.
TOLERATED = (
    "A Box observation space minimum value is -infinity",
    "A Box observation space maximum value is infinity",
    "For Box action spaces, we recommend using a symmetric and normalized space",
)


@pytest.fixture(autouse=True)
def only_tolerated_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for message in TOLERATED:
            warnings.filterwarnings("ignore", message=f".*{message}")
        yield


def task_of(family: str) -> dict:
    return get_family(family).sample_tasks(1, Generator().manual_seed(5), "train").describe(0)


@every_family
def test_passes_gymnasiums_checks_with_warnings_as_errors(family):
    env = gymnasium.make(gymnasium_id(family))
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_ids_are_those_of_the_documentation():
    assert gymnasium_id("half-cheetah-direction") == "MetaRL/HalfCheetahDirection-v0"
    assert gymnasium_id("walker2d-dynamics") == "MetaRL/Walker2dDynamics-v0"
    assert {gymnasium_id(family) for family in FAMILIES} <= set(gymnasium.registry)
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    assert isinstance(env.unwrapped, MetaEnv)


@every_family
def test_horizon_comes_from_the_spec_and_only_from_there(family):
    env = gymnasium.make(gymnasium_id(family))
    assert env.spec is not None
    assert env.spec.max_episode_steps == get_family(family).horizon
    env.reset(seed=0)
    still = np.zeros(env.action_space.shape, dtype=np.float32)
    for step in range(1, get_family(family).horizon + 1):
        _, _, terminated, truncated, info = env.step(still)
        if terminated:
            break
        assert truncated == (step == get_family(family).horizon)
        assert info["fault"] is False
    bare = env.unwrapped
    bare.reset(seed=0)
    for _ in range(get_family(family).horizon + 1):
        assert bare.step(still)[3] is False


@every_family
def test_equals_batch_env_step_by_step(family):
    env, task = MetaEnv(family), task_of(family)
    observation, info = env.reset(seed=11, options={"task": task})
    assert info == {"task": task}
    batch = BatchEnv(get_family(family), 1, 1)
    batch.set_tasks(get_family(family).make_task(task))
    data = env._batch.engine.data
    batch.engine.reset(None, data["qpos"].clone(), data["qvel"].clone())
    rng = np.random.default_rng(0)
    quantity = get_family(family).quantity
    for _ in range(25):
        low, high = env.action_space.low, env.action_space.high
        action = rng.uniform(low, high).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        step = batch.step(torch.from_numpy(action)[None])
        assert np.array_equal(observation, step.observations[0].numpy())
        assert reward == step.rewards[0].item()
        assert terminated is bool(step.terminated[0])
        assert truncated is False
        measured = get_family(family).robot.quantities[quantity](step.transition)
        assert info[quantity] == measured.item()
        assert info["task"] == task


@every_family
def test_same_seed_same_episode(family):
    results = []
    for _ in range(2):
        env = gymnasium.make(gymnasium_id(family))
        env.action_space.seed(3)
        start, _ = env.reset(seed=3, options={"task": task_of(family)})
        results.append([start])
        for _ in range(5):
            results[-1].append(env.step(env.action_space.sample())[0])
        results[-1].append(env.reset()[0])
    assert all(np.array_equal(one, two) for one, two in zip(*results, strict=True))


def test_unseeded_resets_differ_and_seeded_ones_repeat():
    env = MetaEnv("half-cheetah-direction")
    first, second = env.reset(seed=1)[0], env.reset()[0]
    assert not np.array_equal(first, second)
    assert np.array_equal(env.reset(seed=1)[0], first)
    assert not np.array_equal(env.reset(seed=2)[0], first)


def test_task_stays_until_another_is_chosen():
    env = MetaEnv("half-cheetah-dynamics")
    nominal = {"mass_scale": 1.0, "friction_scale": 1.0, "damping_scale": 1.0}
    assert env.reset(seed=0)[1] == {"task": nominal}
    chosen = {**nominal, "mass_scale": 2.0}
    assert env.reset(options={"task": {"mass_scale": 2.0}})[1] == {"task": chosen}
    assert env.reset()[1] == {"task": chosen}
    # What is not named is nominal, not what it was.
    env.reset(options={"task": {"friction_scale": 0.5}})
    assert env.get_task() == {**nominal, "friction_scale": 0.5}
    env.set_task(env.family.make_task({"mass_scale": 0.5}))
    assert env.get_task() == {**nominal, "mass_scale": 0.5}


def test_the_task_changes_the_physics():
    ends = []
    for scale in (1.0, 2.0):
        env = MetaEnv("half-cheetah-dynamics")
        env.reset(seed=0, options={"task": {"mass_scale": scale}})
        for _ in range(10):
            observation = env.step(np.full(6, 0.5, dtype=np.float32))[0]
        ends.append(observation)
    assert np.abs(ends[0] - ends[1]).max() > 1e-3


def test_sample_tasks_gives_tasks_for_set_task_and_follows_the_seed():
    env = MetaEnv("walker2d-dynamics")
    env.reset(seed=4)
    tasks = env.sample_tasks(3)
    env.reset(seed=4)
    assert env.sample_tasks(3) == tasks
    for task in tasks:
        env.set_task(task)
        assert env.get_task() == task
    assert env.sample_tasks(2, "extrapolation")[0] != tasks[0]
    with pytest.raises(InputError, match="number of tasks = 0"):
        env.sample_tasks(0)


def test_results_share_no_memory():
    env = MetaEnv("hopper-dynamics")
    start, info = env.reset(seed=0)
    action = np.ones(3, dtype=np.float32)
    first, *_, first_info = env.step(action)
    copies = start.copy(), first.copy()
    second, *_, second_info = env.step(action)
    assert np.array_equal(start, copies[0])
    assert np.array_equal(first, copies[1])
    assert not np.shares_memory(first, second)
    assert first_info["task"]["mass_scale"] is not second_info["task"]["mass_scale"]
    info["task"]["mass_scale"][0] = 9.0
    assert env.get_task()["mass_scale"][0] == 1.0
    assert (action == 1).all()


def test_a_diverged_simulation_truncates_and_says_so():
    env = MetaEnv("ant-direction")
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(np.full(8, np.nan))
    assert (terminated, truncated, info["fault"]) == (False, True, True)
    assert reward == 0.0
    assert np.isfinite(observation).all()
    env.reset()
    assert env.step(np.zeros(8))[3] is False


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"task": {"velocity": 9.0}}, ("velocity = 9.0", "[0, 2] (train)")),
        ({"task": {"speed": 1.0}}, ("'speed'", "velocity")),
        ({"task": 1.0}, ("task = 1.0", "velocity")),
        ({"tasks": {}}, ("unknown reset option 'tasks'", "task")),
    ],
)
def test_wrong_options_name_what_is_allowed(options, parts):
    env = MetaEnv("half-cheetah-velocity")
    with pytest.raises(InputError) as caught:
        env.reset(options=options)
    for part in parts:
        assert part in str(caught.value)


def test_wrong_action_render_mode_and_family_are_refused():
    env = MetaEnv("half-cheetah-velocity")
    env.reset(seed=0)
    with pytest.raises(InputError, match=r"action has shape \(3,\), .* takes \(6,\)"):
        env.step(np.zeros(3))
    with pytest.raises(InputError, match="render_mode = 'human'"):
        MetaEnv("navigation", render_mode="human")
    with pytest.raises(InputError, match="did you mean navigation"):
        MetaEnv("navigate")


def test_a_family_of_ones_own_needs_no_registration():
    env = MetaEnv(get_family("ant-goal"))
    assert env.reset(seed=0)[0].shape == (27,)


def test_render_without_a_mode_gives_nothing():
    env = MetaEnv("navigation")
    env.reset(seed=0)
    assert env.render() is None
    env.close()
    env.close()


def test_an_environment_can_tell_the_task():
    env = gymnasium.make(gymnasium_id("half-cheetah-velocity"), observe_task=True)
    observation, _ = env.reset(options={"task": {"velocity": 1.5}})
    assert env.observation_space.shape == (18,)
    assert observation[-1] == 0.5  # half way from the middle of [0, 2] to its end
