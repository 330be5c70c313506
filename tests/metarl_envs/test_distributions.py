"""Distributions: inside their supports, and as uniform as they say."""

from __future__ import annotations

import math

import pytest
import torch

from metarl_envs import InputError
from metarl_envs.distributions import (
    Choice,
    LogUniform,
    Ring,
    SquareFrame,
    Uniform,
    interval,
    lowest,
    overlap,
    within_any,
)

N = 4000
# Five standard deviations of a share of N samples.
TOLERANCE = 5 * 0.5 / math.sqrt(N)
POINTS = (Ring(0.0, 3.0), Ring(3.0, 4.0), SquareFrame(0.5, 0.75))
NUMBERS = (
    interval(-1.0, 2.0),
    Uniform(((-2.0, -1.0), (3.0, 6.0))),
    LogUniform(1.5, ((-3.0, 3.0),)),
    LogUniform(1.3, ((-4.0, -3.0), (3.0, 4.0))),
    Choice((-1.0, 1.0)),
    Choice((0.0, 1.0, 2.0)),
)


@pytest.mark.parametrize("distribution", POINTS + NUMBERS, ids=repr)
def test_samples_lie_in_the_support(distribution, generator):
    shape = (2,) if distribution in POINTS else (3,)
    samples = distribution.sample(N, shape, generator)
    assert samples.shape == (N, *shape)
    assert samples.dtype == torch.float64
    assert distribution.contains(samples).shape == samples.shape
    assert distribution.contains(samples).all()


def share(flags: torch.Tensor) -> float:
    return flags.double().mean().item()


def test_uniform_weighs_intervals_by_their_length(generator):
    x = Uniform(((-2.0, -1.0), (3.0, 6.0))).sample(N, (), generator)
    assert share(x < 0) == pytest.approx(0.25, abs=TOLERANCE)
    assert share(x < 4) == pytest.approx(0.5, abs=TOLERANCE)


def test_log_uniform_is_uniform_in_the_exponent(generator):
    x = LogUniform(1.5, ((-3.0, 3.0),)).sample(N, (), generator)
    assert share(x < 1) == pytest.approx(0.5, abs=TOLERANCE)
    assert share(x < 1.5**1.5) == pytest.approx(0.75, abs=TOLERANCE)
    assert x.min() > 1.5**-3
    assert x.max() < 1.5**3


def test_ring_is_uniform_by_area(generator):
    radius = Ring(0.0, 3.0).sample(N, (2,), generator).norm(dim=1)
    assert share(radius < 3 / math.sqrt(2)) == pytest.approx(0.5, abs=TOLERANCE)
    points = Ring(3.0, 4.0).sample(N, (2,), generator)
    assert share(points.norm(dim=1) < math.sqrt(12.5)) == pytest.approx(0.5, abs=TOLERANCE)
    assert share(points[:, 0] > points[:, 1]) == pytest.approx(0.5, abs=TOLERANCE)


def test_square_frame_is_uniform_by_area(generator):
    points = SquareFrame(0.5, 0.75).sample(N, (2,), generator)
    # The outer half of the area lies beyond max(|x|, |y|) = sqrt((0.5^2 + 0.75^2) / 2).
    half = math.sqrt((0.25 + 0.5625) / 2)
    assert share(points.abs().amax(dim=1) > half) == pytest.approx(0.5, abs=TOLERANCE)
    # Left and right strips with their corners have 2 * 0.25 * 1.5 of the 4 * 0.25 * 1.25.
    assert share(points[:, 0].abs() > 0.5) == pytest.approx(0.6, abs=TOLERANCE)
    for axis in (0, 1):
        assert share(points[:, axis] > 0) == pytest.approx(0.5, abs=TOLERANCE)


def test_choice_is_balanced_and_each_draw_uniform(generator):
    for n in (1, 7, 40):
        counts = Choice((0.0, 1.0, 2.0)).sample(n, (), generator).long().bincount(minlength=3)
        assert counts.max() - counts.min() <= 1
    first = torch.stack([Choice((0.0, 1.0, 2.0)).sample(4, (), generator) for _ in range(N)])
    for position in range(4):
        for value in range(3):
            expected = pytest.approx(1 / 3, abs=TOLERANCE)
            assert share(first[:, position] == value) == expected


def test_contains_refuses_what_is_outside():
    assert not interval(0.0, 1.0).contains(torch.tensor([1.1, -0.1, torch.nan])).any()
    assert not LogUniform(2.0, ((-1.0, 1.0),)).contains(torch.tensor([0.4, 2.1, -1.0, 0.0])).any()
    assert not Choice((-1.0, 1.0)).contains(torch.tensor([0.0, 0.99])).any()
    assert not Ring(3.0, 4.0).contains(torch.tensor([[0.0, 2.9], [3.0, 3.0]])).any()
    assert not SquareFrame(0.5, 0.75).contains(torch.tensor([[0.4, 0.4], [0.8, 0.0]])).any()
    assert LogUniform(1.5, ((-3.0, 3.0),)).contains(torch.tensor([3.375])).all()


def test_within_any_judges_entries_one_by_one_but_points_whole():
    scales = [interval(0.5, 2.0), interval(2.0, 3.0)]
    assert within_any(scales, torch.tensor([[1.0, 2.5], [1.0, 4.0]])).tolist() == [
        [True, True],
        [True, False],
    ]
    goal = [Ring(0.0, 1.0), Ring(2.0, 3.0)]
    assert within_any(goal, torch.tensor([[0.5, 1.4]])).tolist() == [[False, False]]


