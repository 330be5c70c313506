"""Set encoders against products of densities and a softmax, by hand and in closed form."""

import math

import pytest
import torch

from metarl.policies.gaussian import Gaussian, kl_divergence, log_prob
from metarl.policies.params import expand
from metarl.policies.set_encoders import SET_ENCODERS, Attention, Evidence, Mean, Product

SIZES = (4, (8,), 3)
"""Inputs, hidden layer, Z."""


def made(kind, seed=0):
    encoder = SET_ENCODERS[kind](*SIZES)
    generator = torch.Generator().manual_seed(seed)
    params = {name: value.double() for name, value in encoder.init(generator).items()}
    return encoder, params, torch.randn((2, 6, 4), generator=generator, dtype=torch.float64)


def everything(factors):
    return factors.total(torch.ones(factors.precision.shape[:-1], dtype=torch.bool))


def test_a_product_of_two_factors_and_the_prior_by_hand():
    # N(0, 1), N(1, 1/2) and N(4, 1): precision 1 + 2 + 1, mean (2 * 1 + 1 * 4) / 4.
    factors = Evidence(torch.tensor([[2.0], [1.0]]), torch.tensor([[2.0], [4.0]]))
    posterior = everything(factors).posterior()
    assert (posterior.mean.item(), posterior.log_std.exp().item()) == pytest.approx((1.5, 0.5))


def test_the_posterior_is_the_normalised_product_of_prior_and_factors():
    encoder, params, transitions = made("product")
    factors = encoder.factors(params, transitions[0])
    posterior = everything(factors).posterior()
    points = torch.linspace(-8, 8, 4001, dtype=torch.float64).view(-1, 1, 1)

    def log_density(mean, std):
        return log_prob(Gaussian(mean, std.log()), points)  # of one dimension: (points, 1)

    for z in range(encoder.size):
        precision = factors.precision[:, z]
        product = log_density(torch.zeros(1).double(), torch.ones(1).double())
        for value, p in zip(factors.weighted[:, z] / precision, precision, strict=True):
            product = product + log_density(value.view(1), p.rsqrt().view(1))
        product = (product - product.max()).exp()
        found = log_density(posterior.mean[z].view(1), posterior.log_std[z].exp().view(1)).exp()
        step = 16 / 4000
        torch.testing.assert_close(found, product / (product.sum() * step))


def test_a_mean_is_that_of_embeddings_and_of_the_prior_s_zero():
    encoder, params, transitions = made("mean")
    values = encoder.factors(params, transitions).weighted
    posterior = everything(Evidence(torch.ones_like(values), values)).posterior()
    torch.testing.assert_close(posterior.mean, values.sum(1) / 7)
    torch.testing.assert_close(posterior.log_std.exp(), torch.full_like(posterior.mean, 7**-0.5))
    assert bool((encoder.factors(params, transitions).precision == 1).all())


def test_attention_is_a_softmax_over_transitions_and_an_empty_one():
    encoder, params, transitions = made("attention")
    factors = encoder.factors(params, transitions)
    values = factors.weighted / factors.precision
    scores = factors.precision[..., 0].log()  # the same in all dimensions
    assert bool((scores.std(1) > 0.01).all())
    torch.testing.assert_close(factors.precision, scores.exp().unsqueeze(-1).expand_as(values))
    weights = torch.cat([torch.zeros(2, 1).double(), scores], dim=1).softmax(1)[:, 1:]
    expected = (weights.unsqueeze(-1) * values).sum(1)
    torch.testing.assert_close(everything(factors).posterior().mean, expected)


def test_scores_of_attention_are_bounded():
    precision = Attention(*SIZES).precision(torch.tensor([[1e6], [-1e6]]), torch.zeros(2, 3))
    assert precision[:, 0].tolist() == pytest.approx([math.exp(5), math.exp(-5)])


@pytest.mark.parametrize("kind", SET_ENCODERS)
def test_running_sums_are_those_of_the_set_in_any_order(kind):
    encoder, params, transitions = made(kind)
    factors = encoder.factors(params, transitions)
    valid = torch.tensor([[True, True, False, True, True, False], [True] * 6])
    sums = factors.so_far(valid)
    assert sums.precision.shape == (2, 7, 3)
    for steps in range(7):
        first = torch.arange(6) < steps
        total = factors.total(valid & first)
        for found, expected in zip(sums, total, strict=True):
            torch.testing.assert_close(found[:, steps], expected)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = everything(encoder.factors(params, transitions[:, order])).posterior()
    for found, expected in zip(shuffled, everything(factors).posterior(), strict=True):
        torch.testing.assert_close(found, expected)


def test_no_evidence_is_the_prior():
    nothing = Evidence(torch.zeros(3), torch.zeros(3)).posterior()
    assert nothing.mean.tolist() == nothing.log_std.tolist() == [0, 0, 0]


def test_divergence_from_the_prior_in_closed_form():
    posterior = Evidence(torch.tensor([3.0, 0.0]), torch.tensor([8.0, 0.0])).posterior()
    prior = Gaussian(torch.zeros(2), torch.zeros(2))
    # (variance + mean^2 - 1 - log variance) / 2 with variance 1/4 and mean 2, and 0.
    expected = 0.5 * (0.25 + 4 - 1 + math.log(4))
    assert float(kl_divergence(posterior, prior)) == pytest.approx(expected)


@pytest.mark.parametrize("encoder", [Product(*SIZES), Mean(*SIZES), Attention(*SIZES)])
def test_policies_are_batched(encoder):
    params = encoder.init(torch.Generator().manual_seed(0))
    transitions = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    alone = encoder.factors(params, transitions)
    for found, expected in zip(encoder.factors(expand(params, 2), transitions), alone, strict=True):
        torch.testing.assert_close(found, expected)
