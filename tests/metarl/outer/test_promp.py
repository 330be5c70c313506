"""ProMP's loss by hand; its gradient, E-MAML's and MAML++'s by finite differences."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from support.helpers import batch_of, rollouts_of
from support.meta_problem import displaced, double, finite_difference, meta_problem, rollouts_with

from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import InnerLoop
from metarl.adaptation.learned_rates import LayerRates, MetaSgd
from metarl.adaptation.subset import ContextStep
from metarl.outer.clipped_steps import differentiate, measure
from metarl.outer.e_maml import EMaml
from metarl.outer.maml_pp import MamlPlusPlus
from metarl.outer.meta_gradient import Iteration
from metarl.outer.minibatches import minibatches
from metarl.outer.promp import ProMp
from metarl.policies.gaussian import log_prob
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import expand, flatten, learned, unflatten

FORMS = ("log_prob", "ratio")


def ratios(given, theta):
    """pi / pi_old on the valid steps after each adaptation step."""
    state, found = expand(theta, given.num_tasks), []
    for k, (step, batch) in enumerate(zip(given.steps, given.batches[1:], strict=True)):
        state = given.adaptation.step(state, step, k)
        dist = given.policy.distribution(state, batch.rollouts)
        log_ratios = log_prob(dist, batch.rollouts.actions) - batch.rollouts.log_probs
        found.append(log_ratios[batch.weights > 0].exp())
    return torch.cat(found).detach()


def clip_off_the_corners(found):
    """A clip near 0.2 whose corners no ratio is close to: the loss is smooth there."""
    clips = torch.linspace(0.15, 0.3, 100, dtype=torch.float64)
    distance = ((found - 1).abs() - clips[:, None]).abs().amin(1)
    assert float(distance.max()) > 5e-4
    return float(clips[distance.argmax()])


@pytest.mark.parametrize(
    ("outer", "term"),
    [
        (ProMp(inner_kl_penalty=0.7), "inner_kl_penalty"),
        (EMaml(inner_kl_penalty=0.7, exploration=0.5), "exploration"),
        (MamlPlusPlus(inner_kl_penalty=0.7, multi_step_until=0.5), "multi_step_until"),
    ],
    ids=["promp", "e-maml", "maml++"],
)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_steps", [1, 2])
@pytest.mark.parametrize(
    "adaptation",
    [GradientStep(0.3), MetaSgd(0.3), LayerRates(0.3, steps=2), ContextStep(0.5)],
    ids=lambda adaptation: type(adaptation).__name__,
)
def test_gradient_equals_finite_differences_where_every_term_counts(
    adaptation, num_steps, form, outer, term
):
    context_size = 2 if isinstance(adaptation, ContextStep) else 0
    given = meta_problem(adaptation, form, num_steps, context_size=context_size)
    params, iteration = displaced(given), given.iteration(progress=0.2)
    theta = learned(params)
    (data,) = minibatches(iteration, 1)
    # Away from the policies that collected: many ratios are clipped, many are not.
    found = ratios(given, params)
    clip = clip_off_the_corners(found)
    assert 0.1 < float(((found - 1).abs() > clip).float().mean()) < 0.9
    outer = dataclasses.replace(outer, clip=clip)

    def loss(vector):
        return measure(outer.loss, params | unflatten(vector, theta), iteration, data)[0]

    numeric = unflatten(finite_difference(loss, flatten(theta)), theta)
    _, exact = differentiate(outer.loss, params, iteration, data)
    for name, value in exact.items():
        assert (value - numeric[name]).norm() <= 1e-6 * value.norm() + 1e-9, name
        assert value.norm() > 1e-6, name
    # Its own term is part of what was compared.
    _, without = differentiate(
        dataclasses.replace(outer, **{term: 0.0}).loss, params, iteration, data
    )
    apart = (flatten(without) - flatten(exact)).norm() / flatten(exact).norm()
    assert (apart > 1e-2) == (term != "multi_step_until" or num_steps > 1)


OBSERVATIONS = ([0.5, -1.0, 2.0], [1.0, 0.3, -0.4])
ACTIONS = ([0.9, -0.2, 0.4], [0.1, 1.3, -1.2])
ADVANTAGES = ([1.0, -0.5, 0.3], [-0.8, 1.2, 0.6])
BEHAVIOUR = {"w": 0.3, "b": -0.1, "log_std": -0.2}  # what collected the first batch
ADAPTED_THEN = {"w": 0.35, "b": 0.0, "log_std": -0.25}  # and the second
NOW = {"w": 0.1, "b": 0.15, "log_std": -0.05}
LR, CLIP, PENALTY = 0.1, 0.2, 0.3


def log_density(policy, o, a):
    z = (a - policy["w"] * o - policy["b"]) / math.exp(policy["log_std"])
    return -0.5 * z * z - policy["log_std"] - 0.5 * math.log(2 * math.pi)


def ratio(new, old, o, a):
    return math.exp(log_density(new, o, a) - log_density(old, o, a))


def divergence(old, new, o):
    """KL(old || new) of two Gaussians at one observation."""
    apart = (old["w"] - new["w"]) * o + old["b"] - new["b"]
    s_old, s_new = math.exp(old["log_std"]), math.exp(new["log_std"])
    return math.log(s_new / s_old) + (s_old**2 + apart**2) / (2 * s_new**2) - 0.5


def stepped(form):
    """NOW after one step up its policy gradient, the derivatives of the density written out."""
    gradient = dict.fromkeys(NOW, 0.0)
    for o, a, advantage in zip(OBSERVATIONS[0], ACTIONS[0], ADVANTAGES[0], strict=True):
        std = math.exp(NOW["log_std"])
        z = (a - NOW["w"] * o - NOW["b"]) / std
        score = advantage / 3 * (ratio(NOW, BEHAVIOUR, o, a) if form == "ratio" else 1.0)
        gradient["w"] += score * z / std * o
        gradient["b"] += score * z / std
        gradient["log_std"] += score * (z * z - 1)
    return {name: NOW[name] + LR * gradient[name] for name in NOW}


def hand_made_iteration(form):
    """One task, one step, three transitions before and after it, of a linear policy."""
    policy = GaussianMlpPolicy(MlpConfig(hidden_sizes=()), 1, (-1.0,), (1.0,))
    batches = [
        batch_of(
            rollouts_of(
                double(*OBSERVATIONS[k]).view(1, 1, 3, 1),
                double(*ACTIONS[k]).view(1, 1, 3, 1),
                double(*map(log_density, [who] * 3, OBSERVATIONS[k], ACTIONS[k])).view(1, 1, 3),
            ),
            advantages=double(*ADVANTAGES[k]).view(1, 1, 3),
        )
        for k, who in enumerate((BEHAVIOUR, ADAPTED_THEN))
    ]
    policies = [expand(as_params(who), 1) for who in (BEHAVIOUR, ADAPTED_THEN)]
    rollouts = [rollouts_with(double(1.0))] * 2
    inner = InnerLoop(rollouts, batches, policies, torch.zeros(1, dtype=torch.bool), 0.0)
    return Iteration(policy, GradientStep(LR), form, inner, progress=0.0)


def as_params(policy):
    return {
        "weight_0": double(policy["w"]).view(1, 1),
        "bias_0": double(policy["b"]),
        "log_std": double(policy["log_std"]),
    }


@pytest.mark.parametrize("form", FORMS)
def test_promps_objective_by_hand_on_three_transitions(form):
    adapted = stepped(form)
    steps = list(zip(OBSERVATIONS[1], ACTIONS[1], ADVANTAGES[1], strict=True))
    found = [ratio(adapted, ADAPTED_THEN, o, a) for o, a, _ in steps]
    clipped = [min(max(r, 1 - CLIP), 1 + CLIP) for r in found]
    gains = [min(r * A, c * A) for r, c, (_, _, A) in zip(found, clipped, steps, strict=True)]
    # One is cut, one is within the bounds, one outside counts in full: the bound is pessimistic.
    unclipped = [r * A for r, (_, _, A) in zip(found, steps, strict=True)]
    assert sum(r != c for r, c in zip(found, clipped, strict=True)) == 2
    assert sum(g != u for g, u in zip(gains, unclipped, strict=True)) == 1
    penalty = sum(divergence(BEHAVIOUR, NOW, o) for o in OBSERVATIONS[0]) / 3
    expected = -sum(gains) / 3 + PENALTY * penalty

    iteration = hand_made_iteration(form)
    (data,) = minibatches(iteration, 1)
    outer = ProMp(clip=CLIP, inner_kl_penalty=PENALTY)
    loss, kl = measure(outer.loss, as_params(NOW), iteration, data)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    after = sum(divergence(ADAPTED_THEN, adapted, o) for o in OBSERVATIONS[1]) / 3
    assert kl.item() == pytest.approx(after, rel=1e-12)


def test_the_penalty_is_a_mean_over_the_steps_of_the_inner_loop():
    given = meta_problem(GradientStep(0.3), "ratio", 2)
    theta, iteration = displaced(given), given.iteration()
    (data,) = minibatches(iteration, 1)
    losses = [
        measure(ProMp(inner_kl_penalty=penalty).loss, theta, iteration, data)[0]
        for penalty in (0.0, 1.0)
    ]
    policies = [expand(theta, 3)]
    policies.append(given.adaptation.step(policies[0], given.steps[0], 0))
    total = 0.0
    for k in range(2):
        batch = given.batches[k]
        p, q = (
            torch.distributions.Normal(dist.mean, dist.log_std.exp())
            for dist in (
                given.policy.distribution(given.policies[k], batch.rollouts),
                given.policy.distribution(policies[k], batch.rollouts),
            )
        )
        kl = torch.distributions.kl_divergence(p, q).sum(-1)
        total += (kl * batch.weights).sum((1, 2)).mean()
    torch.testing.assert_close(losses[1] - losses[0], total / 2, rtol=1e-10, atol=1e-12)
