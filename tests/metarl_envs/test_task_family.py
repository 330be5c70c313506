"""Families: splits, purity of sampling, and errors that teach."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Generator

from metarl_envs import (
    FAMILIES,
    BatchEnv,
    InputError,
    Tasks,
    family_from_gym,
    get_family,
    gym_robot,
    vary,
)
from metarl_envs.distributions import Choice, interval
from metarl_envs.parameters import ModelEffect, Parameter

ALL = list(FAMILIES.values())
ALL_IDS = list(FAMILIES)
EXPECTED = {
    "navigation", "half-cheetah-direction", "half-cheetah-velocity", "half-cheetah-dynamics",
    "half-cheetah-crippled", "half-cheetah-reversed", "half-cheetah-payload-velocity",
    "ant-direction", "ant-velocity", "ant-goal", "ant-crippled",
    "hopper-dynamics", "walker2d-dynamics",
    "puck-slide", "arm-reach", "arm-encoder", "base-reversed", "navigate-hidden",
    "quadrotor-wind", "quadruped-load",
}  # fmt: skip
every_family = pytest.mark.parametrize("family", ALL, ids=ALL_IDS)


def test_the_shipped_families():
    assert set(FAMILIES) == EXPECTED
    assert all(name == family.name for name, family in FAMILIES.items())


@every_family
def test_sampling_is_pure_and_leaves_global_generators_alone(family):
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for split in family.splits:
        draws = [family.sample_tasks(6, Generator().manual_seed(7), split) for _ in range(2)]
        assert draws[0] == draws[1]
    env = BatchEnv(family, 1, 2)
    env.reset(Generator().manual_seed(0))
    env.step(torch.zeros(2, len(env.action_low)))
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@every_family
def test_train_and_test_draws_differ_even_from_equal_generators(family):
    train, test = (
        family.sample_tasks(12, Generator().manual_seed(7), split) for split in ("train", "test")
    )
    assert train != test
    for parameter in family.parameters:
        if not isinstance(parameter.train, Choice):
            value, other = (tasks.values[parameter.name] for tasks in (train, test))
            shared = (value[:, None] == other[None]).reshape(144, -1).all(dim=1)
            assert not shared.any()


@every_family
def test_tasks_follow_the_generator_state(family):
    generator = Generator().manual_seed(7)
    first, second = (family.sample_tasks(8, generator, "train") for _ in range(2))
    assert first != second


@every_family
def test_every_split_is_allowed_and_extrapolation_lies_outside_training(family, generator):
    for split in family.splits:
        family.check_tasks(family.sample_tasks(50, generator, split))
    family.check_tasks(family.nominal_tasks(2))
    if "extrapolation" in family.splits:
        tasks = family.sample_tasks(50, generator, "extrapolation")
        for parameter in family.parameters:
            if parameter.extrapolation is not None:
                inside = parameter.train.contains(tasks.values[parameter.name]).reshape(50, -1)
                # A goal is outside as a point; of scale factors every single one is.
                inside = inside.all(dim=1) if parameter.name == "goal" else inside
                assert not inside.any(), parameter.name


@every_family
def test_documentation_is_complete(family):
    assert "reward" in family.source
    assert len(family.source) > 100
    for parameter in family.parameters:
        assert parameter.description
        assert parameter.unit
        assert "(train)" in parameter.describe_range()


@every_family
def test_spaces_do_not_depend_on_the_task(family, generator):
    env = BatchEnv(family, 3, 2)
    bounds = [bound.clone() for bound in family.action_bounds()]
    for split in family.splits:
        env.set_tasks(family.sample_tasks(3, generator, split))
        assert env.reset(generator).shape == (6, family.observation_size)
        step = env.step(torch.zeros(6, len(bounds[0])))
        assert step.observations.shape == (6, family.observation_size)
        assert torch.equal(env.action_low, bounds[0])
        assert torch.equal(env.action_high, bounds[1])


def test_direction_families_have_exactly_two_tasks(generator):
    for name in ("half-cheetah-direction", "ant-direction"):
        family = get_family(name)
        values = family.sample_tasks(40, generator, "train").values["direction"]
        assert sorted(values.tolist()) == [-1.0] * 20 + [1.0] * 20
        assert family.is_finite
        assert "extrapolation" not in family.splits


def test_crippled_families_hold_out_a_leg_or_the_thighs(generator):
    cases = {"ant-crippled": ({0, 1, 2}, {3}), "half-cheetah-crippled": ({1, 2, 4, 5}, {0, 3})}
    for name, (train, extrapolation) in cases.items():
        family = get_family(name)
        for split, expected in (("train", train), ("extrapolation", extrapolation)):
            tasks = family.sample_tasks(30, generator, split)
            assert set(next(iter(tasks.values.values())).tolist()) == expected


def refused(action, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_unknown_family_names_the_nearest():
    refused(
        lambda: get_family("half-cheeta-direction"),
        "unknown task family 'half-cheeta-direction'",
        "half-cheetah-direction",
    )
    refused(lambda: get_family("zzz"), "'zzz'", "known:", "ant-goal")


def test_unknown_parameter_names_the_nearest():
    family = get_family("half-cheetah-dynamics")
    refused(lambda: family.make_task({"mas_scale": 1.0}), "'mas_scale'", "mass_scale", family.name)
    tasks = Tasks({"mass": torch.ones(1)})
    refused(lambda: family.check_tasks(tasks), "'mass'", "mass_scale")


def test_value_out_of_range_names_value_and_range():
    family = get_family("half-cheetah-velocity")
    refused(
        lambda: family.make_task({"velocity": 9.0}),
        "velocity = 9.0", "[0, 2] (train)", "[2, 3] (extrapolation)",
    )  # fmt: skip
    refused(lambda: family.make_task({"velocity": float("nan")}), "velocity = nan", "[0, 2]")
    refused(lambda: family.make_task({"velocity": "fast"}), "velocity = 'fast'", "[0, 2]")
    refused(
        lambda: get_family("ant-crippled").make_task({"dead_leg": 4}), "dead_leg = 4.0", "{0, 1, 2}"
    )


def test_wrong_length_names_both():
    family = get_family("hopper-dynamics")
    refused(lambda: family.make_task({"mass_scale": [1, 2]}), "mass_scale", "4 numbers", "got 2")
    refused(lambda: get_family("ant-goal").make_task({"goal": [1, 2, 3]}), "goal", "2 numbers")
    tasks = Tasks({**family.nominal_tasks().values, "mass_scale": torch.ones(1, 3)})
    refused(lambda: family.check_tasks(tasks), "mass_scale", "(3,)", "(4,)")


def test_missing_parameter_is_named():
    family = get_family("half-cheetah-dynamics")
    tasks = Tasks({"mass_scale": torch.ones(1)})
    refused(lambda: family.check_tasks(tasks), "'friction_scale' is missing")


def test_missing_split_and_wrong_number_of_tasks(generator):
    family = get_family("half-cheetah-direction")
    refused(
        lambda: family.sample_tasks(1, generator, "extrapolation"),
        "split 'extrapolation'", "train, test",
    )  # fmt: skip
    refused(lambda: family.sample_tasks(0, generator, "train"), "number of tasks = 0", "at least 1")


def test_partial_task_keeps_other_parameters_nominal_and_one_number_fills_a_vector():
    family = get_family("hopper-dynamics")
    task = family.make_task({"mass_scale": 2.0, "damping_scale": [1, 0.5, 1]}).describe(0)
    assert task == {
        "mass_scale": [2.0] * 4,
        "damping_scale": [1.0, 0.5, 1.0],
        "friction_scale": [1.0] * 5,
    }
    assert family.make_task({}) == family.nominal_tasks()


def test_vector_entries_may_mix_training_extrapolation_and_nominal_values():
    family = get_family("hopper-dynamics")
    family.make_task({"mass_scale": [1.0, 2.0, 1.5**3.5, 1.5**-3.5]})
    refused(lambda: family.make_task({"mass_scale": [1, 1, 1, 100]}), "mass_scale", "100")


def test_impossible_definitions_are_refused_when_the_family_is_made():
    velocity, navigation = get_family("ant-velocity"), get_family("navigation")
    physical = get_family("half-cheetah-dynamics").parameters[:1]
    for family, change, message in (
        (velocity, {"quantity": "speed"}, "unknown quantity of ant 'speed'"),
        (velocity, {"parameters": velocity.parameters * 2}, "names must be unique"),
        (velocity, {"parameters": ()}, "at least one"),
        (velocity, {"horizon": 0}, "horizon of ant-velocity = 0: must be at least 1"),
        (velocity, {"horizon": 2**70}, f"horizon of ant-velocity = {2**70}: must be at most"),
        (velocity, {"robot": 3}, "robot = 3: must be made by mujoco_robot"),
        (velocity, {"reward": 3}, "reward of ant-velocity = 3: must be a function"),
        (velocity, {"reward": None}, "reward of ant-velocity = None: must be a function"),
        (velocity, {"terminated": "no"}, "terminated of ant-velocity = 'no': must be a function"),
        (navigation, {"parameters": physical}, "point has no physical model"),
    ):
        refused(lambda f=family, c=change: dataclasses.replace(f, **c), message)


@pytest.mark.parametrize("task", [3, None, "velocity", [1.0]])
def test_a_task_that_names_nothing_is_refused_with_one_that_does(task):
    family = get_family("ant-velocity")
    refused(lambda: family.make_task(task), f"task of ant-velocity = {task!r}: must name", "{'vel")


def test_a_parameter_whose_name_is_no_text_is_unknown():
    refused(lambda: get_family("ant-velocity").make_task({3: 1.0}), "'3': known: velocity")


@every_family
def test_extrapolation_that_overlaps_training_is_refused_with_both_ranges(family):
    for parameter in family.parameters:
        if parameter.extrapolation is None:
            continue
        refused(
            lambda p=parameter: dataclasses.replace(p, train=p.extrapolation),
            f"extrapolation of {parameter.name} = {parameter.extrapolation.describe()}: must be",
            f"outside of its training range {parameter.extrapolation.describe()}",
            "leave out what they share",
        )


def test_the_line_about_overlapping_ranges_names_parameter_and_ranges():
    refused(
        lambda: vary.goal("height", (0.2, 0.9), 0.5, extrapolation=[(0.1, 0.2), (0.8, 1.0)]),
        "extrapolation of height = [0.1, 0.2] or [0.8, 1]: ",
        "outside of its training range [0.2, 0.9]",
        "leave out",
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_features_of_training_tasks_lie_within_one_and_tell_tasks_apart(name):
    family = get_family(name)
    tasks = family.sample_tasks(20, Generator().manual_seed(0), "train")
    features = family.task_features(tasks)
    assert len(features) == 20
    assert features.abs().max() <= 1 + 1e-6
    rows = torch.cat([v.reshape(20, -1) for v in tasks.values.values()], dim=1)
    assert len(features.unique(dim=0)) == len(rows.unique(dim=0))


GOALS = {
    "navigation", "half-cheetah-direction", "half-cheetah-velocity",
    "half-cheetah-payload-velocity", "ant-direction", "ant-velocity", "ant-goal",
    "arm-reach", "arm-encoder",
}  # fmt: skip
CHEETAH = get_family("half-cheetah-dynamics").robot


PENDULUM = gym_robot("Pendulum-v1")
MASS = vary.mass(CHEETAH, "torso", (0.5, 2.0))


def moved(field: str) -> Parameter:
    """A parameter of the user's own that changes this field."""
    effect = ModelEffect((field,), lambda fields, value: fields)
    return Parameter("own", "1", "", 1.0, interval(0.5, 2.0), effect=effect)


