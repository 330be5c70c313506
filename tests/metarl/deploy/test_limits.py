"""Limits of an adaptation on a robot: each is off by default, holds when on, and is reported."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from support.point_robot import Robot
from support.tiny import tiny_policy

import metarl
from metarl import Limits
from metarl.deploy import MetaPolicy
from metarl.deploy.gradient_step import training_step_kl
from metarl.errors import RunError
from metarl.methods.setup import inner_loop_of
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl_envs import BatchEnv, InputError, get_family

FLAT = {"reached_good_return": False, "step_scale": [1.0], "steps_taken": 1}


@pytest.fixture
def policy():
    return MetaPolicy(tiny_policy("navigation", horizon=10))


def change(adapted, policy):
    return {
        name: adapted.saved.params[name] - policy.saved.params[name] for name in policy.saved.params
    }


def did(adapted):
    """Report of the limits, without the cap on a step's size."""
    return {k: v for k, v in adapted.adapted["limits"].items() if k != "max_step_kl"}


def test_without_limits_steps_are_capped_by_those_of_training_tasks(policy):
    largest = training_step_kl(policy.saved, episodes=2, steps=1)
    adapted = policy.adapt(Robot(), episodes=2)
    assert did(adapted) == FLAT | {"given": {}}
    assert adapted.adapted["limits"]["max_step_kl"] == largest
    # One of a thousand times the rates makes steps that training did not; the cap holds there too.
    inner = replace(policy.saved.config.inner, inner_lr=policy.saved.config.inner.inner_lr * 1000)
    wild = MetaPolicy(replace(policy.saved, config=replace(policy.saved.config, inner=inner)))
    (kl,) = wild.adapt(Robot(), episodes=2, limits=Limits(max_step_kl=math.inf)).adapted["step_kl"]
    assert kl > 10 * largest
    adapted = wild.adapt(Robot(), episodes=2, limits=Limits(max_step_kl=largest))
    assert adapted.adapted["step_kl"][0] == pytest.approx(largest, rel=1e-3)


def test_the_size_of_training_steps_is_the_largest_of_their_tasks(policy):
    """By the inner loop itself, one task after the other."""
    from metarl.adaptation.inner_loop import run_inner_loop
    from metarl.policies.gaussian import kl_divergence

    saved, family = policy.saved, get_family("navigation")
    env = BatchEnv(family, 20, 3, horizon=10)
    tasks, resets, actions = (torch.Generator().manual_seed(i) for i in range(3))
    env.set_tasks(family.sample_tasks(20, tasks, "train"))
    how, start = inner_loop_of(saved.config, 1.0), expand(saved.params, 20)
    collected = partial(Collector(env, saved.policy).collect, resets=resets, actions=actions)
    inner = run_inner_loop(saved.policy, how, start, 2, collected)
    sizes = []
    for k in (0, 1):
        seen = inner.batches[k].rollouts
        old, new = (saved.policy.distribution(inner.policies[i], seen) for i in (k, k + 1))
        sizes += [float(kl.mean()) for kl in kl_divergence(old, new)]  # no episode ends early
    assert training_step_kl(saved, episodes=3, steps=2) == pytest.approx(max(sizes), rel=1e-4)


def test_without_the_family_the_cap_must_be_given(policy):
    config = replace(policy.saved.config, family="unheard-of")
    alone, robot = MetaPolicy(replace(policy.saved, config=config)), Robot()
    with pytest.raises(
        InputError, match=r"max_step_kl is not given.*give nats \(math.inf: no cap\)"
    ):
        alone.adapt(robot)
    assert robot.resets == 0
    assert alone.adapt(robot, limits=Limits(max_step_kl=1.0)).adapted["limits"]["max_step_kl"] == 1


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
    rollouts = Collector(env, saved.policy).collect(expand(saved.params, 1), *streams)
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
    from support.tiny_runs import edit_json

    folder = policy.adapt(Robot(), episodes=2, limits=Limits(action_high=0.05)).save(tmp_path / "p")
    spaces = {"observation_size": 2, "action_low": [-0.1] * 2, "action_high": [0.1] * 2}
    for limits in ([[0.1, 0.1], [0.0, 0.0]], [[0.0], [0.1]], [[0.0, 0.0]], "low"):
        edit_json(folder / "config.json", spaces=spaces | {"control_limits": limits})
        with pytest.raises(RunError, match=r"spaces = .* is not readable"):
            metarl.load(folder)


