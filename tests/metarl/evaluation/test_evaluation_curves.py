"""Curves, tables and records of an evaluation, by hand."""

import math

import numpy as np
import torch

from metarl.evaluation.curve_table import curve_table
from metarl.evaluation.results import Controls, Evaluation, SplitEvaluation
from metarl_envs import Tasks, get_family


def made_up(
    returns, velocities=(0.5, 1.0), *, split="test", others=None, means=None, **changes
) -> Evaluation:
    """An evaluation of half-cheetah-velocity with given numbers, (K+1, M); controls (K, M)."""
    returns = np.array(returns, dtype=float)
    controls = None
    if others is not None:
        nothing = [math.nan] * returns.shape[1]
        controls = Controls(np.array([nothing, *others]), np.array([nothing, *(means or others)]))
    result = SplitEvaluation(
        split,
        Tasks({"velocity": torch.tensor(velocities)}),
        returns,
        quantity=returns / 10,
        faulted_episodes=changes.pop("faulted_episodes", 0),
        failed_adaptations=0,
        controls=controls,
    )
    return Evaluation(get_family("half-cheetah-velocity"), (result,), 100, 20, 0, {}, **changes)


def test_curve_by_hand():
    evaluation = made_up([[0.0, 2.0], [10.0, 16.0], [10.0, 22.0]])
    before, first, last = evaluation.curve(evaluation.splits[0])
    # Two tasks: a resample of their mean spans exactly the two values.
    assert before.returns == (1.0, 0.0, 2.0)
    assert before.gain == (0.0, 0.0, 0.0)
    assert first.returns == (13.0, 10.0, 16.0)
    assert first.gain == (12.0, 10.0, 14.0)
    assert last.gain == (15.0, 10.0, 20.0)
    assert [p.gradient_steps for p in (before, first, last)] == [0, 1, 2]
    assert [p.adaptation_episodes for p in (before, first, last)] == [0, 20, 40]


def test_gain_is_paired():
    # Returns spread by 1000 between tasks, gains by nothing: the interval must not see the spread.
    evaluation = made_up([[0.0, 1000.0], [5.0, 1005.0]])
    assert evaluation.curve(evaluation.splits[0])[1].gain == (5.0, 5.0, 5.0)


def test_task_without_a_sound_episode_is_left_out():
    evaluation = made_up([[0.0, 1.0, 2.0], [8.0, math.nan, 12.0]], (0.5, 1.0, 1.5))
    before, after = evaluation.curve(evaluation.splits[0])
    assert before.returns.estimate == 1.0
    assert after.returns == (10.0, 8.0, 12.0)
    assert after.gain == (9.0, 8.0, 10.0)


def test_repeated_runs_of_few_tasks_are_resampled_within_each_task():
    # Two tasks, two runs each; were tasks resampled too, the bounds would reach -100 and 101.
    evaluation = made_up([[-100, -99, 100, 101]], (0.5, 0.5, 1.5, 1.5))
    assert evaluation.curve(evaluation.splits[0])[0].returns == (0.5, 0.0, 1.0)


def test_single_task_has_no_interval():
    evaluation = made_up([[1.0], [4.0]], (0.5,))
    point = evaluation.curve(evaluation.splits[0])[1]
    assert point.gain.estimate == 3.0 and math.isnan(point.gain.low)
    table = curve_table(evaluation)
    assert "4.0" in table and "nan" not in table
    assert evaluation.summary()["splits"]["test"]["curve"][1]["gain"] == [3.0, None, None]


def test_table_states_numbers_intervals_tasks_and_units():
    evaluation = made_up(
        [[0.0, 2.0], [10.0, 16.0]],
        others=[[9.0, 11.0]],
        means=[[12.0, 15.0]],
        faulted_episodes=3,
        policy="final policy, iteration 7",
    )
    table = curve_table(evaluation)
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert "0 0 1.0 [0.0, 2.0]" in lines
    assert "1 20 13.0 [10.0, 16.0] +12.0 [+10.0, +14.0]" in lines
    assert "return forward velocity, m/s" in lines
    assert "velocity = 0.5 m/s 0.0 -> 10.0 0.00 -> 1.00" in lines
    # Another task's parameters return 10, so own ones 1 and 5 more; their mean 13.5.
    assert "1 20 10.0 +3.0 [+1.0, +5.0] 13.5 -0.5 [-2.0, +1.0]" in lines
    assert "adaptation to the task (another task's adapted parameters return less)" in lines
    assert "final policy, iteration 7; measured by: mean action" in lines
    assert "left out: 3 episodes that diverged" in table
    assert max(map(len, table.splitlines())) <= 100


def test_table_of_many_tasks_shows_the_extremes():
    gains = np.arange(9.0)
    table = curve_table(made_up([np.zeros(9), gains], tuple(0.1 * (1 + gains))))
    assert "largest gain: velocity = 0.9 m/s" in table
    assert "median: velocity = 0.5 m/s" in table
    assert "smallest: velocity = 0.1 m/s" in table
    assert "velocity = 0.2 m/s" not in table


def test_what_does_not_adapt_has_no_gain():
    returns = np.arange(9.0) + 3
    evaluation = made_up([returns, returns], tuple(0.1 * (1 + np.arange(9.0))), adapts=False)
    table = curve_table(evaluation)
    lines = [" ".join(line.split()) for line in table.splitlines()]
    (row,) = [line for line in lines if line.startswith("0 0 ")]  # one point, measured once
    assert row.startswith("0 0 7.0 [") and row.endswith("] does not adapt")
    assert "+0.0" not in table and "->" not in table
    assert "largest return: velocity = 0.9 m/s 11.0 1.10" in lines
    assert "smallest: velocity = 0.1 m/s 3.0 0.30" in lines
    split = evaluation.summary()["splits"]["test"]
    assert [point["gain"] for point in split["curve"]] == [None, None]
    assert split["iqm_gain"] is None


def test_records_are_tidy():
    returns = [[0.0, 2.0], [10.0, 16.0]]
    rows = made_up(returns, others=[[9.0, 11.0]], means=[[12.0, 15.0]]).records()
    assert rows[3] == {
        "split": "test",
        "task": 1,
        "velocity": 1.0,
        "gradient_steps": 1,
        "adaptation_episodes": 20,
        "return": 16.0,
        "return_of_another_task": 11.0,
        "return_of_mean": 15.0,
        "forward_velocity_m_per_s": 1.6,
    }
    assert len(rows) == 4


def test_controls_are_paired_and_their_intervals_by_hand():
    returns = [[0.0, 1000.0], [5.0, 1009.0]]
    evaluation = made_up(returns, others=[[4.0, 1004.0]], means=[[6.0, 1006.0]])
    before, after = evaluation.curve(evaluation.splits[0])
    assert before.other is None and before.averaged is None
    assert after.other.returns == (504.0, 4.0, 1004.0)
    assert after.other.gain_over == (3.0, 1.0, 5.0)
    assert after.averaged.gain_over == (1.0, -1.0, 3.0)
    point = evaluation.summary()["splits"]["test"]["curve"][1]
    assert point["another_task"] == {"return": [504.0, 4.0, 1004.0], "gain_over": [3.0, 1.0, 5.0]}
    assert point["mean_of_tasks"]["gain_over"] == [1.0, -1.0, 3.0]
    assert evaluation.over_episodes().splits[0].controls.other[1].tolist() == [4.0, 1004.0]
