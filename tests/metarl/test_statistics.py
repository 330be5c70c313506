import math

import numpy as np
import pytest

from metarl.statistics import bootstrap_interval, iqm


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], 4.5),  # two dropped on each side
        ([100, 2, 3, 4, -50], 3.0),  # one on each side
        ([1, 2, 6], 3.0),  # too few to drop any
        ([7.5], 7.5),
        ([[0, 1], [2, 9]], 1.5),
    ],
)
def test_iqm_is_the_mean_of_the_middle_half(values, expected):
    assert iqm(values) == pytest.approx(expected, abs=0)


def test_bootstrap_of_two_values_spans_both():
    # A resampled mean is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    assert bootstrap_interval([0, 1], rng()) == (0.5, 0.0, 1.0)


def test_bootstrap_percentiles_are_those_of_the_exact_distribution():
    # The mean of a resample of (0, 0, 3) is Binomial(3, 1/3): P(3) = 1/27 = 3.7 %.
    assert bootstrap_interval([0, 0, 3], rng(), resamples=20_000, level=0.95) == (1, 0, 3)
    assert bootstrap_interval([0, 0, 3], rng(), resamples=20_000, level=0.90) == (1, 0, 2)


def test_bootstrap_of_many_values_is_the_normal_interval():
    values = rng(1).normal(3.0, 2.0, size=400)
    estimate, low, high = bootstrap_interval(values, rng(), resamples=20_000)
    half_width = 1.96 * values.std() / 20
    assert estimate == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * half_width, rel=0.03)
    assert (high + low) / 2 == pytest.approx(estimate, abs=0.1 * half_width)


def test_interval_covers_the_truth_as_often_as_it_says():
    samples = rng(2).normal(1.0, 2.0, size=(400, 60))
    intervals = [bootstrap_interval(sample, rng(i), 400) for i, sample in enumerate(samples)]
    covered = np.mean([low <= 1.0 <= high for _, low, high in intervals])
    assert 0.91 <= covered <= 0.98


def test_strata_keep_their_sizes_in_every_resample():
    # Within each stratum the spread is 1, between them 100: only the former is resampled.
    values, strata = [0, 1, 100, 101], [0, 0, 1, 1]
    assert bootstrap_interval(values, rng(), strata=strata) == (50.5, 50.0, 51.0)
    _, low, high = bootstrap_interval(values, rng())
    assert low < 10 and high > 90


def test_strata_of_different_sizes_weigh_every_value_equally():
    estimate, low, high = bootstrap_interval([1, 1, 1, 5], rng(), strata=[0, 0, 0, 1])
    assert (estimate, low, high) == (2, 2, 2)


def test_same_generator_gives_same_interval():
    values = rng(3).normal(size=10)
    assert bootstrap_interval(values, rng(5)) == bootstrap_interval(values, rng(5))


@pytest.mark.parametrize(("values", "strata"), [([4.0], None), ([1.0, 7.0], [0, 1])])
def test_nothing_to_resample_has_no_bounds(values, strata):
    estimate, low, high = bootstrap_interval(values, rng(), strata=strata)
    assert estimate == 4.0
    assert math.isnan(low) and math.isnan(high)


def test_no_values_have_no_mean():
    assert all(math.isnan(value) for value in bootstrap_interval([], rng()))
