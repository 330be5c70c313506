"""Being stopped by a limit never pays, whatever the rewards."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from support.point_robot import Robot
from support.tiny import tiny_policy

from metarl import Limits
from metarl.deploy import MetaPolicy
from metarl.deploy.collected import Collected, Exploration, with_costs
from metarl.deploy.collected import collected as gathered
from metarl.deploy.gym_rollouts import run_episode, time_limit
from metarl.deploy.limits import stop_costs
from metarl.policies.params import expand
from metarl.rollouts.advantages import policy_batch


def arrays(*episodes):
    return [np.array(rewards, dtype=float) for rewards in episodes]


@pytest.mark.parametrize(
    ("rewards", "going_on", "full", "cost"),
    [
        # Positive: a fall at step 3 returns 3, and so does a stop, but for the penalty.
        ([1, 1, 1], [], 20, -1.0),
        # Negative: the worst, for each step that is missing.
        ([-4, -1, -2], [-4] * 7, 10, 7 * -4 - 4.0),
        # Only up to the environment's own limit.
        ([-4, -1, -2], [-4] * 2, 5, 2 * -4 - 4.0),
        ([-2, -2], [], 2, -2.0),
        # Getting worse: they go on to, at the same pace. -1 - 2 - ... - 100 = -5050.
        (-np.arange(1.0, 32), -np.arange(32.0, 101), 100, 496 - 5050 - 31.0),
        # Getting worse from above 0: 3, 2, 1 and then 0, -1, -2.
        ([3, 2, 1], [0, -1, -2], 6, -3 - 3.0),
        # Of mixed sign, and of another unit.
        ([-2000, 5000, 4000], [-2000] * 2, 5, 2 * -2000 - 5000.0),
        # Without any reward: 1 instead of their unit.
        ([0, 0], [0] * 8, 10, -1.0),
    ],
)
def test_a_stop_costs_what_could_have_come_and_a_penalty(rewards, going_on, full, cost):
    rewards = np.array(rewards, dtype=float)
    (found,) = stop_costs([rewards], [True], full, penalty=1.0)
    assert found == pytest.approx(cost)
    assert found < sum(going_on)


def test_the_worst_reward_is_that_of_any_episode():
    short, long, broken = arrays([-1, -1], [-1, -1, -9, 3], [])
    costs = stop_costs([short, long, broken], [True, False, False], 4, penalty=0.5)
    np.testing.assert_allclose(costs, [2 * -9 - 0.5 * 9, 0, 0])
    assert stop_costs([short, long], [False, False], 4, penalty=0.5).tolist() == [0, 0]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_no_stopped_episode_returns_as_much_as_going_on_would(scale):
    """Random rewards of any sign, trend and length; going on is cut anywhere by the environment."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        full, offset = int(rng.integers(2, 40)), rng.choice([-5.0, 0.0, 5.0])
        episodes = [
            scale * (offset + rng.normal(0, 0.2) * np.arange(n) + rng.normal(size=n))
            for n in rng.integers(1, full + 1, size=4)
        ]
        stopped = [True, *(rng.random(3) < 0.5)]
        costs = stop_costs(episodes, stopped, full, penalty=1.0)
        worst = min(rewards.min() for rewards in episodes)
        assert costs[0] < 0
        for _ in range(5):
            missing = int(rng.integers(0, full - len(episodes[0]) + 1))
            going_on = worst + scale * rng.exponential(size=missing) * (rng.random() < 0.7)
            assert costs[0] < going_on.sum()


def test_of_two_stopped_episodes_with_equal_returns_the_longer_is_the_better():
    rng = np.random.default_rng(1)
    for _ in range(200):
        short, long = rng.normal(size=5), rng.normal(size=9)
        long += (short.sum() - long.sum()) / 9
        costs = stop_costs([short, long], [True, True], 30, penalty=1.0)
        assert costs[0] <= costs[1]


