"""Limits of an adaptation on a robot: each is off by default, holds when on, and is reported."""

import math

import numpy as np
import pytest
import torch
from point_robot import Robot
from tiny import tiny_policy

import metarl
from metarl import Limits
from metarl.deploy import MetaPolicy
from metarl.deploy.gym_rollouts import run_episode
from metarl.deploy.limits import is_worse
from metarl.errors import RunError
from metarl.params import expand
from metarl.rollouts import collect
from metarl_envs import BatchEnv, InputError, get_family

FLAT = {"stopped_episodes": 0, "reached_good_return": False, "step_scale": [1.0], "steps_taken": 1}


@pytest.fixture
def policy():
    return MetaPolicy(tiny_policy("navigation", horizon=10))


def change(adapted, policy):
    return {
        name: adapted.saved.params[name] - policy.saved.params[name] for name in policy.saved.params
    }


def test_without_limits_nothing_is_said_of_them(policy):
    assert "limits" not in policy.adapt(Robot(), episodes=2).adapted


def test_action_bounds_hold_while_adapting_and_for_good(policy, tmp_path):
    low, high = [-0.02, -0.01], [0.03, 0.05]
    free, bound = Robot(), Robot()
    policy.adapt(free, episodes=3)
    adapted = policy.adapt(bound, episodes=3, limits=Limits(action_low=low, action_high=high))
    assert np.abs(free.sent).max() > 0.06  # so the bounds have something to cut
    sent = np.array(bound.sent)
    np.testing.assert_allclose(sent.min(axis=0), low, atol=1e-7)
    np.testing.assert_allclose(sent.max(axis=0), high, atol=1e-7)
    # Both cut the same outputs as long as they are in the same place: at the start.
    np.testing.assert_allclose(np.clip(free.sent[0], low, high), bound.sent[0], atol=1e-7)
    loaded = metarl.load(adapted.save(tmp_path / "adapted"))
    observations = np.random.default_rng(0).normal(scale=5, size=(400, 2))
    for acting in (adapted, loaded):
        actions, _ = acting.predict(observations, deterministic=False)
        np.testing.assert_allclose(actions.min(axis=0), low, atol=1e-7)
        np.testing.assert_allclose(actions.max(axis=0), high, atol=1e-7)
    assert loaded.adapted["limits"]["given"] == {"action_low": low, "action_high": high}


def test_action_bounds_hold_in_simulation_too(policy):
    adapted = policy.adapt(Robot(), episodes=2, limits=Limits(action_high=-0.05))
    env = BatchEnv(get_family("navigation"), 1, 3, horizon=10)
    streams = (torch.Generator().manual_seed(i) for i in range(2))
    saved = adapted.saved
    rollouts = collect(env, saved.policy, expand(saved.params, 1), *streams)
    moved = rollouts.final_observations - rollouts.observations[:, :, 0]
    torch.testing.assert_close(moved.amax(), torch.tensor(-0.5), atol=0.2, rtol=0)
    assert float(moved.max()) <= -0.5 + 1e-6  # ten steps of at most -0.05 m


def test_later_bounds_only_narrow_earlier_ones(policy):
    once = policy.adapt(Robot(), episodes=2, limits=Limits(action_low=-0.05, action_high=0.05))
    robot = Robot()
    once.adapt(robot, episodes=3, limits=Limits(action_low=-0.1, action_high=0.02))
    assert np.array(robot.sent).min() == pytest.approx(-0.05)
    assert np.array(robot.sent).max() == pytest.approx(0.02)


def test_a_policy_folder_with_impossible_bounds_is_refused(policy, tmp_path):
    from tiny_runs import edit_json

    folder = policy.adapt(Robot(), episodes=2, limits=Limits(action_high=0.05)).save(tmp_path / "p")
    spaces = {"observation_size": 2, "action_low": [-0.1] * 2, "action_high": [0.1] * 2}
    for limits in ([[0.1, 0.1], [0.0, 0.0]], [[0.0], [0.1]], [[0.0, 0.0]], "low"):
        edit_json(folder / "config.json", spaces=spaces | {"control_limits": limits})
        with pytest.raises(RunError, match=r"spaces = .* is not readable"):
            metarl.load(folder)


def test_an_unsafe_episode_stops_at_once_and_counts_as_its_worst_step(policy):
    robot, seen = Robot(), []

    def unsafe(observation):
        seen.append(observation)
        return len(seen) % 4 == 0  # before the first step, then after each: at the third

    adapted = policy.adapt(robot, episodes=3, limits=Limits(unsafe=unsafe))
    assert robot.lengths == [3, 3, 3]
    assert adapted.adapted["limits"] == FLAT | {
        "stopped_episodes": 3,
        "given": {"unsafe": "unsafe"},
    }
    free = policy.adapt(Robot(), episodes=3).adapted["returns"][0]
    # Rewards are minus a distance of about 0.5 m to the nominal goal, on which 10 steps do little.
    assert adapted.adapted["returns"][0] == pytest.approx(free, abs=1.5)


def test_a_stopped_episode_is_never_better_than_its_worst_reward_to_the_end():
    class Rewards(Robot):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, [-1.0, -4.0, -2.0, 5.0][self.lengths[-1] - 1], *rest

    def still(t, observation):
        return np.zeros(2, dtype=np.float32)

    stopped = run_episode(Rewards(), still, horizon=4, limits=Limits(min_return=-4.5))
    assert stopped.stopped
    assert stopped.rewards == [-1.0, -4.0 - 2 * 4.0]
    free = run_episode(Rewards(), still, horizon=4, limits=Limits(min_return=-7.0))
    assert not free.stopped
    assert free.rewards == [-1.0, -4.0, -2.0, 5.0]


