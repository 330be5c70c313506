"""MAML++ weighs the policies after every step, less and less."""

from __future__ import annotations

import pytest
import torch
from support.meta_problem import displaced, meta_problem

from metarl.adaptation.gradient import GradientStep
from metarl.outer.clipped_steps import measure
from metarl.outer.maml_pp import MamlPlusPlus
from metarl.outer.minibatches import minibatches
from metarl.policies.gaussian import log_prob
from metarl.policies.params import expand


@pytest.mark.parametrize(
    ("until", "K", "progress", "expected"),
    [
        (0.0, 1, 0.0, [1]),
        (0.0, 3, 0.5, [0, 0, 1]),
        (0.5, 1, 0.0, [1]),
        (0.5, 2, 0.0, [1 / 2, 1 / 2]),
        (0.5, 3, 0.0, [1 / 3, 1 / 3, 1 / 3]),
        (0.5, 2, 0.25, [1 / 4, 3 / 4]),
        (0.5, 2, 0.5, [0, 1]),
        (0.5, 2, 0.9, [0, 1]),
        (1.0, 2, 0.9, [0.05, 0.95]),
    ],
)
def test_earlier_policies_count_equally_at_first_and_fade(until, K, progress, expected):
    found = MamlPlusPlus(multi_step_until=until).step_weights(K, progress)
    assert found == pytest.approx(expected)
    assert sum(found) == pytest.approx(1)


def test_the_multi_step_loss_is_that_of_every_policy_by_its_weight():
    given = meta_problem(GradientStep(0.3, inner_lr_decay=0.5), "ratio", 2)
    theta, iteration = displaced(given), given.iteration(progress=0.2)
    (data,) = minibatches(iteration, 1)
    state, by_hand = expand(theta, 3), 0.0
    for k, weight in ((0, 0.0), (1, 0.3), (2, 0.7)):
        batch = given.batches[k]
        r = torch.exp(
            log_prob(given.policy.distribution(state, batch.rollouts), batch.rollouts.actions)
            - batch.rollouts.log_probs
        )
        gain = torch.minimum(r * batch.advantages, r.clamp(0.8, 1.2) * batch.advantages)
        by_hand -= weight * (gain * batch.weights).sum((1, 2)).mean()
        if k < 2:
            state = given.adaptation.step(state, given.steps[k], k)
    outer = MamlPlusPlus(clip=0.2, multi_step_until=0.5, inner_kl_penalty=0.0)
    loss, _ = measure(outer.loss, theta, iteration, data)
    torch.testing.assert_close(loss, by_hand, rtol=1e-10, atol=1e-12)
