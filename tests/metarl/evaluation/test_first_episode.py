"""The time until a policy acts like the oracle, on rewards by step that are given."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metarl.evaluation.first_episode import (
    definition,
    seconds_text,
    seconds_to_gain,
    seconds_to_oracle,
    window_steps,
    windowed,
)

ROBUST, ORACLE, T = np.zeros(100), np.ones(100), 100


def late(steps: int, level: float = 1.0) -> np.ndarray:
    """The robust policy's reward for some steps, then `level`."""
    return np.r_[np.zeros(steps), np.full(T - steps, level)]


def test_windows_are_a_twentieth_of_the_episode_and_look_ahead():
    assert (window_steps(100), window_steps(200), window_steps(3)) == (5, 10, 1)
    found = windowed(np.arange(20.0).reshape(1, 20))
    np.testing.assert_array_equal(found, np.arange(20.0).reshape(1, 20))
    found = windowed(np.arange(100.0))
    np.testing.assert_array_equal(found[[0, 95]], [2, 97])


@pytest.mark.parametrize(
    ("own", "steps"),
    [
        (ORACLE, 0),
        (late(30), 30),  # a window of 5 with one late step is behind by 20 % of the gap
        (late(30, 0.91), 30),
        (late(30, 0.89), math.inf),
        (late(30, 5.0), 26),  # one step of 5 makes up for four of 0 in a window
        (ROBUST, math.inf),
        (np.r_[late(30)[:60], 0, late(30)[61:]], 61),  # a later lapse
        (np.r_[np.ones(99), 0], math.inf),  # not to the end
    ],
)
def test_seconds_to_oracle(own, steps):
    assert seconds_to_oracle(own, ROBUST, ORACLE, 0.05) == pytest.approx(steps * 0.05)


def test_seconds_to_gain():
    lapse = np.ones(T)
    lapse[60:63] = -2.0  # the window from 62 on has one step of -2 and four of 1
    rewards = np.stack([np.ones(T), late(30), lapse, -np.ones(T), 1.0 - 2.0 * late(96)])
    found = seconds_to_gain(rewards, 0.05)
    np.testing.assert_allclose(found, [0, 1.3, 3.1, math.inf, math.inf])


def test_a_tenth_of_a_gap_that_is_the_mean_over_the_episode_counts():
    # Robust is 1 behind in one half alone: gap 0.5, of which a tenth is 0.05.
    robust = np.r_[np.ones(50), np.zeros(50)]
    assert seconds_to_oracle(late(0, 0.96), robust, ORACLE, 1) == 0
    assert seconds_to_oracle(late(0, 0.94), robust, ORACLE, 1) == math.inf
    assert seconds_to_oracle(ORACLE, ORACLE, ORACLE, 1) == math.inf


def test_texts_name_the_window():
    assert seconds_text(0.4512) == "after 0.45 s"
    assert seconds_text(0) == "from the start"
    assert seconds_text(math.inf) == "not within the episode"
    assert "no window of 10 steps (0.5 s)" in definition(200, 0.05)
    assert "more than 10 % of the gap" in definition(200, 0.05)
