"""Losses of soft actor-critic against hand-worked cases."""

import math

import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from torch.testing import assert_close

from metarl.outer import sac
from metarl.policies.gaussian import Gaussian


def test_density_of_squashed_actions_is_that_of_the_transformed_gaussian():
    mean, log_std = torch.tensor([[0.3, -1.0]]).double(), torch.tensor([-0.5, 0.2]).double()
    outputs = torch.tensor([[0.8, -2.0], [0.0, 0.5]]).double()
    transformed = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform())
    expected = transformed.log_prob(torch.tanh(outputs)).sum(-1)
    assert_close(sac.squashed_log_prob(Gaussian(mean, log_std), outputs), expected)


def test_density_integrates_to_one():
    dist = Gaussian(torch.tensor([0.4]).double(), torch.tensor([0.1]).double())
    actions = torch.linspace(-1, 1, 20001).double()[1:-1].unsqueeze(-1)
    density = sac.squashed_log_prob(dist, torch.atanh(actions)).exp()
    assert float(density.sum() * 1e-4) == pytest.approx(1, abs=1e-4)


def test_density_is_finite_where_tanh_is_one():
    dist = Gaussian(torch.tensor([40.0]), torch.tensor([0.0]))
    # log(1 - tanh(40)^2) = log 4 - 80.
    expected = -0.5 * math.log(2 * math.pi) - math.log(4) + 80
    assert float(sac.squashed_log_prob(dist, torch.tensor([40.0]))) == pytest.approx(expected)


def test_targets_bootstrap_at_a_truncation_and_not_at_a_termination():
    # Three last transitions of episodes: in the middle, at the clock's end, at a termination.
    values = torch.tensor([[4.0, 4.0, 4.0], [6.0, 3.0, 5.0]])
    following = sac.soft_value(values, torch.tensor([-1.0, 2.0, 0.0]), torch.tensor(0.5))
    assert following.tolist() == [4.5, 2.0, 4.0]
    terminated = torch.tensor([False, False, True])
    rewards = torch.tensor([1.0, 1.0, -2.0])
    found = sac.targets(rewards, terminated, following, 0.9, torch.tensor(0.0))
    assert found.tolist() == pytest.approx([5.05, 2.8, -2.0])


def test_values_measured_from_a_mean_reward_are_the_same_values():
    """Values ((1 - gamma) V - mean) / deviation, with an end that is worth V = 0."""
    discount, mean, deviation = 0.9, torch.tensor(-3.0), torch.tensor(2.0)
    rewards, terminated = torch.tensor([1.0, -2.0]), torch.tensor([False, True])
    following = torch.tensor([40.0, 50.0])

    def scaled(values):
        return ((1 - discount) * values - mean) / deviation

    plain = sac.targets(rewards, terminated, following, discount, torch.tensor(0.0))
    found = sac.targets(
        (1 - discount) * (rewards - mean) / deviation,
        terminated,
        scaled(following),
        discount,
        scaled(torch.tensor(0.0)),
    )
    torch.testing.assert_close(found, scaled(plain))


def test_the_critics_errors_are_means_over_transitions():
    values = torch.tensor([[[1.0, 2.0]], [[0.0, 4.0]]])
    target = torch.tensor([[0.0, 2.0]])
    assert float(sac.critic_loss(values, target)) == pytest.approx((1 + 0) / 2 + (0 + 4) / 2)


def test_the_actor_ascends_the_smaller_value_and_its_entropy():
    values = torch.tensor([[1.0, 5.0], [2.0, 3.0]])
    loss = sac.actor_loss(values, torch.tensor([1.0, -1.0]), torch.tensor(0.5))
    assert float(loss) == pytest.approx(-((1 - 0.5) + (3 + 0.5)) / 2)


@pytest.mark.parametrize(("entropy", "sign"), [(-3.0, -1), (-1.0, 1)])
def test_the_temperature_rises_below_the_target_entropy(entropy, sign):
    log_temperature = torch.zeros((), requires_grad=True)
    log_probs = torch.full((4,), -entropy, requires_grad=True)
    sac.temperature_loss(log_temperature, log_probs, -2.0).backward()
    assert float(log_temperature.grad) == pytest.approx(sign)
    assert log_probs.grad is None
