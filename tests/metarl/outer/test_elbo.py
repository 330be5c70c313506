"""The evidence lower bound against closed forms, and what its terms read."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal
from torch.distributions import kl_divergence as torch_kl

from metarl.outer.elbo import (
    REWARD,
    STATE,
    Decoders,
    Transitions,
    divergences,
    negative_elbo,
    posterior,
    some,
)
from metarl.policies.gaussian import Gaussian

LINEAR = Decoders(1, 2, 1, hidden_sizes=(), rewards=True, states=False)
FIRST_LATENT = {  # predicts the latent itself
    REWARD + "weight_0": torch.tensor([[1.0], [0], [0], [0], [0], [0]], dtype=torch.float64),
    REWARD + "bias_0": torch.zeros(1, dtype=torch.float64),
}


def steps_with(rewards, **others):
    rewards = torch.as_tensor(rewards, dtype=torch.float64)
    N, L = rewards.shape
    empty = torch.zeros(N, L, 2, dtype=torch.float64)
    made = Transitions(
        observations=empty,
        actions=empty[..., :1],
        following=empty,
        rewards=rewards,
        changes=empty,
        valid=torch.ones(N, L, dtype=torch.bool),
    )
    return replace(made, **others)


def bound(latents, steps, prefixes, decoded, noise, kl_weight=0.0):
    return negative_elbo(
        LINEAR,
        FIRST_LATENT,
        latents,
        steps,
        torch.ones(len(latents), dtype=torch.bool),
        torch.tensor(prefixes),
        torch.tensor(decoded),
        noise,
        kl_weight,
    )


def test_a_bottleneck_is_a_mean_and_a_bounded_deviation():
    q = posterior(torch.tensor([1.0, -2.0, 0.5, -30.0]))
    assert q.mean.tolist() == [1.0, -2.0]
    assert q.log_std.tolist() == [0.5, -5.0]


def test_the_divergence_is_from_the_valid_step_before_and_first_from_the_standard_normal():
    g = torch.Generator().manual_seed(0)
    mean, log_std = torch.randn(2, 2, 4, 3, generator=g, dtype=torch.float64)
    valid = torch.tensor([[True, True, False, True], [True, True, True, True]])
    began = torch.tensor([True, False])
    found, known = divergences(Gaussian(mean, log_std), began, valid)

    def q(trial, step):
        return Normal(mean[trial, step], log_std[trial, step].exp())

    standard = Normal(torch.zeros(3), torch.ones(3))
    assert known.tolist() == [[True, True, False, True], [False, True, True, True]]
    expected = {
        (0, 0): torch_kl(q(0, 0), standard),
        (0, 1): torch_kl(q(0, 1), q(0, 0)),
        (0, 3): torch_kl(q(0, 3), q(0, 1)),
        (1, 1): torch_kl(q(1, 1), q(1, 0)),
        (1, 3): torch_kl(q(1, 3), q(1, 2)),
    }
    for at, value in expected.items():
        assert found[at].item() == pytest.approx(value.sum().item(), rel=1e-12)


def test_the_gradient_of_a_divergence_reaches_both_posteriors():
    mean = torch.tensor([[[0.3], [0.9]]], requires_grad=True)
    found, _ = divergences(
        Gaussian(mean, torch.zeros(1, 2, 1)), torch.tensor([True]), torch.ones(1, 2).bool()
    )
    (gradient,) = torch.autograd.grad(found[0, 1], mean)
    # d/dm (m1 - m0)^2 / 2
    assert gradient.flatten().tolist() == pytest.approx([-0.6, 0.6])


def exact_posterior(rewards):
    """Of z ~ N(0, 1) with rewards z + N(0, 1/2): (mean, log standard deviation)."""
    precision = 1 + 2 * len(rewards)
    return 2 * sum(rewards) / precision, -0.5 * math.log(precision)


def linear_gaussian_bound(rewards, mean, log_std):
    """The bound on two rewards' log-evidence, in nats, by the belief N(mean, std^2)."""
    # Errors are quadratic in the noise: the mean at -1 and 1 is the expectation.
    latents = torch.tensor([mean, log_std], dtype=torch.float64).expand(2, 2, 2)
    noise = torch.tensor([-1.0, 1.0], dtype=torch.float64).view(2, 1, 1)
    # Both steps have the same belief, so that only the first diverges.
    loss, _ = bound(latents, steps_with([rewards] * 2), [0], [0, 1], noise, kl_weight=1.0)
    return float(-2 * loss - math.log(math.pi))  # two densities of variance 1/2


