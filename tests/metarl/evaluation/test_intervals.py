"""t intervals over runs and tasks: by hand, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.interval_coverage import (
    DIFFERENCE,
    IMPROVEMENT,
    IQM,
    MEAN,
    SHARE,
    WORST,
    Mix,
    coverage,
    log_odds,
    normal_tasks,
    pigeonhole,
    skewed_tasks,
)

from metarl.evaluation.intervals import crossed_interval, improvement_interval, t_quantile
from metarl.evaluation.statistics import gap_closed, mean_score, paired_difference


@pytest.mark.parametrize(
    ("freedom", "level", "expected"),
    [
        (1, 0.95, 12.7062),
        (2, 0.95, 4.30265),
        (3, 0.95, 3.18245),
        (10, 0.95, 2.22814),
        (99, 0.95, 1.98422),
        (10_000, 0.95, 1.96020),
        (1, 0.5, 1.0),  # Cauchy's quartile
        (4, 0.99, 4.60409),
    ],
)
def test_quantiles_of_student_are_the_tables(freedom, level, expected):
    assert t_quantile(freedom, level) == pytest.approx(expected, rel=5e-5)


def test_mean_by_hand():
    # Means of runs 1 and 5, of tasks 1 and 5, residuals +-1: A = B = 4 and C = 1.
    found = crossed_interval(mean_score, [np.array([[0.0, 2.0], [2.0, 8.0]])])
    half = 12.7062 * math.sqrt(4 + (4 - 1))
    assert found == pytest.approx((3, 3 - half, 3 + half), rel=1e-5)


def test_a_bad_seed_counts_as_one_of_three_not_as_two_hundred_of_six_hundred():
    scores = np.repeat([[0.0], [0.0], [-9.0]], 200, axis=1)
    half = 4.30265 * math.sqrt(27 / 3)  # t over three values
    assert crossed_interval(mean_score, [scores]) == pytest.approx((-3, -3 - half, -3 + half))


def test_one_run_is_covered_over_tasks_only():
    values = np.random.default_rng(0).normal(size=100)
    half = 1.98422 * values.std(ddof=1) / 10
    found = crossed_interval(mean_score, [values[None]])
    mean = values.mean()
    assert found == pytest.approx((mean, mean - half, mean + half), rel=1e-4)


def test_tasks_of_two_methods_are_paired():
    tasks = 1000 * np.random.default_rng(0).normal(size=(1, 50))
    assert crossed_interval(paired_difference, [tasks + 5, tasks]) == pytest.approx((5, 5, 5))


def test_runs_of_two_methods_are_independent_with_welchs_degrees_of_freedom():
    better = np.repeat([[0.0], [0.0], [3.0]], 4, axis=1)
    worse = np.repeat([[0.0], [2.0]], 4, axis=1)
    half = t_quantile(2**2 / (1 / 2 + 1 / 1)) * math.sqrt(1 + 1)
    found = crossed_interval(paired_difference, [better, worse])
    assert found == pytest.approx((0, -half, half), abs=1e-9)


def test_fixed_tasks_vary_by_their_repetitions_only():
    # Two tasks, 100 apart, with two repetitions each, 1 apart: the variance of each mean is 1/4.
    scores, groups = np.array([[0.0, 100.0, 1.0, 101.0]]), np.array([0, 1, 0, 1])
    half = 4.30265 * math.sqrt(1 / 4 * (1 / 4 + 1 / 4))
    found = crossed_interval(mean_score, [scores], groups=groups)
    assert found == pytest.approx((50.5, 50.5 - half, 50.5 + half), rel=1e-5)
    # Over two seeds, 10 apart: the repetitions are the same, so that the seeds are all.
    both = np.concatenate([scores, scores + 10])
    _, low, high = crossed_interval(mean_score, [both], groups=groups)
    assert high - low == pytest.approx(2 * math.hypot(12.7062 * 5, half), rel=1e-5)


def test_a_ratio_has_the_interval_of_its_linear_approximation():
    rng = np.random.default_rng(1)
    tasks = rng.normal(size=60)
    reached, lower, upper = (
        mean + tasks + 0.3 * rng.normal(size=(3, 1)) + 0.5 * rng.normal(size=(3, 60))
        for mean in (6, 0, 10)
    )
    share, low, high = crossed_interval(gap_closed, [reached, lower, upper])
    gap = upper.mean() - lower.mean()

    def linear(x, y, z):
        return (mean_score(x) - (1 - share) * mean_score(y) - share * mean_score(z)) / gap

    _, *expected = crossed_interval(linear, [reached, lower, upper])
    assert (low - share, high - share) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("scores", "groups"),
    [(np.array([[4.0]]), None), (np.array([[3.0, 5.0]]), np.array([0, 1]))],
)
def test_where_nothing_varies_there_are_no_bounds(scores, groups):
    estimate, low, high = crossed_interval(mean_score, [scores], groups=groups)
    assert estimate == 4 and math.isnan(low) and math.isnan(high)
    assert all(math.isnan(value) for value in crossed_interval(mean_score, [np.zeros((2, 0))]))


def test_seeds_on_one_task_have_bounds():
    half = 12.7062
    found = crossed_interval(mean_score, [np.array([[3.0], [5.0]])])
    assert found == pytest.approx((4, 4 - half, 4 + half), rel=1e-5)


def test_a_probability_stays_one_and_has_no_bounds_where_all_pairs_agree():
    rng = np.random.default_rng(0)
    x, y = rng.normal(1.5, 1, size=(3, 30)), rng.normal(size=(3, 30))
    estimate, low, high = improvement_interval(x, y)
    assert 0 < low < estimate < high < 1
    turned = improvement_interval(y, x)
    assert turned == pytest.approx((1 - estimate, 1 - high, 1 - low))
    # At evens log odds are linear in the probability: their slope is 4.
    even = np.array([[1.0, -1.0], [3.0, -3.0]])
    assert improvement_interval(even, 0 * even[:1]).estimate == 0.5
    estimate, low, high = improvement_interval(x + 100, y)
    assert estimate == 1 and math.isnan(low) and math.isnan(high)


@pytest.mark.parametrize(
    ("problem", "mix", "runs", "num_tasks", "tasks"),
    [
        (MEAN, Mix(1, 1, 1), 3, 100, normal_tasks),
        (MEAN, Mix(0.3, 1, 1), 3, 100, normal_tasks),
        (MEAN, Mix(0, 1, 1), 3, 100, normal_tasks),
        (MEAN, Mix(1, 0, 1), 3, 20, normal_tasks),
        (MEAN, Mix(1, 1, 1), 2, 20, normal_tasks),
        (MEAN, Mix(0.3, 1, 1), 10, 20, normal_tasks),
        (MEAN, Mix(0.3, 1, 1), 3, 100, skewed_tasks),
        (DIFFERENCE, Mix(1, 1, 1), 3, 20, normal_tasks),
        (SHARE, Mix(1, 1, 1), 3, 20, normal_tasks),
        (SHARE, Mix(0.3, 1, 1), 3, 20, skewed_tasks),
        (IQM, Mix(1, 1, 1), 3, 20, normal_tasks),
        (WORST, Mix(1, 1, 1), 3, 20, normal_tasks),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(problem, mix, runs, num_tasks, tasks):
    found = coverage(problem, mix, runs, num_tasks, tasks=tasks, number=400)
    assert 93 <= found <= 98.5  # 95 %, give or take the chance of 400 data sets (1.1 %)


def test_log_odds_hold_the_probability_as_often_as_they_say():
    found = coverage(IMPROVEMENT, Mix(1, 1, 1), 3, 20, number=300, interval=log_odds)
    assert 93 <= found <= 98.5


def test_the_percentile_bootstrap_of_few_seeds_does_not():
    # The reason for t: drawing three seeds anew gives two thirds of their variance, and no tails.
    assert coverage(MEAN, Mix(1, 1, 1), 3, 20, number=300, interval=pigeonhole) < 87
