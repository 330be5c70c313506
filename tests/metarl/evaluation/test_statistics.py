import json
import math
from pathlib import Path

import numpy as np
import pytest

from metarl.evaluation.statistics import (
    bootstrap_interval,
    each_run,
    interquartile_mean,
    mean_interval,
    mean_score,
    probability_of_improvement,
    worst_tasks,
)

RLIABLE = json.loads(Path(__file__).with_name("rliable_fixtures.json").read_text())["cases"]
every_case = pytest.mark.parametrize("case", RLIABLE, ids=lambda case: case["name"])


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], 4.5),  # two dropped on each side
        ([100, 2, 3, 4, -50], 3.0),  # one on each side
        ([1, 2, 6], 3.0),  # too few to drop any
        ([7.5], 7.5),
    ],
)
def test_iqm_is_the_mean_of_the_middle_half(values, expected):
    assert interquartile_mean(np.array([values])) == expected
    assert interquartile_mean(np.array([values]).T) == expected  # runs and tasks count alike


def test_bootstrap_of_two_values_spans_both():
    # A resampled mean is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    assert mean_interval([0, 1], rng()) == (0.5, 0.0, 1.0)


def test_bootstrap_percentiles_are_those_of_the_exact_distribution():
    # The mean of a resample of (0, 0, 3) is Binomial(3, 1/3): P(3) = 1/27 = 3.7 %.
    runs = [np.array([[0.0], [0.0], [3.0]])]
    for level, high in ((0.95, 3), (0.90, 2)):
        found = bootstrap_interval(mean_score, runs, rng(), resamples=20_000, level=level)
        assert found == (1, 0, high)


def test_interval_is_the_normal_one_for_many_values_and_covers_the_truth_as_often_as_it_says():
    values = rng(1).normal(3.0, 2.0, size=400)
    estimate, low, high = mean_interval(values, rng())
    half_width = 1.96 * values.std() / 20
    assert estimate == pytest.approx(values.mean())
    assert (high - low, (high + low) / 2 - estimate) == pytest.approx(
        (2 * half_width, 0), abs=0.2 * half_width
    )
    samples = rng(2).normal(1.0, 2.0, size=(400, 60))
    intervals = [mean_interval(sample, rng(i)) for i, sample in enumerate(samples)]
    assert 0.91 <= np.mean([low <= 1.0 <= high for _, low, high in intervals]) <= 0.98


def test_groups_keep_their_sizes_in_every_resample_and_weigh_every_value_equally():
    # Within each group the spread is 1, between them 100: only the former is resampled.
    values, groups = [0, 1, 100, 101], np.array([0, 0, 1, 1])
    assert mean_interval(values, rng(), groups) == (50.5, 50.0, 51.0)
    _, low, high = mean_interval(values, rng())
    assert low < 10 and high > 90
    assert mean_interval([1, 1, 1, 5], rng(), np.array([0, 0, 0, 1])) == (2, 2, 2)


def test_a_generator_gives_the_intervals_of_version_0_1():
    values = np.arange(7.0) ** 2
    assert mean_interval(values, rng()) == (13.0, 4.425000000000007, 22.142857142857142)
    groups = np.array([0, 0, 1, 1, 1, 2, 2])
    assert mean_interval(values, rng(), groups) == (13.0, 9.714285714285714, 16.285714285714285)
    scores = np.arange(12.0).reshape(3, 4) ** 1.5
    found = bootstrap_interval(interquartile_mean, [scores], rng())
    assert found == (13.370184490387716, 5.476377882072809, 22.763198241767938)


@pytest.mark.parametrize(("values", "groups"), [([4.0], None), ([1.0, 7.0], [0, 1])])
def test_nothing_to_resample_has_no_bounds(values, groups):
    estimate, low, high = mean_interval(values, rng(), groups and np.array(groups))
    assert estimate == 4.0
    assert math.isnan(low) and math.isnan(high)


def test_without_values_there_is_no_mean():
    empty = np.array([], dtype=np.int64)
    for found in (
        mean_interval([], rng()),
        mean_interval([], rng(), empty),
        bootstrap_interval(mean_score, [np.zeros((2, 0))], rng()),
    ):
        assert np.isnan(found).all()


@every_case
def test_estimates_are_rliables(case):
    x, y = np.array(case["x"], dtype=float), np.array(case["y"], dtype=float)
    assert interquartile_mean(x) == pytest.approx(case["iqm"], rel=1e-12)
    assert mean_score(x) == pytest.approx(case["mean"], rel=1e-12)
    expected = case["probability_of_improvement"]
    assert probability_of_improvement(x, y) == pytest.approx(expected, rel=1e-12)


@every_case
def test_stratified_intervals_are_rliables_up_to_the_noise_of_resampling(case):
    x, y = np.array(case["x"], dtype=float), np.array(case["y"], dtype=float)
    for statistic, scores, name in (
        (interquartile_mean, [x], "iqm_interval"),
        (mean_score, [x], "mean_interval"),
        (probability_of_improvement, [x, y], "probability_interval"),
    ):
        found = bootstrap_interval(statistic, scores, rng(), resamples=20_000)
        low, high = case[name]
        # Percentiles of 2,000 or 20,000 resamples, theirs and ours, of values in coarse steps.
        assert found[1:] == pytest.approx((low, high), abs=0.06 * (high - low)), name


def test_leading_axes_are_resamples():
    stack = rng().normal(size=(7, 3, 10))
    other = rng(1).normal(size=(7, 2, 10))
    for statistic in (interquartile_mean, mean_score, worst_tasks):
        expected = [statistic(matrix) for matrix in stack]
        np.testing.assert_allclose(statistic(stack), expected, rtol=1e-12)
    pairs = [probability_of_improvement(a, b) for a, b in zip(stack, other, strict=True)]
    np.testing.assert_allclose(probability_of_improvement(stack, other), pairs, rtol=1e-12)


def test_worst_fifth_by_hand():
    # Means over the two runs: 5, 1, 4, 3, 2; the worst fifth of five tasks is one of them.
    scores = np.array([[4.0, 0.0, 4.0, 3.0, 2.0], [6.0, 2.0, 4.0, 3.0, 2.0]])
    assert worst_tasks(scores) == 1.0
    assert worst_tasks(scores, share=0.4) == 1.5
    assert worst_tasks(scores, share=0.3) == pytest.approx((1 + 0.5 * 2) / 1.5)  # 1.5 tasks
    assert worst_tasks(scores, share=1.0) == mean_score(scores) == 3.0


def test_probability_of_improvement_by_hand():
    x, y = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 5.0]])
    # Task 0: one of two pairs; task 1: two ties.
    assert probability_of_improvement(x, y) == 0.5
    assert probability_of_improvement(x + 10, y) == 1.0
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == 1.0


def test_every_run_alone():
    assert each_run(mean_score, np.array([[1.0, 3.0], [5.0, 6.0]])) == [2.0, 5.5]


def test_a_bad_seed_does_not_widen_the_bootstrap_interval():
    # Three policies on 200 tasks that are all alike; one of the policies is worse on every task.
    scores = np.repeat([[0.0], [0.0], [-9.0]], 200, axis=1)
    _, low, high = bootstrap_interval(mean_score, [scores], rng())
    assert high - low < 2


def test_matrices_of_different_tasks_are_refused():
    with pytest.raises(ValueError, match="tasks differ"):
        bootstrap_interval(mean_score, [np.zeros((2, 3)), np.zeros((2, 4))], rng())