def test_the_bound_is_the_evidence_for_the_exact_posterior_and_less_for_others():
    rewards = [0.7, -0.2]
    covariance = torch.tensor([[1.5, 1.0], [1.0, 1.5]], dtype=torch.float64)
    exact = MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance)
    evidence = exact.log_prob(torch.tensor(rewards, dtype=torch.float64)).item()
    mean, log_std = exact_posterior(rewards)
    assert linear_gaussian_bound(rewards, mean, log_std) == pytest.approx(evidence, abs=1e-12)
    for change in ((0.1, 0.0), (-0.1, 0.0), (0.0, 0.1), (0.0, -0.1)):
        other = linear_gaussian_bound(rewards, mean + change[0], log_std + change[1])
        assert other < evidence - 1e-3


def test_a_belief_explains_steps_to_come_and_steps_before_it():
    latents = torch.zeros(1, 4, 2, dtype=torch.float64)
    noise = torch.zeros(1, 1, 1, dtype=torch.float64)
    rewards = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    loss, _ = bound(latents, steps_with(rewards), [1], [0, 3], noise)
    assert loss.item() == pytest.approx((1 + 16) / 2)


def test_only_the_chosen_prefixes_are_decoded_and_invalid_steps_weigh_nothing():
    latents = torch.tensor([[[1.0, 0.0], [5.0, 0.0], [2.0, 0.0]]], dtype=torch.float64)
    noise = torch.zeros(1, 2, 1, dtype=torch.float64)
    valid = torch.tensor([[True, True, False]])
    steps = steps_with([[0.0, 0.5, 9.0]], valid=valid)
    loss, means = bound(latents, steps, [0, 2], [0, 1, 2], noise)
    assert loss.item() == means["reward"].item() == pytest.approx((1.0 + 0.25) / 2)


def test_drawn_steps_differ_and_cover_the_trial():
    g = torch.Generator().manual_seed(0)
    drawn = [some(10, 4, g) for _ in range(60)]
    assert all(len(set(one.tolist())) == 4 for one in drawn)
    assert set(torch.cat(drawn).tolist()) == set(range(10))
    pairs = [(int(p), int(d)) for one in drawn for p, d in zip(one[:2], one[2:], strict=True)]
    assert any(d > p for p, d in pairs) and any(d < p for p, d in pairs)
    assert sorted(some(3, 8, g).tolist()) == [0, 1, 2]


def test_decoders_read_the_transition_and_report_mean_squared_errors():
    decoders = Decoders(1, 2, 1, hidden_sizes=(), rewards=True, states=True)
    params = {
        # z + 10 o_0 + 100 o_1 + 1000 a + 1e4 o'_0 + 1e5 o'_1
        REWARD + "weight_0": torch.tensor([[1.0, 1e1, 1e2, 1e3, 1e4, 1e5]]).mT,
        REWARD + "bias_0": torch.tensor([0.5]),
        # (z + o_0, a)
        STATE + "weight_0": torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]),
        STATE + "bias_0": torch.zeros(2),
    }
    steps = Transitions(
        observations=torch.tensor([[[1.0, 2.0]]]),
        actions=torch.tensor([[[3.0]]]),
        following=torch.tensor([[[4.0, 5.0]]]),
        rewards=torch.tensor([[543210.0]]),
        changes=torch.tensor([[[0.0, 1.0]]]),
        valid=torch.ones(1, 1, dtype=torch.bool),
    )
    errors = decoders.errors(params, torch.tensor([[[0.5], [2.0]]]), steps)
    assert errors["reward"].flatten().tolist() == pytest.approx([1.0, 2.5**2])
    assert errors["state"].flatten().tolist() == pytest.approx(
        [(1.5**2 + 2**2) / 2, (3.0**2 + 2**2) / 2]
    )


def test_a_decoder_that_is_off_has_no_parameters():
    g = torch.Generator().manual_seed(0)
    off = Decoders(1, 2, 1, (4,), rewards=False, states=True).init(g)
    assert off and all(name.startswith(STATE) for name in off)