class Paying(Robot):
    """Pays what it is told, each episode from another list; may say that it is over."""

    def __init__(self, *episodes, terminates_at=10**9):
        super().__init__()
        self.episodes, self.terminates_at = episodes, terminates_at

    def step(self, action):
        observation, _, _, truncated, info = super().step(action)
        rewards, t = self.episodes[(self.resets - 1) % len(self.episodes)], self.lengths[-1]
        return observation, float(rewards[t - 1]), t >= self.terminates_at, truncated, info


def collected(env, limits, episodes, horizon):
    policy = tiny_policy("navigation", horizon=horizon)
    params, noise = expand(policy.params, 1), torch.Generator().manual_seed(0)
    exploration = Exploration(policy.policy, params, episodes, horizon, noise)
    met = []
    for e in range(episodes):
        exploration.start(e)
        met.append(run_episode(env, exploration, horizon, limits, 0 if e == 0 else None))
    return gathered(policy.policy, params, met, horizon)


class Steady:
    """The same action every time."""

    def __init__(self, action):
        self.action = np.full(2, action, dtype=np.float32)

    def act(self, observation):
        return self.action

    def observe(self, reward, observation, terminated, truncated):
        pass

    def outputs(self, steps):
        return None


still = Steady(0.0)


def test_a_stopped_episode_keeps_what_it_earned():
    env, limits = Paying([-1.0, -4.0, -2.0, 5.0]), Limits(min_return=-4.5)
    stopped = run_episode(env, still, horizon=4, limits=limits)
    assert stopped.stopped == "min_return"
    assert stopped.rewards.tolist() == [-1.0, -4.0]
    free = run_episode(env, still, horizon=4, limits=Limits(min_return=-7.0))
    assert not free.stopped
    assert free.rewards.tolist() == [-1.0, -4.0, -2.0, 5.0]


def test_at_the_last_step_a_limit_counts_and_a_termination_comes_first():
    limits = Limits(unsafe=lambda o: bool(np.any(np.abs(o) > 0.05)))  # once it has moved
    pushing = Steady(0.1)
    for horizon, env in ((1, Paying([1.0])), (5, TimeLimit(Paying([1.0] * 5), 1))):
        assert run_episode(env, pushing, horizon, limits).stopped == "unsafe"
    terminated = run_episode(Paying([1.0], terminates_at=1), pushing, 5, limits)
    assert terminated.terminated
    assert not terminated.stopped


@pytest.mark.parametrize(
    ("env", "steps"),
    [
        (Robot(), 100),
        (TimeLimit(Robot(), 50), 50),
        (gymnasium.wrappers.RecordEpisodeStatistics(TimeLimit(Robot(), 50)), 50),
        (TimeLimit(Robot(), 500), 100),
        (gymnasium.make("metarl_envs:MetaRL/Navigation-v0", max_episode_steps=7), 7),
    ],
)
def test_the_environment_s_own_limit_is_found(env, steps):
    assert time_limit(env, 100) == steps


class Bare(gymnasium.Env):
    """Without a spec, so that a wrapper has none either."""


def test_a_time_limit_without_a_spec_is_found():
    assert TimeLimit(Bare(), 30).spec is None
    assert time_limit(TimeLimit(Bare(), 30), 100) == 30


def test_a_later_collection_with_a_worse_reward_makes_earlier_stops_dearer():
    limits = Limits(min_return=-4.5)
    first = collected(Paying([-1.0, -4.0, -1.0, -1.0]), limits, 1, 4)
    later = collected(Paying([-4.0, 20.0, -9.0, 1.0]), limits, 1, 4)
    alone = with_costs([first], 4, limits)[0]
    # One step of two became worse by 3; the missing two are -7 and -10. Penalty 4.
    assert float(alone.task_returns()) == pytest.approx(-5 - 7 - 10 - 4)
    both = with_costs([first, later], 4, limits)
    assert [float(one.task_returns()) for one in both] == pytest.approx(
        [-5 - (9 + 3) - (9 + 6) - 20, 8.0]
    )
    assert float(first.rollouts.task_returns()) == -5  # as earned


