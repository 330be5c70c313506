"""Means by the kind of task: of one run, and of several."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.tiny import tiny_policy

from metarl.evaluation.comparison import Comparison
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.kinds import by_kind
from metarl.evaluation.method_runs import MethodRuns
from metarl_envs import get_family, register_family
from metarl_envs.family import TaskFamily
from metarl_envs.listed import Listed

NAME = "two-directions"
POINTS = tuple((float(k), x) for k in (0, 1) for x in (0.2, 0.9))


@pytest.fixture
def family() -> TaskFamily:
    """Navigation in kinds of tasks: the first number of the goal says which."""
    navigation = get_family("navigation")
    (goal,) = navigation.parameters
    listed = Listed(POINTS, ("left", "right"))
    parameter = dataclasses.replace(
        goal, nominal=POINTS[0], train=listed, held_out=None, extrapolation=None
    )
    made = dataclasses.replace(
        navigation,
        name=NAME,
        robot=dataclasses.replace(
            navigation.robot, quantities={"success": lambda t: t.task["goal"][:, 0]}
        ),
        parameters=(parameter,),
        quantity="success",
    )
    register_family(made)
    return made


def test_means_are_over_runs_and_the_tasks_of_a_kind():
    returns = np.array([[1.0, 2.0, 30.0], [3.0, 4.0, np.nan]])
    flags = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, np.nan]])
    found = by_kind(["push", "push", "reach"], returns, flags, success=True)
    assert found == {
        "push": {"return": 2.5, "success": 0.5},
        "reach": {"return": 30.0, "success": 1.0},
    }
    assert by_kind(["push"] * 3, returns, flags, success=False) == {"push": {"return": 8.0}}
    assert by_kind([], returns, flags, success=True) is None


def test_an_evaluation_and_a_comparison_say_the_success_of_each_kind(family):
    evaluation = evaluate(tiny_policy(NAME), splits=["train"], num_tasks=4, episodes_per_step=2)
    (result,) = evaluation.splits
    assert sorted(family.kinds_of(result.tasks)) == ["left", "left", "right", "right"]
    last = evaluation.summary()["splits"]["train"]["curve"][-1]["kinds"]
    assert (last["left"]["success"], last["right"]["success"]) == (0.0, 1.0)
    left = [kind == "left" for kind in family.kinds_of(result.tasks)]
    assert last["left"]["return"] == pytest.approx(result.returns[-1, left].mean())
    comparison = Comparison((MethodRuns("a", (evaluation, evaluation)),))
    point = comparison.summary()["splits"]["train"]["curves"]["a"][-1]
    assert point["kinds"] == last


def test_tasks_of_one_kind_have_none():
    evaluation = evaluate(tiny_policy("navigation"), splits=["test"], num_tasks=2)
    assert evaluation.summary()["splits"]["test"]["curve"][0]["kinds"] is None
