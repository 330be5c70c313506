"""The share of the gap between robust policy and oracle that methods close, on given numbers."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from metarl.evaluation.comparison import Comparison
from metarl.evaluation.curve_table import NO_SHARE, gap_table
from metarl.evaluation.gap import Gap, percent, with_shares
from metarl.evaluation.method_runs import MethodRuns
from metarl.evaluation.results import Controls, Evaluation, SplitEvaluation
from metarl.evaluation.statistics import Interval, gap_closed
from metarl.report.curves import write_comparison
from metarl_envs import Tasks, get_family

SPREAD = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])


def run(*points, adapts=True, other=None, **metadata) -> Evaluation:
    """A run on half-cheetah-velocity: the level of its returns at each point, spread over tasks.

    `other`: that with another task's adapted parameters, after adaptation.
    """
    returns = np.array([level + SPREAD for level in points])
    tasks = Tasks({"velocity": torch.linspace(0.1, 1.9, len(SPREAD))})
    controls = None
    if other is not None:
        rows = np.array([np.full(len(SPREAD), np.nan), other + SPREAD])
        controls = Controls(rows, rows + 2)
    result = SplitEvaluation("test", tasks, returns, returns, 0, 0, controls)
    family = get_family("half-cheetah-velocity")
    return Evaluation(family, (result,), 100, 20, 0, metadata, adapts)


def fixed(name, *levels, **metadata) -> MethodRuns:
    """A method without adaptation: the same measurement at both points of each of its runs."""
    runs = tuple(run(level, level, adapts=False, **metadata) for level in levels)
    return MethodRuns(name, runs, name)


def gap_of(*methods) -> Gap:
    found = Gap.among(Comparison(methods))
    assert found is not None
    return found


MAML = MethodRuns("maml", (run(5, 14, other=11), run(5, 16, other=13)), "maml-trpo")


def test_share_of_matrices_by_hand():
    reached, lower, upper = (
        np.array([[4.0, 8.0], [5.0, 7.0]]),
        np.full((1, 2), 3.0),
        np.full((3, 2), 9.0),
    )
    assert gap_closed(reached, lower, upper) == pytest.approx(0.5)  # (6 - 3) / (9 - 3)
    assert gap_closed(lower, lower, upper) == 0
    assert gap_closed(upper, lower, upper) == 1


def test_gap_and_shares_by_hand():
    gap = gap_of(fixed("robust", 10), MAML, fixed("oracle", 20))
    assert gap.size("test") == pytest.approx((10, 10, 10))  # one level each, the same tasks
    # Its two runs close 40 and 60 %: t of one degree of freedom, 12.7, times 10 %.
    assert gap.closed(MAML, "test", 1) == pytest.approx((0.5, -0.77062, 1.77062), rel=1e-4)
    assert gap.by_run(MAML, "test", 1) == pytest.approx([0.4, 0.6])
    assert gap.closed(MAML, "test", 0) == pytest.approx((-0.5, -0.5, -0.5))


def test_what_another_tasks_adaptation_closes_and_every_seed_by_hand():
    gap = gap_of(fixed("robust", 10), MAML, fixed("oracle", 20))
    # 11 and 13 between 10 and 20; own parameters 14 and 16.
    other = gap.closed_by_other(MAML, "test", 1)
    # Two seeds 0.2 apart: Student's t is 12.7 times their standard error of 0.1.
    assert other == pytest.approx((0.2, 0.2 - 1.27062, 0.2 + 1.27062), rel=1e-4)
    assert gap.closed_by_other(MAML, "test", 0) is None
    assert gap.by_run(MAML, "test", 1) == pytest.approx([0.4, 0.6])
    assert gap.closed_by_other(fixed("random", 5), "test", 1) is None


def test_steps_stand_beside_shares_and_unequal_ones_are_called_so():
    maml = MethodRuns("maml", (run(5, 14, env_steps=1_000_000),) * 2, "maml-trpo")
    tuned = MethodRuns("finetuned", (run(10, 11, env_steps=0, start="ab"),), "finetuned")
    ends = [
        fixed(n, v, env_steps=4_000_000, sha256="ab") for n, v in (("robust", 10), ("oracle", 20))
    ]
    gap = gap_of(ends[0], maml, tuned, ends[1], fixed("random", 2))
    assert gap.comparison.budgets.startswith("environment steps of training differ: robust 4 M, ")
    lines = [" ".join(line.split()) for line in gap_table(gap).splitlines()]
    assert "maml 1 M 0 0 -50 % [-50, -50]" in lines
    assert "finetuned 4 M 0 0 0 % [0, 0]" in lines
    assert gap.summary()["test"]["closed"]["maml"][1]["env_steps"] == 1_000_000
    same = gap_of(ends[0], ends[1], MethodRuns("maml", (run(5, 14, env_steps=3_700_000),), "maml"))
    assert same.comparison.budgets.startswith("environment steps of training: robust 4 M")


def test_a_method_without_adaptation_has_one_point():
    noise = fixed("random", 5)
    gap = gap_of(noise, fixed("robust", 10), fixed("oracle", 20))
    assert gap.closed(noise, "test", 1) == pytest.approx((-0.5, -0.5, -0.5))
    assert gap.points(noise) == [1]


@pytest.mark.parametrize("oracle", [(10.0,), (8.0, 13.0)])
def test_without_a_significant_gap_no_share_is_reported(oracle):
    gap = gap_of(fixed("robust", 10), MAML, fixed("oracle", *oracle))
    assert gap.closed(MAML, "test", 1) is None and gap.by_run(MAML, "test", 1) is None
    point = gap.comparison.point(MAML, "test", 1)
    assert with_shares(point, gap, 1).closed is None
    assert NO_SHARE in gap_table(gap) and "closed  " not in gap_table(gap)


def test_there_must_be_one_robust_method_and_one_oracle():
    other = dataclasses.replace(fixed("robust", 12), label="robust (other)")
    for methods in (
        (MAML,),
        (fixed("robust", 1), MAML),
        (fixed("robust", 1), other, fixed("oracle", 2)),
    ):
        assert Gap.among(Comparison(methods)) is None


def test_table_and_json_hold_the_same_numbers(tmp_path):
    comparison = Comparison((fixed("robust", 10), MAML, fixed("oracle", 20)))
    gap = gap_of(*comparison.methods)
    lines = [" ".join(line.split()) for line in gap_table(gap).splitlines()]
    assert "maml - 0 0 -50 % [-50, -50]" in lines
    assert "1 20 50 % [-77, 177] 20 % [-107, 147]" in lines
    assert "seeds in the end: 40 %, 60 %" in lines
    assert f"[{comparison.intervals}]" in gap_table(gap)
    assert max(map(len, gap_table(gap).splitlines())) <= 100
    written = json.loads(write_comparison(comparison, tmp_path).read_text())["gap"]
    assert written == gap.summary()
    assert written["test"]["gap"] == pytest.approx([10, 10, 10])
    after = written["test"]["closed"]["maml"][1]
    assert after["share"] == pytest.approx([0.5, -0.77062, 1.77062], rel=1e-4)
    assert after["share_of_another_task"] == pytest.approx([0.2, -1.07062, 1.47062], rel=1e-4)
    assert after["share_by_run"] == pytest.approx([0.4, 0.6])
    point = with_shares(comparison.point(MAML, "test", 1), gap, 1)
    assert [point.closed, point.closed_by_other] == [
        gap.closed(MAML, "test", 1), gap.closed_by_other(MAML, "test", 1),
    ]  # fmt: skip
    assert with_shares(comparison.point(gap.oracle, "test", 1), gap, 1).closed is None
    alone = write_comparison(Comparison((MAML,)), tmp_path)
    assert json.loads(alone.read_text())["gap"] is None


def test_percent_without_bounds_has_no_brackets():
    assert percent(Interval(0.433, np.nan, np.nan)) == "43 %"
    assert percent(Interval(0.433, 0.2, 0.55)) == "43 % [20, 55]"
