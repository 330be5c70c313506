"""Comparison of runs on the same tasks, from given numbers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from support.tiny import tiny_policy

from metarl.evaluation.comparison import Comparison
from metarl.evaluation.curve_table import aligned, comparison_table
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.intervals import t_quantile
from metarl.evaluation.labels import ANY_TASK
from metarl.evaluation.method_runs import MethodRuns
from metarl.evaluation.results import Controls, Evaluation, SplitEvaluation
from metarl.evaluation.statistics import mean_score
from metarl_envs import InputError, Tasks, get_family


def run(returns, **changes) -> Evaluation:
    """A run on half-cheetah-velocity with given returns, (K+1, M)."""
    returns = np.array(returns, dtype=float)
    velocities = torch.linspace(0.1, 1.9, returns.shape[1])
    result = SplitEvaluation("test", Tasks({"velocity": velocities}), returns, returns, 0, 0)
    made = Evaluation(get_family("half-cheetah-velocity"), (result,), 100, 20, 0, {"name": "x"})
    return dataclasses.replace(made, **changes)


def two_methods() -> Comparison:
    better = MethodRuns("maml", tuple(run([[0] * 4, [c, c + 1, c + 2, c + 7]]) for c in (10, 12)))
    worse = MethodRuns("robust", (run([[1] * 4, [5, 6, 20, 8]]),))
    return Comparison((better, worse))


def test_summary_by_hand():
    split = two_methods().summary()["splits"]["test"]
    assert (split["tasks"], split["tasks_left_out"]) == (4, 0)
    before, after = split["curves"]["maml"]
    assert (before["gradient_steps"], before["adaptation_episodes"]) == (0, 0)
    assert (after["gradient_steps"], after["adaptation_episodes"], after["runs"]) == (1, 20, 2)
    # The middle four of 10 11 12 12 13 14 17 19.
    assert after["iqm"]["crossed"][0] == after["iqm"]["stratified"][0] == 12.75
    assert after["mean"]["crossed"][0] == 13.5
    assert after["worst_fifth"]["crossed"][0] == 11.0
    # Better in all pairs of tasks 0, 1 and 3, in none of task 2.
    assert split["probability_of_improvement"]["maml"]["robust"][0] == 0.75
    assert split["probability_of_improvement"]["robust"]["maml"][0] == 0.25
    # Two seeds whose means are 2 apart: t is 12.7 times their standard error of 1.
    half = 12.7062 * 1
    tasks = t_quantile(3) * np.std([0, 1, 2, 7], ddof=1) / 2
    assert after["mean"]["crossed"][1] == pytest.approx(13.5 - math.hypot(half, tasks), abs=1e-4)
    assert after["mean"]["by_run"] == [12.5, 14.5]
    assert after["worst_fifth"]["by_run"] == pytest.approx([10.0, 12.0])
    # One run has no other run to draw within a task.
    assert split["curves"]["robust"][1]["iqm"]["stratified"] == [7.0, None, None]


def test_table_holds_the_points_of_every_method_and_each_seeds_end():
    table = comparison_table(two_methods())
    lines = [" ".join(line.split()) for line in table.splitlines()]
    maml, robust = two_methods().methods
    for method, index, start in (
        (maml, 0, "maml 2 0 0"),
        (maml, 1, "1 20"),
        (robust, 0, "robust 1 0 0"),
    ):
        point = two_methods().point(method, "test", index)
        assert f"{start} {point.iqm.text()} {point.worst_fifth.text()}" in lines
    assert "seeds in the end: 11.5, 13.5" in lines  # the middle two of four
    assert max(map(len, table.splitlines())) <= 100


def test_columns_are_as_wide_as_their_longest_text():
    rows = [("", "steps", "return"), ("maml", "1", "-3.0"), "between: no columns", ("b", "20", "")]
    assert aligned(rows, right=[1]) == [
        "        steps  return",
        "  maml      1  -3.0",
        "        between: no columns",
        "  b        20",
    ]


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ((1, 1), "95 % t intervals over tasks only (one seed)"),
        ((3, 3), "95 % t intervals over 3 seeds and tasks"),
        ((3, 1), "95 % t intervals over 3 seeds and tasks; over tasks only: b (one seed)"),
        ((3, 2), "95 % t intervals over seeds (a 3, b 2) and tasks"),
    ],
)
def test_intervals_are_named_for_what_they_cover(seeds, said):
    made = [MethodRuns(name, (run([[1, 2]]),) * n) for name, n in zip("ab", seeds, strict=True)]
    comparison = Comparison(tuple(made))
    assert comparison.intervals == said
    assert said in comparison.summary()["intervals"]
    assert f"[{said}]" in comparison_table(comparison)


def test_each_seed_stands_beside_the_mean():
    method = MethodRuns("a", (run([[0, 0], [1, 2]]), run([[0, 0], [5, 6]])))
    fixed = MethodRuns("b", (run([[4, 2], [4, 2]], adapts=False),))
    comparison = Comparison((method, fixed))
    assert comparison.by_run(method, "test", 1) == [1.5, 5.5]
    assert comparison.by_run(fixed, "test", 1) == [3.0]


def controlled(returns, others) -> Evaluation:
    """A run with given returns, before and after, and those with another task's parameters."""
    made = run(returns)
    rows = np.array([[math.nan] * len(others), others])
    result = dataclasses.replace(made.splits[0], controls=Controls(rows, rows + 0.5))
    return dataclasses.replace(made, splits=(result,))


