"""Names of policies, quantities, tasks and verdicts in tables."""

import dataclasses
import math

import pytest
import torch
from support.tiny import tiny_policy

from metarl.evaluation.evaluate import which_policy
from metarl.evaluation.labels import ANY_TASK, NO_CONTROL, quantity_label, task_text, verdict
from metarl.evaluation.statistics import Interval
from metarl_envs import FAMILIES, Tasks, get_family


@pytest.mark.parametrize(
    ("gain", "over", "words"),
    [
        ((5, 3, 7), (2, 1, 3), "adaptation to the task (another"),
        ((5, 3, 7), (2, -1, 3), ANY_TASK),
        ((5, 3, 7), (-2, -3, -1), ANY_TASK),
        ((1, -1, 3), (2, 1, 3), "no gain is shown: its interval holds zero"),
        ((5, math.nan, math.nan), (2, 1, 3), "no verdict without intervals"),
        ((5, 3, 7), None, NO_CONTROL),
    ],
)
def test_verdicts_on_a_gain(gain, over, words):
    assert verdict(Interval(*gain), over and Interval(*over)).startswith(words)


def test_the_policy_measured_is_named():
    saved = tiny_policy("navigation")

    def named(iterations, **metadata):
        config = dataclasses.replace(saved.config, iterations=iterations)
        return which_policy(dataclasses.replace(saved, config=config, metadata=metadata))

    assert named(200, iteration=200) == "final policy, iteration 200"
    assert named(200, iteration=150) == "policy of iteration 150 of 200"
    best = "best on validation tasks, iteration 120"
    assert named(200, iteration=120, chosen=best) == best
    assert named(9, iteration=0, env_steps=0) == "untrained"
    assert named(9, iteration=0, env_steps=0, start="ab12") == "another run's weights"
    assert named(9, iteration=0, env_steps=4000) == "trained elsewhere"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("forward_velocity_m_per_s", ("forward velocity", "m/s")),
        ("distance_to_goal_m", ("distance to goal", "m")),
        ("tilt_rad", ("tilt", "rad")),
        ("success", ("success", "")),
    ],
)
def test_quantities_are_named_with_their_units(name, label):
    assert quantity_label(name) == label


def test_every_quantity_of_every_family_has_a_unit():
    for family in FAMILIES.values():
        assert quantity_label(family.quantity)[1] != "", family.name


def test_tasks_are_written_as_they_are_typed_with_units():
    velocity = get_family("half-cheetah-velocity")
    assert task_text(velocity, velocity.make_task({"velocity": 1.5}), 0) == "velocity = 1.5 m/s"
    navigation = get_family("navigation")
    goals = Tasks({"goal": torch.tensor([[0.1, 0.2], [0.25, -0.3]])})
    assert task_text(navigation, goals, 1) == "goal = (0.25, -0.3) m"
    hopper = get_family("hopper-dynamics")
    assert task_text(hopper, hopper.nominal_tasks(), 0, ["mass_scale"]) == "mass_scale[4] = 1 ... 1"
    text = task_text(hopper, hopper.nominal_tasks(), 0)
    assert text.startswith("mass_scale[4] = 1 ... 1, damping_scale = (1, 1, 1)")
