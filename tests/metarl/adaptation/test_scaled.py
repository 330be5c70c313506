"""Wider exploration: steps grow with its variance, so that they move a policy as far as before."""

from __future__ import annotations

import pytest
import torch
from support.meta_problem import off_policy_problem

from metarl.adaptation.adam_steps import AdamSteps
from metarl.adaptation.base import Batch, adapt
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_optimizer import LearnedOptimizer
from metarl.adaptation.learned_rates import LayerRates, MetaSgd
from metarl.adaptation.proximal import ProximalStep
from metarl.adaptation.subset import ContextStep, HeadStep
from metarl.methods.config import settings, with_settings
from metarl.methods.families import recipe
from metarl.methods.meta import METHODS
from metarl.outer.meta_gradient import OuterUpdate
from metarl.policies.params import acting, expand, weights

SCALED = (
    GradientStep(inner_lr=0.2),
    MetaSgd(init_rate=0.2),
    LayerRates(init_rate=0.2, steps=2),
    HeadStep(inner_lr=0.2),
    ContextStep(inner_lr=0.5),
    ProximalStep(strength=4.0, solver_lr=0.2, iterations=3),
    LearnedOptimizer(init_rate=0.2, hidden_size=3),
)


@pytest.mark.parametrize("adaptation", SCALED, ids=lambda a: type(a).__name__)
def test_a_loss_a_ninth_as_steep_is_descended_as_far_by_steps_nine_times_as_large(adaptation):
    made = off_policy_problem(GradientStep(), "ratio", 2, context_size=2)

    def adapted(adaptation, factor):
        own = adaptation.init(weights(made.theta), torch.Generator().manual_seed(0))
        theta = made.theta | {name: value.double() for name, value in own.items()}
        steps = [Batch(lambda p, step=step: factor * step.loss(p)) for step in made.steps]
        return acting(adapt(adaptation, expand(theta, made.num_tasks), steps))

    plain, wide = adapted(adaptation, 1.0), adapted(adaptation.scaled(9.0), 1 / 9)
    for name, value in plain.items():
        torch.testing.assert_close(wide[name], value, rtol=1e-6, atol=1e-8)


def test_steps_that_do_not_depend_on_the_gradients_size_stay():
    assert AdamSteps().scaled(9.0) == AdamSteps()


RATES = {
    "maml-trpo": {"inner.inner_lr": 0.9},
    "promp": {"inner.inner_lr": 0.9},
    "meta-sgd": {"inner.init_rate": 0.9},
    "maml++": {"inner.init_rate": 0.9},
    "learned-optimizer": {"inner.init_rate": 0.9},
    "imaml": {"inner.strength": 10 / 9, "inner.solver_lr": 0.9},
}


@pytest.mark.parametrize("method", RATES)
def test_a_deviation_three_times_as_large_makes_the_steps_nine_times_as_large(method):
    wide = with_settings(recipe("half-cheetah-velocity", method), {"policy.init_std": 3.0})
    found = settings(wide)
    for name, value in RATES[method].items():
        assert found[name] == pytest.approx(value, rel=1e-12)


def test_a_rate_that_is_given_too_stays_as_given():
    chosen = {"policy.init_std": 3.0, "inner.inner_lr": 0.2}
    assert settings(with_settings(recipe("half-cheetah-velocity"), chosen))["inner.inner_lr"] == 0.2


@pytest.mark.parametrize(
    "method", [m for m in METHODS if issubclass(type(recipe("navigation", m).outer), OuterUpdate)]
)
def test_every_recipe_begins_with_unit_deviation_which_the_rates_are_meant_for(method):
    for family in ("navigation", "half-cheetah-direction", "half-cheetah-payload-velocity"):
        assert recipe(family, method).policy.init_std == 1