@pytest.mark.parametrize(
    ("rewards", "limit"),
    [
        ([1.0] * 20, {"unsafe": True}),
        ([-1.0] * 20, {"min_return": -4.5}),
        ([-1.0 - t for t in range(20)], {"min_return": -11.0}),
        ([3.0, -2.0] * 10, {"unsafe": True}),
    ],
)
def test_the_step_sees_that_actions_before_a_stop_were_worse(rewards, limit):
    """Advantages, after the baseline and normalisation, with the stop's cost and without."""
    calls = []

    def unsafe(observation):  # of four episodes the second, at its fifth step
        calls.append(observation)
        return len(calls) == 21 + 6

    if "unsafe" in limit:
        limits = Limits(unsafe=unsafe)
        met = collected(Paying(rewards), limits, 4, 20)
    else:
        limits = Limits(**limit)
        kind = [[0.0] * 20, rewards, [0.0] * 20, [0.0] * 20]
        met = collected(Paying(*kind), limits, 4, 20)
    assert met.stopped == (False, True, False, False)
    with_cost = advantages(with_costs([met], 20, limits)[0])
    without = advantages(met.rollouts)
    assert with_cost[1] < 0
    assert with_cost[1] < min(with_cost[i] for i in (0, 2, 3))
    assert with_cost[1] <= without[1] + 1e-6


def advantages(rollouts):
    """Weighted sum of each episode's normalised advantages."""
    batch = policy_batch(rollouts, 0.99, 0.97)
    return (batch.advantages * batch.weights)[0].sum(1).tolist()


@pytest.mark.parametrize("reward", [1.0, -1.0])
def test_adaptation_learns_to_stay_where_it_is_not_stopped(reward):
    """To the right of 0.05 m it is stopped; the reward is the same everywhere."""
    policy = MetaPolicy(tiny_policy("navigation", horizon=10))

    def beyond(observation):
        return observation[0] > 0.05

    robot = Paying([reward] * 10)
    adapted = policy.adapt(robot, episodes=20, limits=Limits(unsafe=beyond))
    (before,) = adapted.adapted["collections"]
    assert 0 < before["stopped"] < 20
    moved = [p.predict(np.zeros(2))[0][0] for p in (policy, adapted)]
    assert moved[1] < moved[0] - 1e-4


def test_the_report_says_what_was_earned_survived_and_stopped():
    policy = MetaPolicy(tiny_policy("navigation", horizon=4))
    robot = Paying([-1.0, -4.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0])
    adapted = policy.adapt(robot, episodes=2, limits=Limits(min_return=-4.5)).adapted
    assert adapted["collections"] == [
        {"episodes": 2, "return": -3.0, "steps": 3.0, "stopped": 1, "diverged": 0}
    ]
    assert adapted["returns"] == [-3.0]


def test_a_good_return_is_not_one_with_stops():
    policy = MetaPolicy(tiny_policy("navigation", horizon=4))
    robot = Paying([10.0, -1.0, 0.0, 0.0])
    for limits, reached in (
        (Limits(good_return=9.0), True),
        (Limits(good_return=8.0, unsafe=unsafe_at_two()), False),
    ):
        adapted = policy.adapt(robot, episodes=2, limits=limits)
        assert adapted.adapted["limits"]["reached_good_return"] is reached


def unsafe_at_two():
    calls = []

    def unsafe(observation):
        calls.append(observation)
        return len(calls) % 3 == 0

    return unsafe


def test_an_empty_collection_is_described():
    none = Collected(collected(Robot(), Limits(), 1, 3).rollouts.some_episodes(slice(0)), ())
    assert none.usable == 0
    assert none.earned() == []
    assert none.describe()["episodes"] == 0