def test_bad_definitions_are_refused(generator):
    with pytest.raises(ValueError, match="low < high"):
        interval(1.0, 1.0)
    for distribution in POINTS:
        with pytest.raises(ValueError, match="point"):
            distribution.sample(1, (3,), generator)


@pytest.mark.parametrize(
    ("distribution", "values", "expected"),
    [
        (interval(2.0, 6.0), [2.0, 5.0, 8.0], [[-1.0], [0.5], [2.0]]),
        (Uniform(((0.0, 1.0), (3.0, 4.0))), [0.0, 3.0], [[-1.0], [0.5]]),
        (LogUniform(2.0, ((-3.0, 3.0),)), [1 / 8, 1.0, 4.0, 16.0], [[-1], [0], [2 / 3], [4 / 3]]),
        (Choice((-1.0, 1.0)), [1.0, -1.0, 0.0], [[0, 1], [1, 0], [0, 0]]),
        (Choice((0.0, 1.0)), [[1.0, 0.0]], [[0, 1, 1, 0]]),  # a vector: one group per entry
        (Ring(1.0, 2.0), [[0.0, 2.0]], [[0.0, 1.0]]),
        (SquareFrame(0.0, 0.5), [[-0.5, 0.1]], [[-1.0, 0.2]]),
    ],
)
def test_values_as_a_network_reads_them(distribution, values, expected):
    found = distribution.normalised(torch.tensor(values, dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (interval(0.0, 2.0), interval(2.0, 3.0), False),  # end points touch
        (interval(0.0, 2.0), interval(1.9999, 3.0), True),
        (interval(0.0, 2.0), interval(0.5, 1.0), True),
        (interval(0.0, 2.0), interval(0.0, 2.0), True),
        (interval(-2.0, 2.0), Uniform(((-3.0, -2.0), (2.0, 3.0))), False),
        (Uniform(((0.0, 1.0), (2.0, 3.0))), interval(1.0, 2.0), False),
        (Uniform(((0.0, 1.0), (2.0, 3.0))), Uniform(((1.0, 2.0), (2.5, 4.0))), True),
        (LogUniform(1.3, ((-3.0, 3.0),)), LogUniform(1.3, ((-4.0, -3.0), (3.0, 4.0))), False),
        (LogUniform(1.3, ((-3.0, 3.0),)), LogUniform(1.3, ((2.9, 4.0),)), True),
        (LogUniform(1.1, ((-2.0, 2.0),)), interval(1.21, 3.0), False),  # 1.1**2 is a little more
        (LogUniform(0.5, ((-1.0, 1.0),)), interval(2.0, 3.0), False),
        (LogUniform(0.5, ((-1.0, 1.0),)), interval(1.9, 3.0), True),
        (Choice((0.0, 1.0)), Choice((2.0, 3.0)), False),
        (Choice((0.0, 1.0)), Choice((2.0, 1.0)), True),
        (interval(0.0, 2.0), Choice((2.0, 3.0)), False),
        (interval(0.0, 2.0), Choice((1.5, 3.0)), True),
        (Choice((0.0, 1.0)), interval(1.0, 2.0), False),
        (Choice((0.0, 1.0)), interval(0.5, 2.0), True),
        (Ring(0.0, 3.0), Ring(3.0, 4.0), False),
        (Ring(0.0, 3.0), Ring(2.999, 4.0), True),
        (interval(-0.5, 0.5), SquareFrame(0.5, 0.75), False),
        (interval(-0.5, 0.5), SquareFrame(0.499, 0.75), True),
        (interval(0.0, 0.5), Ring(0.5, 1.0), True),  # in the corner of the square
        (interval(0.01, 0.02), Ring(0.0, 100.0), True),
    ],
)
def test_supports_overlap_where_they_share_more_than_end_points(one, other, shared):
    planar = any(isinstance(d, Ring | SquareFrame) for d in (one, other))
    for shape in [(2,)] if planar else [(), (2,)]:
        assert overlap(one, other, shape) is shared
        assert overlap(other, one, shape) is shared


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Uniform(()), "intervals = (): must be at least one (low, high)"),
        (lambda: LogUniform(2.0, ((1.0, 1.0),)), "exponents: interval [1.0, 1.0] must have low"),
        (lambda: LogUniform(1, ((0.0, 1.0),)), "base = 1.0: must be greater than 0, and not 1"),
        (lambda: Choice(()), "options = (): must be at least one number"),
        (lambda: Ring(2.0, 1.0), "inner = 2.0, outer = 1.0: must be 0 <= inner < outer"),
        (lambda: SquareFrame(-1, 1), "inner = -1.0, outer = 1.0: must be 0 <= inner < outer"),
    ],
)
def test_supports_that_cannot_be_are_refused_by_value(make, problem):
    with pytest.raises(InputError) as error:
        make()
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("distribution", "least"),
    [
        (Uniform(((1.0, 2.0), (-3.0, -1.0))), -3.0),
        (LogUniform(0.5, ((-1.0, 2.0),)), 0.25),
        (Choice((4.0, -2.0)), -2.0),
        (interval(0.0, 1.0), 0.0),
    ],
)
def test_the_lowest_value_is_the_end_of_the_support(distribution, least):
    assert lowest(distribution, ()) == least


def test_the_lowest_value_of_points_is_nearly_the_end():
    assert lowest(Ring(1.0, 2.0), (2,)) == pytest.approx(-2.0, abs=0.01)
