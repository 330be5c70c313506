"""TRPO over learned rates: the weights inside the trust region, the rates by Adam."""

from __future__ import annotations

import pytest
import torch
from support.meta_problem import meta_problem

from metarl.adaptation.base import linearise
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_rates import LayerRates, MetaSgd
from metarl.outer.trpo import Trpo, evaluate, surrogate_gradient
from metarl.policies.params import ADAPTATION, Params, expand, learned, statistics, weights

MOMENTS = ("first", "second")
RATES = [MetaSgd(0.3), LayerRates(0.3, steps=2)]
OUTER = Trpo(curvature_fraction=1.0, adaptation_lr=0.01)


def own(params: Params) -> Params:
    return {name: value for name, value in params.items() if name.startswith(ADAPTATION)}


def ascent(given) -> Params:
    """Gradient of the mean post-adaptation surrogate at theta: every learned entry."""
    start = expand(given.theta, given.num_tasks)
    linear = linearise(given.adaptation, start, given.steps)
    post = given.batches[-1]
    gradient, _, _ = surrogate_gradient(
        given.policy, linear.adapted, statistics(start), post, given.failed
    )
    return {name: v.sum(0) for name, v in linear.transpose_product(gradient).items()}


@pytest.mark.parametrize("form", ["log_prob", "ratio"])
@pytest.mark.parametrize("adaptation", RATES, ids=str)
def test_rates_take_a_step_of_adam_up_the_meta_gradient(adaptation, form):
    given = meta_problem(adaptation, form, num_steps=2)
    optimizer = OUTER.init(learned(given.theta))
    new, optimizer, _ = OUTER.update(given.theta, optimizer, given.iteration())
    gradient = ascent(given)
    assert own(gradient)
    for name, g in own(gradient).items():
        # Adam's first step: its moments are those of one gradient.
        expected = given.theta[name] + 0.01 * g / (g.abs() + 1e-8)
        torch.testing.assert_close(new[name], expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(optimizer[f"adam.first.{name}"], -0.1 * g, rtol=1e-9, atol=0)
    assert float(optimizer["adam.count"]) == 1


@pytest.mark.parametrize("adaptation", RATES, ids=str)
def test_the_weights_step_is_that_of_trpo_with_fixed_rates(adaptation):
    given = meta_problem(adaptation, "log_prob", num_steps=2)
    fixed_rate = meta_problem(GradientStep(0.3), "log_prob", num_steps=2)
    for name, value in weights(given.theta).items():
        assert torch.equal(value, fixed_rate.theta[name])
    new, _, metrics = OUTER.update(given.theta, OUTER.init(learned(given.theta)), given.iteration())
    expected, _, of_fixed = OUTER.update(fixed_rate.theta, {}, fixed_rate.iteration())
    for name, value in weights(new).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-7)
    assert metrics == pytest.approx(of_fixed, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("adaptation", RATES, ids=str)
def test_the_weights_stay_inside_the_trust_region_and_improve_the_surrogate(adaptation):
    given = meta_problem(adaptation, "ratio", num_steps=2)
    new, _, metrics = OUTER.update(given.theta, OUTER.init(learned(given.theta)), given.iteration())
    post = given.batches[-1]
    old = given.policy.distribution(given.adapted(given.theta), post.rollouts)

    def at(theta: Params):
        return evaluate(given.policy, given.adapted(theta), post, old, given.failed)

    start, moved = at(given.theta), at(new | own(given.theta))
    assert moved.surrogate > start.surrogate
    assert 0.2 * OUTER.max_kl < float(moved.kl) <= OUTER.max_kl
    assert metrics["train/approx_kl"] == pytest.approx(float(moved.kl), rel=1e-9)
    assert metrics["train/improvement"] == pytest.approx(
        float(moved.surrogate - start.surrogate), rel=1e-9
    )
    assert list(new) == list(given.theta)


def test_adam_remembers_the_rates_alone_and_goes_on():
    given = meta_problem(MetaSgd(0.3), "log_prob", num_steps=1)
    optimizer = OUTER.init(learned(given.theta))
    remembered = {f"adam.{moment}.{name}" for name in own(given.theta) for moment in MOMENTS}
    assert optimizer.keys() == remembered | {"adam.count"}
    theta = given.theta
    for count in (1, 2, 3):
        theta, optimizer, _ = OUTER.update(theta, optimizer, given.iteration())
        assert optimizer.keys() == remembered | {"adam.count"}
        assert float(optimizer["adam.count"]) == count
    assert all(float(optimizer[name].abs().max()) > 0 for name in remembered)
    assert Trpo().init(weights(given.theta)) == {}
