"""Adam's step follows the gradient of the surrogate, through the adaptation."""

from __future__ import annotations

import pytest
import torch
from support.meta_problem import meta_problem

from metarl.adaptation.base import linearise
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_rates import MetaSgd
from metarl.outer.adam import Adam
from metarl.outer.trpo import surrogate_gradient
from metarl.policies.params import expand, flatten, learned, statistics

FORMS = ("log_prob", "ratio")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("adaptation", [GradientStep(0.3, 0.5), MetaSgd(0.3)], ids=["MAML", "SGD"])
def test_the_first_step_of_adam_follows_the_gradient_of_trpos_surrogate(adaptation, form):
    given = meta_problem(adaptation, form, 2)
    start, theta = expand(given.theta, 3), learned(given.theta)
    linear = linearise(adaptation, start, given.steps)
    gradient, _, _ = surrogate_gradient(
        given.policy, linear.adapted, statistics(start), given.batches[-1], given.failed
    )
    ascent = {name: v.sum(0) for name, v in linear.transpose_product(gradient).items()}
    outer = Adam(learning_rate=0.01, adaptation_lr=0.05)
    new, optimizer, metrics = outer.update(given.theta, outer.init(theta), given.iteration())
    for name, g in ascent.items():
        torch.testing.assert_close(optimizer[f"adam.first.{name}"], -0.1 * g, rtol=1e-8, atol=1e-13)
        rate = 0.05 if name.startswith("adaptation.") else 0.01
        expected = theta[name] + rate * g / (g.abs() + 1e-8)
        torch.testing.assert_close(new[name], expected, rtol=0, atol=1e-8)
    assert list(new) == list(given.theta)
    assert all(torch.equal(new[n], v) for n, v in given.theta.items() if n not in theta)
    assert metrics["train/grad_norm"] == pytest.approx(float(flatten(ascent).norm()), rel=1e-8)
    assert metrics["train/step_scale"] == 1
