"""A task whose adaptation was not finite has no part in an update, and does not spoil it."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from support.meta_problem import meta_problem

from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_optimizer import LearnedOptimizer
from metarl.adaptation.learned_rates import LayerRates, MetaSgd
from metarl.adaptation.proximal import ProximalStep
from metarl.adaptation.subset import ContextStep, HeadStep
from metarl.outer.e_maml import EMaml, credit
from metarl.outer.maml_pp import MamlPlusPlus
from metarl.outer.promp import ProMp
from metarl.outer.reptile import Reptile
from metarl.outer.trpo import Trpo
from metarl.policies.params import is_finite, learned

UPDATES = [
    Trpo(curvature_fraction=1.0),
    ProMp(epochs=2, minibatches=3, inner_kl_penalty=0.1),
    EMaml(minibatches=1, exploration=0.5),
    MamlPlusPlus(minibatches=1, multi_step_until=0.5),
    Reptile(0.5),
]
ADAPTATIONS = [
    GradientStep(0.3),
    GradientStep(0.3, first_order=True),
    MetaSgd(0.3),
    LayerRates(0.3, steps=2),
    HeadStep(0.3),
    ContextStep(0.5),
    LearnedOptimizer(hidden_size=3, init_rate=0.3),
    ProximalStep(),
]


def poisoned(given, *tasks):
    """The problem with first episodes of these tasks from which no finite step can be taken."""
    first, *rest = given.batches
    advantages = first.advantages.clone()
    advantages[list(tasks)] = torch.inf
    first = dataclasses.replace(first, advantages=advantages)
    return dataclasses.replace(given, batches=[first, *rest], failures=tasks)


def update(outer, given, returns):
    optimizer = outer.init(learned(given.theta))
    return outer.update(given.theta, optimizer, given.iteration(returns, progress=0.2))


@pytest.mark.parametrize("adaptation", ADAPTATIONS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("outer", UPDATES, ids=lambda outer: type(outer).__name__)
def test_an_update_is_that_of_the_batch_without_the_task(outer, adaptation):
    given = meta_problem(adaptation, "log_prob", 2, context_size=2)
    spoiled = poisoned(given, 1)
    if not isinstance(adaptation, ProximalStep):  # whose solver skips what is not finite
        adapted = spoiled.adapted(spoiled.theta)
        assert [is_finite({n: v[m] for n, v in adapted.items()}) for m in range(3)] == [1, 0, 1]
    found = update(outer, spoiled, (1.0, 9.0, 4.0))
    expected = update(outer, given.of_tasks(0, 2), (1.0, 4.0))
    torch.testing.assert_close(found.params, expected.params, rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(found.optimizer, expected.optimizer, rtol=1e-7, atol=1e-10)
    # Some numbers are of all policies that collected, which stay finite.
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-6, abs=1e-9)
    moved = [n for n, v in given.theta.items() if not torch.equal(found.params[n], v)]
    assert moved or isinstance(adaptation, ContextStep)  # Reptile moves no context
    assert is_finite(found.params | found.optimizer)


@pytest.mark.parametrize("outer", UPDATES, ids=lambda outer: type(outer).__name__)
def test_if_all_tasks_failed_an_update_is_not_finite_and_so_refused(outer):
    given = poisoned(meta_problem(GradientStep(0.3), "log_prob", 1), 0, 1, 2)
    found = update(outer, given, (1.0, 2.0, 4.0))
    numbers = found.metrics.values()
    assert not (is_finite(found.params) and all(map(math.isfinite, numbers)))


def test_credit_is_standardised_over_the_tasks_that_did_not_fail():
    given = meta_problem(GradientStep(0.3), "log_prob", 1)
    given = dataclasses.replace(given, failures=(1,))
    found = credit(given.iteration(returns=(1.0, 100.0, 4.0)))
    assert found.tolist() == pytest.approx([-1.0, 0.0, 1.0])
