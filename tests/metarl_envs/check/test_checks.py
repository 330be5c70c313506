"""The checks of a family: each accepts a valid one and finds its own kind of fault."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.own_robot import SOURCE

from metarl_envs import (
    FAMILIES,
    ModelEffect,
    Parameter,
    TaskFamily,
    family_from_gym,
    get_family,
    gym_robot,
    mujoco_robot,
    vary,
)
from metarl_envs.check import checks
from metarl_envs.check.checks import MANY_WORLDS, check, speed
from metarl_envs.check.contact_sheet import HEIGHT, TITLE, WIDTH, contact_sheet
from metarl_envs.check.extremes import extremes
from metarl_envs.check.finding import Finding
from metarl_envs.distributions import Choice, interval

ARM = mujoco_robot(SOURCE / "arm.xml", frame_skip=10, outputs=["site_xpos"])


def reward(transition):
    return -transition.after["site_xpos"][:, 0, 2] - 0.01 * transition.action.square().sum(dim=1)


def family(*parameters: Parameter, **changes) -> TaskFamily:
    given = {"parameters": parameters or (vary.mass(ARM, "hand", (0.5, 2.0)),), "reward": reward}
    return TaskFamily(name="arm", robot=ARM, horizon=40, **(given | changes))


def failed(checked: TaskFamily) -> list[Finding]:
    return [finding for finding in check(checked) if not finding.ok and "speed" not in finding.name]


def test_every_kind_of_parameter_passes():
    every = family(
        vary.mass(ARM, "hand", (0.5, 2.0)),
        vary.mass(ARM, "*arm", (0.0, 0.5), how="add", each=True),
        vary.centre_of_mass(ARM, "hand", (-0.05, 0.05)),
        vary.damping(ARM, "*", (0.5, 3.0)),
        vary.armature(ARM, "*", (0.5, 3.0)),
        vary.friction_loss(ARM, "*", (0.0, 0.5), how="set"),
        vary.joint_range(ARM, "*", (0.1, 1.0)),
        vary.gravity(ARM, (0.5, 1.5)),
        vary.gear(ARM, "*", (0.5, 1.0)),
        vary.gain(ARM, "*", (0.5, 1.0)),
        vary.force_limit(ARM, "*", (0.3, 1.0)),
        vary.dead_actuator(ARM, "*"),
        vary.reversed_actuator(ARM, "*"),
        vary.action_delay(2),
        vary.observation_noise(ARM, (0.0, 0.1)),
        vary.observation_bias(ARM, (-0.1, 0.1)),
    )
    assert failed(every) == []


@pytest.mark.parametrize("name", ["navigation"])
def test_shipped_families_pass(name):
    assert failed(get_family(name)) == []


def slim(fields, value):
    inertia = fields["body_inertia"].clone()
    inertia[:, 2, 0] = inertia[:, 2, 0] * value
    return {"body_inertia": inertia}


def scaled_limit(fields, value):
    return {"actuator_forcerange": fields["actuator_forcerange"] * value[:, None, None]}


def shifted(fields, value):
    return {"dof_damping": fields["dof_damping"] + 0.1 + value.unsqueeze(1)}


CALLS = [0]


def forgetful(transition):
    CALLS[0] += 1
    return reward(transition) + 1e-3 * CALLS[0]


def effect(name: str, low: float, high: float, field: str, change) -> Parameter:
    return Parameter(name, "1", "", 1.0, interval(low, high), effect=ModelEffect((field,), change))


@pytest.mark.parametrize(
    ("broken", "name", "fix"),
    [
        (family(reward=forgetful), "determinism", "must not remember"),
        (family(reward=lambda t: reward(t) - reward(t).mean()), "independence", "row by row"),
        (family(vary.goal("height", (0.0, 1.0), 0.5)), "height", "transition.task['height']"),
        (family(vary.friction(ARM, "floor", (0.5, 2.0))), "floor_friction", "touch"),
        (family(effect("slim", 0.1, 9.0, "body_inertia", slim)), "physics", "A + B >= C"),
        (family(effect("loss", 0.5, 1.0, "dof_damping", shifted)), "loss", "nominal value"),
        (
            family(vary.damping(ARM, "elbow", (-2.0, 1.0), how="set")),
            "physics",
            "dof_damping is negative",
        ),
        (
            family(effect("limit", -0.5, 1.0, "actuator_forcerange", scaled_limit)),
            "physics",
            "actuator_forcerange is empty",
        ),
        (
            family(reward=lambda t: 1 / (t.after["qvel"][:, 0].abs() > 2).double()),
            "episodes",
            "dividing by 0",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_fault_is_found_and_the_fix_named(broken, name, fix):
    found = [finding for finding in failed(broken) if finding.name.startswith(name)]
    assert len(found) == 1
    assert fix in found[0].text
    assert str(found[0]).startswith("FAILED  ")
    assert "\n" not in str(found[0])


def test_an_attribute_that_the_environment_s_own_reward_reads_is_a_change():
    robot = gym_robot("support.somebody:Somebody/Point-v0")
    mark = vary.attribute(robot, "mark", (-1.0, 1.0), how="set")
    unread = vary.attribute(robot, "mass", (0.5, 2.0))
    found = list(check(family_from_gym(robot, [mark, unread])))
    texts = {finding.name.partition(" ")[0]: finding.text for finding in found if finding.ok}
    assert texts["mark"].startswith("changes the reward by up to ")
    assert texts["mass"].startswith("changes the motion by up to ")


def found_of(checked: TaskFamily, name: str) -> Finding:
    (found,) = [finding for finding in check(checked) if finding.name.startswith(name)]
    return found


def barely(fields, value):
    return {"dof_damping": fields["dof_damping"] * (1 + 1e-15 * (value.unsqueeze(1) - 1))}


def test_rounding_is_no_effect():
    found = found_of(family(effect("tiny", 0.5, 2.0, "dof_damping", barely)), "tiny")
    assert found.verdict == "FAILED"
    assert "changes nothing within 40 steps" in found.text


def test_what_is_not_a_number_is_no_change_and_is_reported():
    wild = family(vary.damping(ARM, "elbow", (-2.0, 1.0), how="set"))
    found = found_of(wild, "elbow_damping")
    assert found.verdict == "FAILED"
    assert "simulation diverges (NaN) at step" in found.text
    assert "in the task elbow_damping=-1.9" in found.text
    rooted = family(
        vary.goal("height", (0.0, 1.0), 0.5),
        reward=lambda t: reward(t) + (t.task["height"] - 0.2).sqrt(),
    )
    found = found_of(rooted, "height")
    assert found.verdict == "FAILED"
    assert "reward or observation is not finite" in found.text


def test_an_effect_that_nobody_observes_is_a_note_and_no_failure():
    blind = dataclasses.replace(ARM, observation=lambda s: s["time"][:, None], observation_size=1)
    found = found_of(dataclasses.replace(family(), robot=blind), "hand_mass")
    assert found.verdict == "note"
    assert found.ok
    assert "nothing that is observed" in found.text
    assert str(found).startswith("note    hand_mass in [0.5, 2]: changes the motion by up to")


def test_extremes_are_both_ends_of_each_number():
    wide = family(
        vary.mass(ARM, "*arm", (0.5, 2.0), each=True), vary.dead_actuator(ARM, "*", train=[0, 1])
    )
    found = extremes(wide)
    assert [extreme.label for extreme in found] == ["arm_mass[0]", "arm_mass[1]", "dead_actuator"]
    low, high = found[1].low.values["arm_mass"][0], found[1].high.values["arm_mass"][0]
    assert low[0] == high[0] == 1.0
    assert 0.5 <= low[1] < 0.6
    assert 1.9 < high[1] <= 2.0
    assert (found[2].value(found[2].low), found[2].value(found[2].high)) == (0.0, 1.0)


def test_extremes_of_points_are_allowed_points():
    for name in FAMILIES:
        for extreme in extremes(get_family(name)):
            get_family(name).check_tasks(extreme.low)
            get_family(name).check_tasks(extreme.high)


def test_a_loop_over_worlds_is_too_slow():
    def one_by_one(transition):
        worlds = range(len(transition.action))
        return torch.stack([reward(transition)[world] * torch.ones(()) for world in worlds])

    light = mujoco_robot(SOURCE / "arm.xml", frame_skip=1, outputs=["site_xpos"])
    # The loop takes about as long as ten steps of physics: with one, it is most of the time.
    found = speed(dataclasses.replace(family(reward=one_by_one), robot=light))
    assert not found.ok
    assert "without a loop over worlds" in found.text
    assert speed(family()).ok


@pytest.mark.parametrize(("share", "verdict"), [(0.1, "ok"), (0.6, "FAILED")])
def test_functions_that_seem_slow_with_few_worlds_are_judged_with_many(monkeypatch, share, verdict):
    def timed(_, worlds):
        whole = 0.2 if worlds == MANY_WORLDS else 0.012
        return whole * (1 - share if worlds == MANY_WORLDS else 0.48), whole

    monkeypatch.setattr(checks, "_timed", timed)
    found = speed(family())
    assert found.verdict == verdict
    assert f"12,800 steps/s on one core, {share:.0%} of it" in found.text


@pytest.mark.render
def test_the_contact_sheet_shows_lowest_nominal_and_highest_side_by_side():
    sheet = contact_sheet(family(vary.mass(ARM, "hand", (0.1, 6.0)), vary.gravity(ARM, (0.5, 1.5))))
    assert sheet.size == (3 * WIDTH, 2 * (HEIGHT + TITLE))
    pixels = torch.tensor(list(sheet.crop((0, TITLE, 3 * WIDTH, TITLE + HEIGHT)).tobytes()))
    low, nominal, high = pixels.view(HEIGHT, 3, WIDTH, 3).float().unbind(dim=1)
    # Each picture shows an arm before a floor, and the arms hang differently.
    assert min(float(picture.std()) for picture in (low, nominal, high)) > 10
    assert float((nominal - high).abs().mean()) > 0.3
    assert float((low - high).abs().mean()) > 0.3


@pytest.mark.render
def test_a_goal_that_is_no_point_in_the_plane_can_be_drawn():
    goal = Parameter("goal", "m", "", 0.5, Choice((0.2, 0.8)))
    contact_sheet(dataclasses.replace(family(goal), reward=reward))