def test_a_robot_that_is_unsafe_before_it_moves_is_not_moved(policy):
    robot = Robot()
    with pytest.raises(InputError, match="unsafe before its first step; bring it to a safe start"):
        policy.adapt(robot, limits=Limits(unsafe=lambda observation: True))
    assert robot.sent == []


def test_a_return_that_is_good_enough_ends_the_adaptation(policy):
    robot = Robot()
    adapted = policy.adapt(robot, episodes=2, steps=3, limits=Limits(good_return=-1000.0))
    assert robot.resets == 2
    assert all(float(value.abs().max()) == 0 for value in change(adapted, policy).values())
    assert adapted.adapted["limits"] == FLAT | {
        "given": {"good_return": -1000.0},
        "reached_good_return": True,
        "steps_taken": 0,
        "step_scale": [],
    }
    robot = Robot()
    adapted = policy.adapt(robot, episodes=2, steps=3, limits=Limits(good_return=0.0))
    assert robot.resets == 6
    assert adapted.adapted["limits"]["given"] == {"good_return": 0.0}
    assert adapted.adapted["limits"]["steps_taken"] == 3


def test_a_step_is_scaled_down_to_its_limit_on_a_straight_line(policy):
    free = policy.adapt(Robot(), episodes=3)
    (size,) = free.adapted["step_kl"]
    most = size / 10
    adapted = policy.adapt(Robot(), episodes=3, limits=Limits(max_step_kl=most))
    (kl,), (scale,) = adapted.adapted["step_kl"], adapted.adapted["limits"]["step_scale"]
    assert kl <= most
    assert kl == pytest.approx(most, rel=1e-3)
    assert 0 < scale < 0.5
    whole, part = change(free, policy), change(adapted, policy)
    for name in whole:
        torch.testing.assert_close(part[name], scale * whole[name], rtol=1e-3, atol=1e-7)
    loose = policy.adapt(Robot(), episodes=3, limits=Limits(max_step_kl=2 * size))
    assert loose.adapted["limits"]["step_scale"] == [1.0]
    assert all(torch.equal(loose.saved.params[name], free.saved.params[name]) for name in whole)


def test_an_adaptation_that_made_it_worse_is_taken_back(policy):
    robot = Robot(worse_from=4, penalty=5.0)  # breaks when the adapted policy takes over
    adapted = policy.adapt(robot, episodes=4, limits=Limits(check_episodes=2))
    assert robot.resets == 6
    check = adapted.adapted["limits"]["check"]
    assert check["rolled_back"]
    assert check["after"] < check["before"] - check["two_standard_errors"]
    assert adapted.adapted["returns"] == [pytest.approx(check["before"])]
    assert all(float(value.abs().max()) == 0 for value in change(adapted, policy).values())


def test_an_adaptation_that_did_no_harm_is_kept(policy):
    adapted = policy.adapt(Robot(), episodes=4, limits=Limits(check_episodes=2))
    assert not adapted.adapted["limits"]["check"]["rolled_back"]
    assert max(float(value.abs().max()) for value in change(adapted, policy).values()) > 1e-3


def test_worse_means_by_more_than_the_noise():
    before = torch.tensor([10.0, 12.0, 8.0, 10.0])
    # Sum of squares 8 + 2 over 4 degrees of freedom; 2 sqrt(2.5 (1/4 + 1/2)).
    worse, margin = is_worse(before, torch.tensor([5.0, 7.0]))
    assert worse
    assert margin == pytest.approx(2 * math.sqrt(2.5 * 0.75))
    assert not is_worse(before, torch.tensor([7.0, 9.0]))[0]
    assert not is_worse(before, torch.tensor([100.0, 90.0]))[0]
    assert is_worse(before, torch.tensor([]))[0]
    assert is_worse(before[:1], torch.tensor([1.0, 1.5]))[0]
    assert not is_worse(before[:1], torch.tensor([1.0]))[0]  # nothing is known of the noise


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"action_low": -0.2}, r"action_low\[0\] = -0.2: must be within the action space, -0.1 to"),
        ({"action_high": [0.1, np.nan]}, r"action_high\[1\] = nan: must be within"),
        ({"action_low": [0.0] * 3}, r"action_low of shape \(3,\): must be one number, or 2"),
        ({"action_low": 0.05, "action_high": 0.0}, r"\[0\] = 0.05: must be at most action_high"),
        ({"min_return": math.inf}, "min_return = inf: must be a finite number"),
        ({"good_return": math.nan}, "good_return = nan: must be a finite number"),
        ({"max_step_kl": 0.0}, "max_step_kl = 0.0: must be greater than 0"),
        ({"check_episodes": 1}, r"check_episodes = 1: must be 0 \(no check\) or at least 2"),
        ({"unsafe": 3}, "unsafe = 3: must be a function"),
    ],
)
def test_limits_out_of_range_are_refused_in_one_line(policy, wrong, line):
    robot = Robot()
    with pytest.raises(InputError, match=line) as error:
        policy.adapt(robot, limits=Limits(**wrong))
    assert "\n" not in str(error.value)
    assert robot.resets == 0


def test_no_action_follows_from_a_start_that_is_not_finite(policy):
    from metarl.errors import NonFiniteUpdateError

    robot = Robot(poisoned=("start",))
    with pytest.raises(NonFiniteUpdateError, match="sent a number that is not finite"):
        policy.adapt(robot, episodes=2)
    assert robot.sent == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_prediction_refuses_what_is_not_finite(policy, bad):
    for observation in ([0.0, bad], [[0.0, 0.0], [0.0, bad]]):
        with pytest.raises(InputError, match=rf"observation\[1\] = {bad}: must be finite"):
            policy.predict(observation)
