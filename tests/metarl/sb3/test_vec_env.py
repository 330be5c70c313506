"""SB3's VecEnv over the batch of worlds, against a plain loop of single environments."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Generator

pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor
from support.tiny import tiny_policy

from metarl.deploy import MetaPolicy
from metarl.sb3.vec_env import TaskVecEnv
from metarl_envs import InputError, MetaEnv, get_family

N, HORIZON = 4, 15


class Loop:
    """N single environments, reset one by one into the states of a VecEnv's worlds."""

    def __init__(self, env: TaskVecEnv) -> None:
        self.env = env
        self.worlds = [MetaEnv(env.family) for _ in range(env.num_envs)]
        self.steps = np.zeros(env.num_envs, dtype=int)
        for world in range(env.num_envs):
            self.start(world)

    def start(self, world: int) -> np.ndarray:
        """The state that the VecEnv drew, in the task that it drew."""
        single, batch = self.worlds[world], self.env._env
        single.reset(options={"task": batch.tasks[world].describe(0)})
        rows = (batch.engine.data[name][world : world + 1].clone() for name in ("qpos", "qvel"))
        single._batch.engine.reset(None, *rows)
        self.steps[world] = 0
        return single._batch.observation()[0].numpy().astype(np.float32)

    def step(self, world: int, action: np.ndarray):
        self.steps[world] += 1
        observation, reward, terminated, _, info = self.worlds[world].step(action)
        truncated = self.steps[world] >= HORIZON
        return observation.astype(np.float32), np.float32(reward), terminated, truncated, info


@pytest.mark.parametrize(
    ("name", "observes_task"),
    [
        ("hopper-dynamics", False),  # terminates, so worlds are reset one by one; physics varies
        ("hopper-dynamics", True),
        ("half-cheetah-velocity", True),
        ("navigation", False),
    ],
)
@pytest.mark.parametrize("fixed", [False, True])
def test_equals_a_loop_of_single_environments_bit_by_bit(name, observes_task, fixed):
    family = dataclasses.replace(get_family(name), observes_task=observes_task)
    tasks = family.sample_tasks(N, Generator().manual_seed(4), "train") if fixed else None
    env = TaskVecEnv(family, N, tasks=tasks, horizon=HORIZON, seed=1)
    observations = env.reset()
    loop, rng, ends = Loop(env), np.random.default_rng(0), 0
    for world in range(N):
        np.testing.assert_array_equal(observations[world], loop.start(world))
    for _ in range(3 * HORIZON):
        actions = rng.uniform(
            env.action_space.low, env.action_space.high, (N, *env.action_space.shape)
        )
        task_before = [env.tasks.describe(world) for world in range(N)]
        observations, rewards, ended, infos = env.step(actions)
        for world in range(N):
            expected, reward, terminated, truncated, _ = loop.step(world, actions[world])
            assert rewards[world] == reward
            assert ended[world] == (terminated or truncated)
            if not ended[world]:
                assert infos[world] == {}
            else:
                ends += 1
                np.testing.assert_array_equal(infos[world]["terminal_observation"], expected)
                assert infos[world]["TimeLimit.truncated"] == (truncated and not terminated)
                assert infos[world]["task"] == task_before[world]
                assert not infos[world]["fault"]
                assert (env.tasks.describe(world) == task_before[world]) == fixed
                expected = loop.start(world)
            np.testing.assert_array_equal(observations[world], expected)
    assert ends >= 3 * N


def test_a_diverged_world_counts_as_truncated_with_its_last_soundobservation():
    env = TaskVecEnv(get_family("half-cheetah-velocity"), 3, horizon=HORIZON)
    env.reset()
    still = np.zeros((3, 6))
    before, *_ = env.step(still)
    env._env.engine.data["qvel"][1] = torch.nan
    observations, rewards, ended, infos = env.step(still)
    assert ended.tolist() == [False, True, False]
    assert infos[1]["fault"] and infos[1]["TimeLimit.truncated"]
    np.testing.assert_array_equal(infos[1]["terminal_observation"], before[1])
    assert rewards[1] == 0 and np.isfinite(observations).all()
    assert env.num_faults == 1
    _, _, ended, _ = env.step(still)
    assert not ended.any()


def test_seed_fixes_tasks_and_resets():
    def first(seed: int) -> tuple:
        env = TaskVecEnv(get_family("half-cheetah-velocity"), 2, seed=seed)
        return env.reset().tolist(), env.tasks.to_json()

    assert first(3) == first(3)
    assert first(3) != first(4)
    env = TaskVecEnv(get_family("half-cheetah-velocity"), 2, seed=3)
    env.reset()
    env.seed(3)  # as SB3's algorithms do: it holds from the next reset on
    assert (env.reset().tolist(), env.tasks.to_json()) == first(3)


def test_vec_monitor_and_evaluate_policy_take_it_and_our_policies():
    saved = tiny_policy("half-cheetah-velocity", horizon=HORIZON)
    monitored = VecMonitor(TaskVecEnv(get_family("half-cheetah-velocity"), 3, horizon=HORIZON))
    returns, lengths = evaluate_policy(
        MetaPolicy(saved), monitored, n_eval_episodes=5, return_episode_rewards=True
    )
    assert lengths == [HORIZON] * 5
    assert np.isfinite(returns).all()


def test_ppo_learns_on_it_and_draws_a_task_for_every_episode():
    env = TaskVecEnv(get_family("half-cheetah-velocity"), 2, horizon=5)
    seen = set()
    model = PPO("MlpPolicy", env, n_steps=20, batch_size=20, n_epochs=1, device="cpu")

    def note(inner, _):
        seen.update(info["task"]["velocity"] for info in inner["infos"] if info)
        return True

    model.learn(40, callback=note)
    assert len(seen) == 8


def test_sizes_and_seeds_of_any_number_type_are_as_plain_ones():
    def first(*sizes, **more) -> tuple:
        env = TaskVecEnv(get_family("half-cheetah-velocity"), *sizes, **more)
        return env.num_envs, env.reset().tolist(), env.tasks.to_json()

    expected = first(2, horizon=5, seed=3)
    assert first(np.int64(2), horizon=np.float32(5), seed=np.array(3)) == expected
    assert first(torch.tensor(2), horizon=5.0, seed=np.int64(3)) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "extrapolation"}, "allowed are train, test"),
        ({"num_worlds": 0}, "num_worlds = 0"),
        ({"tasks": get_family("half-cheetah-direction").nominal_tasks(3)}, "3 tasks given"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    sizes = {"family": get_family("half-cheetah-direction"), "num_worlds": 2}
    with pytest.raises(InputError, match=message):
        TaskVecEnv(**(sizes | change))


def test_worlds_have_nothing_of_their_own_to_set_or_call():
    env = TaskVecEnv(get_family("navigation"), 2)
    with pytest.raises(NotImplementedError, match="no attributes"):
        env.set_attr("horizon", 3)
    with pytest.raises(NotImplementedError, match="no methods"):
        env.env_method("reset")
