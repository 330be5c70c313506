"""Minibatches hold every episode once, and the adaptation steps on each as on all."""

from __future__ import annotations

import pytest
import torch
from support.meta_problem import meta_problem

from metarl.adaptation.base import adapt
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_rates import MetaSgd
from metarl.adaptation.subset import ContextStep
from metarl.outer.clipped_steps import differentiate
from metarl.outer.minibatches import minibatches
from metarl.outer.promp import ProMp
from metarl.policies.params import expand, flatten

FORMS = ("log_prob", "ratio")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "adaptation", [GradientStep(0.3), MetaSgd(0.3), ContextStep(0.5)], ids=["MAML", "SGD", "CAVIA"]
)
def test_every_minibatch_adapts_as_all_of_the_data_did(adaptation, form):
    given = meta_problem(adaptation, form, 2, context_size=2)
    whole = given.adapted(given.theta)
    for part in minibatches(given.iteration(), 3):
        found = adapt(adaptation, expand(given.theta, 3), part.steps)
        for name, value in whole.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-12)


def test_every_episode_is_in_one_minibatch():
    given = meta_problem(GradientStep(0.3), "ratio", 1, episodes=6)
    parts = minibatches(given.iteration(), 4)
    assert [part.batches[0].weights.shape[1] for part in parts] == [2, 2, 1, 1]
    for k, whole in enumerate(given.batches):
        seen = torch.cat([part.batches[k].rollouts.observations for part in parts], dim=1)
        for m in range(3):
            expected = {tuple(o) for o in whole.rollouts.observations[m].flatten(0, 1).tolist()}
            assert {tuple(o) for o in seen[m].flatten(0, 1).tolist()} == expected
            assert seen[m][..., 0].numel() == len(expected)
    for part in parts:
        for k, batch in enumerate(part.batches):
            dist = given.policy.distribution(given.policies[k], batch.rollouts)
            torch.testing.assert_close(part.old[k].mean, dist.mean, rtol=0, atol=1e-14)
    # The mean over the parts of a weighted sum is that of all of the data.
    for k, whole in enumerate(given.batches):
        found = [(p.batches[k].weights * p.batches[k].advantages).sum((1, 2)) for p in parts]
        expected = (whole.weights * whole.advantages).sum((1, 2))
        torch.testing.assert_close(torch.stack(found).mean(0), expected)


def test_no_minibatch_is_empty_where_there_are_fewer_episodes():
    given = meta_problem(GradientStep(0.3), "ratio", 1, episodes=3)
    assert len(minibatches(given.iteration(), 5)) == 3


def test_gradients_of_minibatches_average_to_that_of_the_whole_at_first_order():
    """Nothing is estimated on the part if the derivative of the step is the identity."""
    given = meta_problem(GradientStep(0.3, first_order=True), "log_prob", 2, num_invalid=0)
    outer = ProMp(inner_kl_penalty=0.5)

    def mean_gradient(count):
        parts = minibatches(given.iteration(), count)
        found = [differentiate(outer.loss, given.theta, given.iteration(), p)[1] for p in parts]
        return torch.stack([flatten(gradient) for gradient in found]).mean(0)

    torch.testing.assert_close(mean_gradient(3), mean_gradient(1), rtol=0, atol=1e-12)
