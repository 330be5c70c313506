"""Every family as a gymnasium.vector.VectorEnv, against a SyncVectorEnv of single worlds."""

from __future__ import annotations

import time
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Generator

from metarl_envs import FAMILIES, InputError, MetaEnv, MetaVectorEnv, get_family, gymnasium_id

N, STEPS = 3, 24
HORIZON = 9  # a few episodes end within the steps
every_family = pytest.mark.parametrize("family", sorted(FAMILIES))


def ours(family: str, mode: str = "SameStep", n: int = N, **kwargs) -> MetaVectorEnv:
    return gymnasium.make_vec(
        gymnasium_id(family),
        num_envs=n,
        vectorization_mode="vector_entry_point",
        max_episode_steps=HORIZON,
        autoreset_mode=mode,
        **kwargs,
    )


def theirs(family: str, mode: str = "SameStep", n: int = N) -> SyncVectorEnv:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gymnasium.make_vec(
            gymnasium_id(family),
            num_envs=n,
            vectorization_mode="sync",
            max_episode_steps=HORIZON,
            vector_kwargs={"autoreset_mode": mode},
        )


def numbers(value):
    """An info's array; a vector parameter is an array of lists in SyncVectorEnv's."""
    array = np.asarray(value)
    if array.dtype == object and any(isinstance(entry, list) for entry in array):
        size = max(len(entry) for entry in array if entry is not None)
        array = np.stack([np.zeros(size) if entry is None else entry for entry in array])
    return array


def assert_same_info(one: dict, two: dict, where: str) -> None:
    assert one.keys() == two.keys(), where
    for key, value in two.items():
        if isinstance(value, dict):
            assert_same_info(one[key], value, f"{where}.{key}")
        elif key == "final_obs":
            for a, b in zip(one[key], value, strict=True):
                assert (a is None) == (b is None)
                assert a is None or np.array_equal(a, b)
        else:
            a, b = numbers(one[key]), numbers(value)
            assert a.dtype == b.dtype, f"{where}.{key}"
            assert np.array_equal(a, b, equal_nan=a.dtype == float), f"{where}.{key}"


def assert_same(one, two, where: str) -> None:
    *arrays, info = one
    *others, other = two
    for a, b in zip(arrays, others, strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b), where
    assert_same_info(info, other, where)


def set_tasks(family: str, mine: MetaVectorEnv, sync: SyncVectorEnv) -> None:
    tasks = get_family(family).sample_tasks(N, Generator().manual_seed(3), "train")
    mine.set_tasks(tasks)
    for i, env in enumerate(sync.envs):
        env.unwrapped.set_task(tasks.describe(i))


def actions(env, count: int) -> list[np.ndarray]:
    env.action_space.seed(0)
    return [env.action_space.sample() for _ in range(count)]


@every_family
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_equals_a_sync_vector_env_step_by_step(family, mode):
    mine, sync = ours(family, mode), theirs(family, mode)
    set_tasks(family, mine, sync)
    assert mine.observation_space == sync.observation_space
    assert mine.action_space == sync.action_space
    assert_same(mine.reset(seed=7), sync.reset(seed=7), "reset")
    ended = 0
    for t, action in enumerate(actions(mine, STEPS)):
        result = mine.step(action)
        assert_same(result, sync.step(action), f"step {t}")
        ended += int((result[2] | result[3]).sum())
    assert ended >= N


def test_worlds_take_their_tasks_by_options():
    mine = MetaVectorEnv("half-cheetah-velocity", N, observe_task=True)
    single = MetaEnv("half-cheetah-velocity", observe_task=True)
    assert mine.single_observation_space == single.observation_space
    tasks = mine.family.sample_tasks(N, Generator().manual_seed(3), "train")
    mine.set_tasks(tasks)
    observations, _ = mine.reset(seed=7)
    assert np.array_equal(observations[:, -1:], mine.family.task_features(tasks).numpy())


def test_without_autoreset_the_caller_resets_the_ended_worlds():
    mine, sync = ours("hopper-dynamics", "Disabled"), theirs("hopper-dynamics", "Disabled")
    mine.reset(seed=5)
    sync.reset(seed=5)
    for action in actions(mine, STEPS):
        result, other = mine.step(action), sync.step(action)
        assert_same(result, other, "step")
        ended = result[2] | result[3]
        if ended.any():
            with pytest.raises(gymnasium.error.ResetNeeded, match="worlds have ended"):
                mine.step(action)
            task = {"mass_scale": 1.5}
            one = mine.reset(options={"reset_mask": ended, "task": task})
            two = sync.reset(options={"reset_mask": ended.copy(), "task": task})
            assert_same(one, two, "masked reset")


