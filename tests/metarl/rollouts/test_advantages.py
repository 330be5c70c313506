"""Discounting, baseline and GAE against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from support.helpers import batch_of, rollouts_of

from metarl.rollouts.advantages import (
    BLOCK,
    baseline_features,
    discounted_returns,
    explained_variance,
    first_episodes,
    fit_baseline,
    gae,
    normalize,
    some_episodes,
)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def flags(*values):
    return torch.tensor(values, dtype=torch.bool)


def test_discounted_returns_stop_at_the_episodes_end():
    returns = discounted_returns(tensor(1, 2, 4, 99), flags(1, 1, 1, 0), discount=0.5)
    assert returns.tolist() == [1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4.0, 0.0]


def test_gae_by_hand_with_a_termination_and_a_truncation():
    """Two episodes of three steps: one terminates at step 1, one is cut off at the horizon."""
    rewards = torch.stack([tensor(1, 2, 0), tensor(1, 2, 3)])
    values = torch.stack([tensor(10, 20, 0), tensor(10, 20, 30)])
    terminated = torch.stack([flags(0, 1, 0), flags(0, 0, 0)])
    valid = torch.stack([flags(1, 1, 0), flags(1, 1, 1)])
    final_values = tensor(777, 40)  # 777 must not be used: that episode terminated
    advantages = gae(rewards, values, final_values, terminated, valid, 0.5, 0.8)
    last = 2 - 20  # terminated: no value after it
    first = (1 + 0.5 * 20 - 10) + 0.4 * last
    assert advantages[0].tolist() == pytest.approx([first, last, 0.0])
    third = 3 + 0.5 * 40 - 30  # truncated: bootstrapped from the final state
    second = (2 + 0.5 * 30 - 20) + 0.4 * third
    assert advantages[1].tolist() == pytest.approx([1.0 + 0.4 * second, second, third])


def test_gae_bootstraps_an_episode_truncated_before_the_last_column():
    advantages = gae(
        tensor(1, 2, 0), tensor(10, 20, 0), tensor(40)[0], flags(0, 0, 0), flags(1, 1, 0), 0.5, 1.0
    )
    second = 2 + 0.5 * 40 - 20
    assert advantages.tolist() == pytest.approx([(1 + 0.5 * 20 - 10) + 0.5 * second, second, 0])


def test_gae_with_lambda_one_is_return_minus_value():
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 4, 9, generator=generator, dtype=torch.float64)
    valid = torch.ones(4, 9, dtype=torch.bool)
    advantages = gae(rewards, values, torch.zeros(4), ~valid, valid, 0.9, 1.0)
    expected = discounted_returns(rewards, valid, 0.9) - values
    torch.testing.assert_close(advantages, expected)


def returns_by_loop(rewards, valid, discount):
    returns, running = torch.zeros_like(rewards), torch.zeros_like(rewards[..., 0])
    for t in reversed(range(rewards.shape[-1])):
        running = (rewards[..., t] + discount * running) * valid[..., t]
        returns[..., t] = running
    return returns


def gae_by_loop(rewards, values, final_values, terminated, valid, discount, gae_lambda):
    advantages = torch.zeros_like(rewards)
    next_value, next_advantage = final_values, torch.zeros_like(final_values)
    for t in reversed(range(rewards.shape[-1])):
        goes_on = (~terminated[..., t]).to(rewards.dtype)
        delta = rewards[..., t] + discount * goes_on * next_value - values[..., t]
        advantage = delta + discount * gae_lambda * goes_on * next_advantage
        next_advantage = torch.where(valid[..., t], advantage, next_advantage)
        next_value = torch.where(valid[..., t], values[..., t], next_value)
        advantages[..., t] = advantage * valid[..., t]
    return advantages


@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0), (0, 1)])
@pytest.mark.parametrize("T", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_returns_and_advantages_are_those_of_a_loop_over_time(T, discount, gae_lambda):
    """Episodes that terminate, are cut off, last to the horizon, or diverged (no step valid)."""
    generator = torch.Generator().manual_seed(T)

    def randn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    lengths = torch.randint(0, T + 1, (4, 6, 1), generator=generator)
    lengths[0, 0], lengths[0, 1] = 0, T
    valid = torch.arange(T) < lengths
    terminated = (torch.arange(T) == lengths - 1) & (torch.arange(6) % 2 == 0).unsqueeze(-1)
    assert T == 1 or 0 < terminated.sum() < 24
    rewards, values, final_values = randn(4, 6, T) * valid, randn(4, 6, T), randn(4, 6)
    found = discounted_returns(rewards, valid, discount)
    expected = returns_by_loop(rewards, valid, discount)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    given = (rewards, values, final_values, terminated, valid, discount, gae_lambda)
    torch.testing.assert_close(gae(*given), gae_by_loop(*given), rtol=0, atol=1e-12)


def test_what_is_not_valid_counts_for_nothing_whatever_it_is():
    rewards, valid = tensor(1, torch.nan, torch.inf), flags(1, 0, 0)
    assert discounted_returns(rewards, valid, 0.5).tolist() == [1, 0, 0]
    found = gae(rewards, rewards, tensor(10)[0], ~valid & valid, valid, 0.5, 0.8)
    assert found.tolist() == [1 + 0.5 * 10 - 1, 0, 0]


def test_features_are_those_of_the_reference():
    features = baseline_features(tensor(2.0, -20.0), tensor(50)[0])
    assert features.tolist() == [2.0, -10.0, 4.0, 100.0, 0.5, 0.25, 0.125, 1.0]


def test_baseline_recovers_a_linear_value_function_per_task():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(3, 200, 5, generator=generator, dtype=torch.float64)
    truth = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    targets = (features @ truth.unsqueeze(-1)).squeeze(-1)
    weights = torch.ones(3, 200, dtype=torch.float64)
    targets[:, 150:] = 1e6  # not valid: must not count
    weights[:, 150:] = 0
    torch.testing.assert_close(
        fit_baseline(features, targets, weights), truth, rtol=1e-5, atol=1e-5
    )


def test_baseline_of_degenerate_features_is_finite():
    features = torch.ones(1, 10, 4, dtype=torch.float64)
    coefficients = fit_baseline(features, tensor(*range(10))[None], torch.ones(1, 10).double())
    assert torch.isfinite(coefficients).all()
    assert (features[0] @ coefficients[0])[0].item() == pytest.approx(4.5, abs=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_normalised_advantages_have_mean_zero_and_std_one_at_any_scale(scale):
    generator = torch.Generator().manual_seed(2)
    advantages = 5 + scale * torch.randn(3, 500, generator=generator, dtype=torch.float64)
    weights = torch.ones(3, 500, dtype=torch.float64)
    weights[:, 400:] = 0
    advantages[:, 400:] = 1e9
    weights /= weights.sum(-1, keepdim=True)
    normal = normalize(advantages, weights)[:, :400]
    torch.testing.assert_close(normal.mean(-1), torch.zeros(3).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        normal.std(-1, unbiased=False), torch.ones(3).double(), rtol=1e-4, atol=1e-4
    )


def test_explained_variance_is_one_for_truth_and_zero_for_a_constant():
    returns = tensor(1, 2, 3, 4)[None]
    weights = torch.full((1, 4), 0.25, dtype=torch.float64)
    assert explained_variance(returns, returns, weights).item() == 1.0
    assert explained_variance(torch.full_like(returns, 7.0), returns, weights).item() == 0.0


def test_a_part_of_a_batch_is_whole_episodes_and_the_first_ones_weigh_one_again():
    numbers = torch.arange(2 * 4 * 3).view(2, 4, 3).double()
    valid = torch.ones(4, 3, dtype=torch.bool)
    valid[0, 1:] = False
    whole = batch_of(rollouts_of(numbers.unsqueeze(-1)), numbers, valid)
    part = some_episodes(whole, slice(1, None, 2))
    assert part.advantages.tolist() == numbers[:, [1, 3]].tolist()
    assert part.rollouts.observations[..., 0].tolist() == part.advantages.tolist()
    assert part.weights.sum((1, 2)).tolist() == pytest.approx([6 / 10] * 2)
    first = first_episodes(whole, 0.5)
    assert first.advantages.tolist() == numbers[:, :2].tolist()
    assert first.weights[0].tolist() == [[0.25, 0, 0], [0.25, 0.25, 0.25]]
    assert first.mean(first.advantages).tolist() == pytest.approx([3, 15])  # of 0, 3, 4, 5
    assert first_episodes(whole, 0.01).weights.shape == (2, 1, 3)
