"""The check of an adaptation: false alarms and catches, by the t distribution and by simulation."""

import math

import numpy as np
import pytest

from metarl.deploy.check import fell, noise_margin


def test_a_fall_is_one_by_more_than_the_noise_before():
    before = [10.0, 12.0, 8.0, 10.0]
    # Sum of squares 8 over 3 degrees of freedom; t = 2.353.
    margin = 2.3534 * math.sqrt(8 / 3) * math.sqrt(1 / 4 + 1 / 2)
    assert noise_margin(before, 2) == pytest.approx(margin, rel=1e-4)
    assert fell(before, [10 - margin - 1.1, 10 - margin + 0.9])[0]
    assert not fell(before, [10 - margin - 0.9, 10 - margin + 1.1])[0]
    assert not fell(before, [100.0, 90.0])[0]


def test_where_nothing_is_known_of_the_noise_any_fall_counts():
    assert fell([10.0], [9.9, 9.9]) == (True, 0.0)
    assert not fell([10.0], [10.1, 10.2])[0]
    assert fell([10.0, 11.0], [])[0]


@pytest.mark.parametrize(
    ("before", "after", "caught"),
    [(2, 2, 0.56), (3, 2, 0.95), (5, 2, 0.999), (5, 5, 1.0), (20, 2, 1.0)],
)
def test_false_alarms_are_one_in_twenty_and_falls_are_caught(before, after, caught):
    """`caught`: of falls by five standard deviations."""
    rng, times = np.random.default_rng(0), 4000
    old, new = rng.normal(size=(times, before)), rng.normal(size=(times, after))
    alarms = np.mean([fell(a, b)[0] for a, b in zip(old, new, strict=True)])
    catches = np.mean([fell(a, b - 5)[0] for a, b in zip(old, new, strict=True)])
    assert alarms == pytest.approx(0.05, abs=0.012)
    assert catches == pytest.approx(caught, abs=0.03)