def test_an_unsafe_episode_stops_at_once(policy):
    robot, seen = Robot(), []

    def unsafe(observation):
        seen.append(observation)
        return len(seen) % 4 == 0  # before the first step, then after each: at the third

    adapted = policy.adapt(robot, episodes=3, limits=Limits(unsafe=unsafe))
    assert robot.lengths == [3, 3, 3]
    assert did(adapted) == FLAT | {"given": {"unsafe": "unsafe"}}
    assert adapted.adapted["collections"][0]["stopped"] == 3


def test_a_robot_that_is_unsafe_before_it_moves_is_not_moved(policy):
    robot = Robot()
    with pytest.raises(InputError, match=r"limits\.unsafe: .*first step.*safe start"):
        policy.adapt(robot, limits=Limits(unsafe=lambda observation: True))
    assert robot.sent == []


def test_a_return_that_is_good_enough_ends_the_adaptation(policy):
    robot = Robot()
    adapted = policy.adapt(robot, episodes=2, steps=3, limits=Limits(good_return=-1000.0))
    assert robot.resets == 2
    assert all(float(value.abs().max()) == 0 for value in change(adapted, policy).values())
    assert did(adapted) == FLAT | {
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
    free = policy.adapt(Robot(), episodes=3, limits=Limits(max_step_kl=math.inf))
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
    assert check["counted_return_after"] < check["counted_return_before"] - check["noise_margin"]
    assert check["bad_share_before"] == check["bad_share_after"] == 0
    assert adapted.adapted["returns"] == [pytest.approx(check["counted_return_before"])]
    assert all(float(value.abs().max()) == 0 for value in change(adapted, policy).values())


def test_an_adaptation_that_did_no_harm_is_kept(policy):
    adapted = policy.adapt(Robot(), episodes=4, limits=Limits(check_episodes=2))
    assert not adapted.adapted["limits"]["check"]["rolled_back"]
    assert max(float(value.abs().max()) for value in change(adapted, policy).values()) > 1e-3


class Ending(Robot):
    """Episodes that end as told: "ok", "unsafe" at the second step, or "diverged" there."""

    def __init__(self, *ends):
        super().__init__()
        self.ends = ends

    def step(self, action):
        observation, reward, *rest = super().step(action)
        if self.lengths[-1] == 2:
            end = self.ends[self.resets - 1]
            observation = observation + {"ok": 0.0, "unsafe": 1e3, "diverged": np.nan}[end]
        return observation, reward, *rest


def far(observation):
    return np.abs(observation).max() > 100


@pytest.mark.parametrize(
    ("before", "after", "shares", "rolled_back"),
    [
        # More of them than before, by their shares: the returns of what is left do not matter.
        (["ok"] * 5, ["diverged"] * 4 + ["ok"], (0, 0.8), True),
        (["ok"] * 5, ["unsafe", "ok"], (0, 0.5), True),
        (["ok"] * 3 + ["diverged"], ["ok", "ok", "diverged"], (0.25, 1 / 3), True),
        (["diverged", "unsafe", "ok"], ["diverged", "ok", "ok"], (2 / 3, 1 / 3), False),
        (["unsafe", "ok", "ok", "ok"], ["ok", "ok"], (0.25, 0), False),
        # All of them before: as many after are no reason, where they are stopped as late.
        (["unsafe"] * 3, ["unsafe"] * 2, (1, 1), False),
        (["unsafe", "diverged"], ["diverged"] * 2, (1, 1), True),  # nothing that speaks for it
    ],
)
def test_more_bad_ends_than_before_take_an_adaptation_back(
    policy, before, after, shares, rolled_back
):
    robot, limits = Ending(*before, *after), Limits(unsafe=far, check_episodes=len(after))
    adapted = policy.adapt(robot, episodes=len(before), limits=limits)
    check = adapted.adapted["limits"]["check"]
    assert (check["bad_share_before"], check["bad_share_after"]) == pytest.approx(shares)
    assert check["rolled_back"] is rolled_back
    kept = max(float(value.abs().max()) for value in change(adapted, policy).values())
    assert (kept == 0) is rolled_back


def test_a_check_needs_two_episodes_before(policy):
    robot = Robot()
    with pytest.raises(InputError, match=r"episodes = 1: must be at least 2 with limits\.check"):
        policy.adapt(robot, episodes=1, limits=Limits(check_episodes=2))
    assert robot.resets == 0


NUMBERS = {
    "action_low": [
        -0.05,
        (-0.05,) * 2,
        np.full(2, -0.05),
        np.float32(-0.05),
        torch.full((2,), -0.05),
    ],
    "min_return": [-9, np.float32(-9), torch.tensor(-9.0), np.array([-9])],
    "good_return": [1000000, np.float32(1e6), np.int64(1000000)],
    "max_step_kl": [1, np.float64(1), torch.tensor(1.0)],
    "stop_penalty": [2, np.float32(2), np.array(2)],
    "check_episodes": [2.0, np.int64(2), torch.tensor(2)],
}


@pytest.mark.parametrize(("name", "given"), [(n, v) for n, given in NUMBERS.items() for v in given])
def test_numbers_of_any_type_are_kept_as_plain_ones_and_saved(policy, tmp_path, name, given):
    limits = Limits(**{name: given})
    kept = getattr(limits, name)
    assert type(kept) in (float, int, tuple)
    np.testing.assert_allclose(kept, np.asarray(given))
    sizes = {"episodes": np.int64(2), "steps": torch.tensor(1), "seed": np.float64(3)}
    loaded = metarl.load(policy.adapt(Robot(), limits=limits, **sizes).save(tmp_path / "p"))
    expected = list(kept) if isinstance(kept, tuple) else kept
    assert loaded.adapted["limits"]["given"] == {name: expected}
    assert (loaded.adapted["episodes"], loaded.adapted["seed"]) == (2, 3)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"action_low": -0.2}, r"action_low\[0\] = -0.2: must be within the action space, -0.1 to"),
        ({"action_high": [0.1, np.nan]}, r"action_high\[1\] = nan: must be a finite number"),
        ({"action_low": np.zeros((1, 2))}, r"action_low = .*: must be numbers in a row"),
        ({"action_low": "low"}, "action_low = 'low': must be a number"),
        ({"stop_penalty": 0}, "stop_penalty = 0.*greater than 0"),
        (
            {"unsafe": lambda o: np.array([True, False])},
            "unsafe = .* one observation: must be",
        ),
        ({"check_episodes": 2.5}, "check_episodes = 2.5: must be a whole number"),
        ({"action_low": [0.0] * 3}, r"action_low of shape \(3,\): must be one number, or 2"),
        ({"action_low": 0.05, "action_high": 0.0}, r"\[0\] = 0.05: must be at most action_high"),
        ({"min_return": math.inf}, "min_return = inf: must be a finite number"),
        ({"good_return": math.nan}, "good_return = nan: must be a finite number"),
        ({"max_step_kl": 0.0}, "max_step_kl = 0.0: must be greater than 0"),
        ({"max_step_kl": np.ones(2)}, "max_step_kl = .*: must be a number, not 2 of them"),
        ({"check_episodes": 1}, r"check_episodes = 1: must be 0 \(no check\) or at least 2"),
        ({"unsafe": 3}, "unsafe = 3: must be a function"),
    ],
)
def test_limits_out_of_range_are_refused_in_one_line(policy, wrong, line):
    robot = Robot()
    with pytest.raises(InputError, match=line) as error:
        policy.adapt(robot, limits=Limits(**wrong))
    assert "\n" not in str(error.value)
    assert robot.sent == []


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