def test_gains_over_another_tasks_adaptation_by_hand():
    runs = (
        controlled([[0, 0, 0, 0], [10, 11, 12, 13]], [9, 9, 9, 9]),
        controlled([[0, 0, 0, 0], [10, 11, 12, 13]], [8.9, 8.9, 8.9, 8.9]),
    )
    comparison = Comparison((MethodRuns("maml", runs), MethodRuns("robust", (run([[1] * 4] * 2),))))
    maml, robust = comparison.methods
    point = comparison.point(maml, "test", 1)
    assert point.gain_over_other.estimate == pytest.approx(2.55) and point.gain_over_other.low > 0
    assert point.gain.estimate == 11.5
    assert comparison.point(maml, "test", 0).gain_over_other is None
    assert comparison.point(robust, "test", 1).gain_over_other is None
    assert point.verdict.startswith("adaptation to the task")
    written = comparison.summary()["splits"]["test"]["curves"]["maml"][1]["controls"]
    assert written["another_task"][0] == pytest.approx(8.95)
    assert written["gain_over_another_task"] == list(point.gain_over_other)
    assert written["mean_of_tasks"][0] == pytest.approx(9.45)
    assert written["gain_over_mean"][0] == pytest.approx(2.05)
    lines = [" ".join(line.split()) for line in comparison_table(comparison).splitlines()]
    assert f"maml 1 20 {point.gain_over_other.text('+')} 8.9 9.4" in lines
    plain_improvement = Comparison(
        (MethodRuns("maml", (controlled([[0] * 4, [9, 10, 11, 12]], [12, 11, 10, 9]),)),)
    )
    assert plain_improvement.point(plain_improvement.methods[0], "test", 1).verdict == ANY_TASK
    assert ANY_TASK in comparison_table(plain_improvement)


def test_a_task_whose_control_diverged_is_left_out():
    diverged = controlled([[0, 0, 0], [1, 2, 3]], [1, math.nan, 1])
    comparison = Comparison((MethodRuns("a", (diverged,)),))
    assert comparison.valid("test").tolist() == [True, False, True]


def test_runs_measured_in_another_way_are_refused_but_for_noise():
    noisy = run([[1, 2], [3, 4]], measured_by="with action noise")
    mean = run([[1, 2], [3, 4]])
    Comparison((MethodRuns("a", (mean,)), MethodRuns("random", (noisy,), "random")))
    Comparison((MethodRuns("a", (noisy,)), MethodRuns("random", (noisy,), "random")))
    with pytest.raises(InputError, match=r"measured by: \['mean action', 'with act"):
        Comparison((MethodRuns("a", (mean,)), MethodRuns("b", (noisy,))))