def test_metadata_says_how_worlds_restart():
    assert ours("navigation").metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert ours("navigation", "NextStep").metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    default = gymnasium.make_vec(gymnasium_id("navigation"), num_envs=2)
    assert isinstance(default, MetaVectorEnv)
    assert default.spec is not None
    assert default.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_tasks_for_all_worlds_and_for_each():
    env = ours("half-cheetah-velocity")
    _, infos = env.reset(seed=0, options={"task": {"velocity": 1.5}})
    assert infos["task"]["velocity"].tolist() == [1.5] * N
    tasks = [{"velocity": velocity} for velocity in (0.5, 1.0, 2.0)]
    _, infos = env.reset(options={"tasks": tasks})
    assert infos["task"]["velocity"].tolist() == [0.5, 1.0, 2.0]
    rewards = env.step(np.zeros((N, 6), dtype=np.float32))[1]
    assert len(set(rewards)) == N


def test_a_diverged_world_is_truncated_and_restarts_alone():
    env, sync = ours("ant-direction"), theirs("ant-direction")
    env.reset(seed=0)
    sync.reset(seed=0)
    action = np.zeros((N, 8), dtype=np.float32)
    action[1] = np.nan
    *result, infos = env.step(action)
    assert result[3].tolist() == [False, True, False]
    assert infos["final_info"]["fault"].tolist() == [False, True, False]
    assert np.isfinite(result[0]).all()
    *others, _ = sync.step(action)
    for mine, other in zip(result, others, strict=True):
        assert np.array_equal(mine, other)


def test_results_share_no_memory():
    env = ours("navigation")
    start, first_info = env.reset(seed=0)
    one = env.step(np.full((N, 2), 0.1, dtype=np.float32))
    kept = [start.copy(), *(array.copy() for array in one[:4])]
    two = env.step(np.full((N, 2), 0.1, dtype=np.float32))
    for before, after in zip(kept, [start, *one[:4]], strict=True):
        assert np.array_equal(before, after)
    assert not np.shares_memory(one[0], two[0])
    first_info["task"]["goal"][:] = 9.0
    assert (env.tasks.values["goal"] == 0.0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda env: env.step(np.zeros((N, 2))), "actions have shape"),
        (lambda env: env.reset(options={"task_": {}}), "did you mean task"),
        (lambda env: env.reset(options={"task": 1.0}), "must name parameters"),
        (lambda env: env.reset(options={"tasks": [{}]}), "1 tasks given"),
        (lambda env: env.reset(options={"reset_mask": np.zeros(N, bool)}), "at least one True"),
        (lambda env: env.reset(seed=[1, 2]), "2 seeds given"),
        (lambda env: MetaVectorEnv("navigation", autoreset_mode="next"), "allowed are NextStep"),
        (lambda env: MetaVectorEnv("navigation", num_envs=0), "num_envs = 0"),
    ],
)
def test_wrong_calls_say_what_is_allowed(call, message):
    env = ours("half-cheetah-velocity")
    env.reset(seed=0)
    with pytest.raises(InputError, match=message):
        call(env)


def test_stepping_before_a_reset_is_refused():
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        ours("navigation").step(np.zeros((N, 2)))


def test_gymnasiums_vector_wrappers_take_it():
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(ours("half-cheetah-direction"))
    env.reset(seed=0)
    for _ in range(HORIZON):
        *_, infos = env.step(np.zeros((N, 6), dtype=np.float32))
    assert infos["episode"]["l"].tolist() == [HORIZON] * N


def test_is_much_faster_than_single_worlds(capsys):
    """At 64 worlds on one thread, in processor time: a ratio that other processes do not change."""
    envs = {
        "vector": MetaVectorEnv("half-cheetah-direction", 64),
        "sync": SyncVectorEnv([lambda: MetaEnv("half-cheetah-direction") for _ in range(64)]),
    }
    seconds = dict.fromkeys(envs, float("inf"))
    for _ in range(4):
        for name, env in envs.items():
            env.reset(seed=0)
            action = actions(env, 1)[0]
            began = time.process_time()
            for _ in range(10):
                env.step(action)
            seconds[name] = min(seconds[name], time.process_time() - began)
    ratio = seconds["sync"] / seconds["vector"]
    with capsys.disabled():
        print(f"\nMetaVectorEnv over SyncVectorEnv, 64 worlds, one thread: {ratio:.1f} x")
    assert ratio > 3
