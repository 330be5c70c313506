"""E-MAML credits the episodes adapted on with the return that they led to."""

from __future__ import annotations

import math

import pytest
import torch
from support.meta_problem import displaced, double, meta_problem

from metarl.adaptation.gradient import GradientStep
from metarl.outer.clipped_steps import measure
from metarl.outer.e_maml import EMaml, credit
from metarl.outer.minibatches import minibatches
from metarl.policies.gaussian import log_prob


def test_credit_is_standardised_over_the_meta_batch_and_zero_for_a_task_without_returns():
    given = meta_problem(GradientStep(0.3), "log_prob", 1, num_tasks=4)
    found = credit(given.iteration(returns=(1.0, 2.0, math.nan, 4.0)))
    # Mean 7/3 of three; the root of (16 + 1 + 0 + 25) / 9 / 4 over all four.
    expected = double(-4 / 3, -1 / 3, 0, 5 / 3) / math.sqrt(42 / 36)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)
    all_sound = credit(given.iteration(returns=(3.0, -1.0, 0.5, 7.0)))
    assert float(all_sound.mean()) == pytest.approx(0, abs=1e-12)
    assert float(all_sound.std(unbiased=False)) == pytest.approx(1)
    same = credit(given.iteration(returns=(3.0, 3.0, 3.0, 3.0)))
    assert same.tolist() == [0, 0, 0, 0]


def test_exploration_credits_the_episodes_adapted_on_and_no_others():
    given = meta_problem(GradientStep(0.3), "log_prob", 2)
    theta, iteration = displaced(given), given.iteration()
    (data,) = minibatches(iteration, 1)
    losses = [
        measure(EMaml(exploration=weight).loss, theta, iteration, data)[0] for weight in (0.0, 2.0)
    ]
    batch = given.batches[0]
    scores = log_prob(given.policy.distribution(theta, batch.rollouts), batch.rollouts.actions)
    valid = [scores[m][batch.weights[m] > 0].mean() for m in range(3)]
    # Returns 1, 2, 4: mean 7/3, root of the mean square sqrt(42 / 27).
    weights = [value / math.sqrt(42 / 27) for value in (-4 / 3, -1 / 3, 5 / 3)]
    expected = -2.0 * sum(w * score for w, score in zip(weights, valid, strict=True)) / 3
    torch.testing.assert_close(losses[1] - losses[0], expected, rtol=1e-7, atol=1e-12)