@every_family
def test_the_reward_tells_of_a_hidden_goal_and_motion_of_the_rest(family):
    assert family.reward_may_tell == (family.name in GOALS)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([MASS, vary.action_delay(2)], False),
        ([MASS, vary.goal("speed", (0.0, 2.0), 1.0)], True),
        ([MASS, vary.goal("speed", (0.0, 2.0), 1.0, observed=True)], False),
        ([moved("body_pos")], False),  # it is not among what the reward reads
        ([moved("body_inertia")], False),
    ],
)
def test_what_the_reward_may_tell_of_an_own_family(parameters, expected):
    family = dataclasses.replace(
        get_family("half-cheetah-dynamics"), name="own", parameters=tuple(parameters)
    )
    assert family.reward_may_tell is expected


def test_the_reward_may_be_about_a_place_where_it_reads_places():
    cheetah = get_family("half-cheetah-dynamics")
    robot = dataclasses.replace(CHEETAH, outputs=("site_xpos",))
    places = dataclasses.replace(cheetah, robot=robot, parameters=(moved("site_pos"),))
    assert places.reward_may_tell
    assert not dataclasses.replace(places, parameters=(moved("body_mass"),)).reward_may_tell


def test_the_reward_may_be_about_an_attribute():
    gravity = vary.attribute(PENDULUM, "g", (0.5, 2.0))
    assert family_from_gym("Pendulum-v1", [gravity], name="own").reward_may_tell
