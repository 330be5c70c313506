"""Success rates: any step of an episode counts, as in Meta-World."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support.tiny import tiny_policy

from metarl.evaluation.comparison import Comparison
from metarl.evaluation.curve_table import comparison_table, curve_table
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.method_runs import MethodRuns
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl_envs import BatchEnv, get_family, register_family
from metarl_envs.listed import Listed

NAME = "pass-by"
HORIZON = 12


def passes(transition):
    """Flag of places between 0.15 and 0.25 m from the start: who goes on has passed them."""
    gone = transition.after["qpos"].norm(dim=1)
    return ((gone > 0.15) & (gone < 0.25)).double()


@pytest.fixture
def family():
    navigation = get_family("navigation")
    (goal,) = navigation.parameters
    here, there = Listed(((0.0, 0.9), (0.0, -0.9))), Listed(((0.9, 0.0), (-0.9, 0.0)))
    made = dataclasses.replace(
        navigation,
        name=NAME,
        robot=dataclasses.replace(navigation.robot, quantities={"success": passes}),
        parameters=(dataclasses.replace(goal, train=here, held_out=there, extrapolation=None),),
        quantity="success",
    )
    register_family(made)
    return made


def straight(saved):
    """Policies that go along x, by 0.2 times their first output's bias, or stay."""
    moving = {name: torch.zeros_like(value) for name, value in saved.params.items()}
    last = max(name for name in moving if name.startswith("bias"))
    moving[last][0] = 2.0
    return moving, last


def test_an_episode_succeeds_if_any_of_its_steps_does(family):
    saved = tiny_policy(NAME, HORIZON)
    moving, last = straight(saved)
    params = {name: value.clone() for name, value in expand(moving, 2).items()}
    params[last][1] = 0.0  # the second one stays where it begins
    env = BatchEnv(family, 2, 3, horizon=HORIZON)
    env.set_tasks(family.sample_tasks(2, torch.Generator().manual_seed(0), "train"))
    streams = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    rollouts = Collector(env, saved.policy).collect(params, *streams, explore=False)
    gone = rollouts.final_observations.norm(dim=-1)
    assert (gone[0] > 0.3).all()  # far beyond the places that count
    assert rollouts.quantity.tolist() == [[1.0] * 3, [0.0] * 3]


def test_an_evaluation_says_how_many_episodes_succeed(family):
    saved = tiny_policy(NAME, HORIZON)
    moving, _ = straight(saved)
    saved = dataclasses.replace(saved, params=moving)
    evaluation = evaluate(saved, num_tasks=4, steps=1, episodes_per_step=3)
    assert [result.split for result in evaluation.splits] == ["train", "test"]
    goals = evaluation.splits[1].tasks.values["goal"]
    assert {tuple(row) for row in goals.tolist()} == {(0.9, 0.0), (-0.9, 0.0)}
    np.testing.assert_array_equal(evaluation.splits[1].quantity[0], 1.0)
    first = evaluation.curve(evaluation.splits[1])[0]
    assert first.success is not None and first.success.estimate == 1.0
    curve = evaluation.summary()["splits"]["test"]["curve"]
    assert curve[0]["success"][0] == 1.0
    assert evaluation.records()[0]["success"] == 1.0
    text = curve_table(evaluation)
    assert "successful episodes" in text and "100 % [100, 100]" in text
    assert "test: tasks of its own, not trained on" in text

    comparison = Comparison((MethodRuns("a", (evaluation,)), MethodRuns("b", (evaluation,))))
    assert "100 %" in comparison_table(comparison)
    point = comparison.summary()["splits"]["test"]["curves"]["a"][0]
    assert point["success"][0] == 1.0


def test_other_families_say_nothing_of_success():
    evaluation = evaluate(tiny_policy("navigation"), splits=["test"], num_tasks=4)
    assert evaluation.curve(evaluation.splits[0])[0].success is None
    assert "successful" not in curve_table(evaluation)