def test_steps_of_what_a_run_started_from_count_and_unequal_ones_are_called_so():
    robust = MethodRuns("robust", (run([[1, 2]] * 2, metadata={"env_steps": 2e6, "sha256": "a"}),))
    tuned = MethodRuns("tuned", (run([[1, 2]] * 2, metadata={"env_steps": 0, "start": "a"}),))
    maml = MethodRuns(
        "maml", tuple(run([[1, 2]] * 2, metadata={"env_steps": n}) for n in (1e6, 2e6))
    )
    comparison = Comparison((robust, tuned, maml))
    assert [comparison.env_steps(m) for m in comparison.methods] == [2e6, 2e6, 1.5e6]
    said = "environment steps of training differ: robust 2 M, tuned 2 M, maml 1.5 M"
    assert comparison.budgets == said and said in comparison_table(comparison)
    assert comparison.summary()["env_steps"] == {"robust": 2e6, "tuned": 2e6, "maml": 1.5e6}
    alone = Comparison((tuned,))
    assert alone.env_steps(tuned) is None  # what it started from is not here


def test_a_task_that_diverged_in_one_run_is_left_out_of_all():
    first, second = run([[1, 2, 3], [4, 5, 6]]), run([[1, 2, 3], [4, math.nan, 6]])
    comparison = Comparison((MethodRuns("a", (first,)), MethodRuns("b", (second,))))
    assert comparison.valid("test").tolist() == [True, False, True]
    assert comparison.scores(comparison.methods[0], "test", 1).tolist() == [[4, 6]]
    assert comparison.summary()["splits"]["test"]["tasks_left_out"] == 1


def test_repetitions_of_few_tasks_are_drawn_within_each_task():
    # Two tasks, two repetitions each, 100 apart: the interval must not draw tasks.
    repeated = dataclasses.replace(
        run([[0, 1, 100, 101]]).splits[0],
        tasks=Tasks({"velocity": torch.tensor([0.5, 0.5, 1.5, 1.5])}),
    )
    made = dataclasses.replace(run([[0.0]]), splits=(repeated,))
    comparison = Comparison((MethodRuns("a", (made,)),))
    scores = comparison.scores(comparison.methods[0], "test", 0)
    _, low, high = comparison.interval(mean_score, [scores], "test")
    # The repetitions are 1 apart: t of two degrees of freedom, 4.3, times 1 / sqrt(8).
    assert (low, high) == pytest.approx((50.5 - 1.5212, 50.5 + 1.5212), abs=1e-3)
    assert (
        comparison.intervals
        == "95 % t intervals over repetitions of the same tasks only (one seed)"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon": 50}, "their horizon differ: 100 and 50"),
        ({"seed": 1}, "seed of the evaluation"),
        ({"episodes_per_step": 5}, "adaptation"),
        ({"family": get_family("half-cheetah-dynamics")}, "family"),
    ],
)
def test_runs_that_were_not_measured_alike_are_refused(change, message):
    runs = (run([[1, 2], [3, 4]]), run([[1, 2], [3, 4]], **change))
    with pytest.raises(InputError, match=message):
        Comparison((MethodRuns("a", runs),))


def test_evaluations_with_one_seed_meet_the_same_tasks():
    sizes = {"num_tasks": 3, "steps": 1, "episodes_per_step": 2, "splits": ["test"]}
    runs = tuple(evaluate(tiny_policy("navigation", seed=s), **sizes) for s in (0, 1))
    assert Comparison((MethodRuns("a", runs),)).valid("test").shape == (3,)
    other = evaluate(tiny_policy("navigation"), seed=1, **sizes)
    with pytest.raises(InputError, match="seed"):
        Comparison((MethodRuns("a", (*runs, other)),))
