"""Observations, rewards and ends of episodes: what gives a policy nothing to learn from."""

from __future__ import annotations

import pytest
import torch
from support.small_models import box, family_of, minus_distance, robot_of

from metarl_envs import FAMILIES, get_family
from metarl_envs.check.episodes import episodes, observations, rewards
from metarl_envs.check.motion import trials


@pytest.mark.parametrize("name", FAMILIES)
def test_shipped_families_raise_no_question(name):
    tried = trials(get_family(name))
    found = [*observations(tried), rewards(tried), episodes(get_family(name), tried)]
    assert [str(finding) for finding in found if finding.verdict != "ok"] == []


def one(transition):
    return torch.ones(len(transition.action), dtype=torch.float64)


@pytest.mark.parametrize(
    ("reward", "verdict", "named"),
    [
        (one, "FAILED", "1 in all 40 steps of 4 tasks under 6 action sequences"),
        (lambda t: 5 + 1e-13 * minus_distance(t), "FAILED", "5 in all 40 steps"),
        (lambda t: -t.after["time"], "FAILED", "the same whatever the robot does"),
        (lambda t: t.task["mass"] * 2, "FAILED", "the same whatever the robot does"),
        (lambda t: -t.action.square().sum(dim=1), "note", "depends on the action alone"),
        (minus_distance, "ok", "depends on the actions"),
    ],
    ids=["constant", "rounding", "time", "task", "effort", "sound"],
)
def test_rewards_have_to_depend_on_what_the_robot_does(tmp_path, reward, verdict, named):
    found = rewards(trials(family_of(robot_of(tmp_path, box(gear=50)), reward=reward)))
    assert found.verdict == verdict
    assert named in found.text


def test_a_constant_reward_counts_steps_where_actions_end_episodes(tmp_path):
    robot = robot_of(tmp_path, box(gear=50))
    falls = family_of(robot, reward=one, terminated=lambda t: t.after["qpos"][:, 0] > 0.1)
    found = rewards(trials(falls))
    assert found.verdict == "ok"
    assert "counts the steps until the end" in found.text


def test_entries_that_never_change_and_copies_are_named(tmp_path):
    def observation(state):
        still = torch.full_like(state["qpos"][:, :1], 0.25)
        return torch.cat([state["qpos"], still, state["qvel"], state["qpos"][:, :1]], dim=1)

    family = family_of(robot_of(tmp_path, box(), observation=observation))
    constant, copy = observations(trials(family))
    assert constant.verdict == copy.verdict == "note"
    assert "observation[2] = 0.25;" in constant.text
    assert "observation[5] is observation[0];" in copy.text
    blind = family_of(robot_of(tmp_path, box(), observation=lambda s: s["qpos"] * 0))
    (found,) = observations(trials(blind))
    assert found.verdict == "FAILED"


def ended(tmp_path, rule, horizon=100):
    family = family_of(robot_of(tmp_path, box()), terminated=rule, horizon=horizon)
    return episodes(family, trials(family))


def test_episodes_that_end_at_once_fail_and_short_ones_are_asked_about(tmp_path):
    found = ended(tmp_path, lambda t: t.after["qpos"][:, 0] < 0.5)
    assert found.verdict == "FAILED"
    assert "100% of 71 end within 2 steps of 100" in found.text
    assert "the family's terminated= holds where the robot starts" in found.text
    found = ended(tmp_path, lambda t: t.after["time"] > 0.035)
    assert found.verdict == "note"
    assert "all of 71 end within 4 steps of 100" in found.text
    assert ended(tmp_path, lambda t: t.after["time"] > 0.095).verdict == "ok"
    assert ended(tmp_path, lambda t: t.after["time"] > 0, horizon=1).verdict == "ok"
