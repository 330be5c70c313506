"""Gaussian policies: densities against torch.distributions, scales, the normaliser."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from support.helpers import double_params, rollouts_of, small_policy
from torch.distributions import Independent, Normal
from torch.distributions import kl_divergence as torch_kl

from metarl.policies.gaussian import Gaussian, entropy, kl_divergence, log_prob
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import (
    acting,
    expand,
    fixed,
    flatten,
    learned,
    statistics,
    unflatten,
    weights,
)
from metarl_envs import InputError, get_family

GENERATOR = torch.Generator().manual_seed(0)


def randn(*shape):
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def reference(dist):
    return Independent(Normal(dist.mean, dist.log_std.exp().expand_as(dist.mean)), 1)


def test_densities_are_sums_over_action_dimensions_as_in_torch_distributions():
    p, q = Gaussian(randn(4, 7, 3), randn(4, 1, 3)), Gaussian(randn(4, 7, 3), randn(4, 1, 3))
    x = randn(4, 7, 3)
    torch.testing.assert_close(log_prob(p, x), reference(p).log_prob(x))
    torch.testing.assert_close(kl_divergence(p, q), torch_kl(reference(p), reference(q)))
    torch.testing.assert_close(entropy(p)[:, 0], reference(p).entropy()[:, 0])


def test_log_prob_of_a_standard_normal_by_hand():
    dist = Gaussian(torch.zeros(2), torch.zeros(2))
    assert log_prob(dist, torch.tensor([1.0, 2.0])).item() == pytest.approx(
        -0.5 * (1 + 4) - math.log(2 * math.pi)
    )


def test_per_task_parameters_act_as_separate_policies():
    policy = small_policy()
    separate = [double_params(policy, seed) for seed in range(3)]
    together = {name: torch.stack([p[name] for p in separate]) for name in separate[0]}
    observations = randn(3, 2, 4, 3)  # tasks, episodes, steps
    batched = policy.distribution(together, rollouts_of(observations))
    assert batched.log_std.shape == (3, 1, 1, 2)
    for m, params in enumerate(separate):
        for e in range(2):
            alone = policy.mean(params, observations[m, e])
            torch.testing.assert_close(batched.mean[m, e], alone, rtol=0, atol=1e-14)
        torch.testing.assert_close(batched.log_std[m, 0], policy.log_std(params), rtol=0, atol=0)


def test_the_network_is_the_documented_function():
    policy = GaussianMlpPolicy(MlpConfig(hidden_sizes=(1,)), 1, (-1.0,), (1.0,))
    params = {
        "weight_0": torch.tensor([[2.0]]),
        "bias_0": torch.tensor([0.5]),
        "weight_1": torch.tensor([[3.0]]),
        "bias_1": torch.tensor([-1.0]),
        "log_std": torch.tensor([0.25]),
    }
    mean = policy.mean(params, torch.tensor([[0.1]]))
    assert mean.item() == pytest.approx(3 * math.tanh(2 * 0.1 + 0.5) - 1)
    assert policy.log_std(params).item() == 0.25


def test_action_scale_maps_ten_to_full_range_and_clips_beyond():
    family = get_family("half-cheetah-direction")
    policy = GaussianMlpPolicy.for_family(family, MlpConfig(action_scale=10.0))
    outputs = torch.tensor([10.0, 5.0, 0.0, -10.0, -30.0, 1.0])
    expected = torch.tensor([1.0, 0.5, 0.0, -1.0, -1.0, 0.1])
    torch.testing.assert_close(policy.controls(outputs), expected)


def test_controls_respect_an_asymmetric_range():
    policy = GaussianMlpPolicy(MlpConfig(action_scale=1.0), 3, (0.0,), (4.0,))
    controls = policy.controls(torch.tensor([[-1.0], [0.0], [0.5], [2.0]]))
    assert controls.flatten().tolist() == [0.0, 2.0, 3.0, 4.0]


def test_initial_weights_are_xavier_and_a_pure_function_of_the_generator():
    policy = GaussianMlpPolicy(MlpConfig(), 17, (-1.0,) * 6, (1.0,) * 6)
    one, two = (policy.init(torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    bound = math.sqrt(6 / (17 + 64))
    assert one["weight_0"].abs().max() <= bound
    assert one["weight_0"].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert torch.equal(one["log_std"], torch.zeros(6))


def test_running_statistics_equal_those_of_all_data_at_once():
    policy = dataclasses.replace(small_policy(), config=MlpConfig(normalize_observations=True))
    params = policy.init(torch.Generator().manual_seed(0))
    first, second = 3 + 2 * randn(5, 40, 3).float(), -1 + randn(5, 40, 3).float()
    valid = torch.ones(5, 40, dtype=torch.bool)
    valid[0, 20:] = False
    for part in (first, second):
        params = policy.update_statistics(params, part, valid)
    seen = torch.cat([first[valid], second[valid]])
    torch.testing.assert_close(params["obs_mean"], seen.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(params["obs_var"], seen.var(0, unbiased=False), rtol=1e-4, atol=1e-4)
    assert params["obs_count"].item() == len(seen)
    assert set(statistics(params)) == {"obs_mean", "obs_var", "obs_count"}
    assert not set(weights(params)) & set(statistics(params))


def test_normalised_policy_sees_standardised_observations():
    config = MlpConfig(hidden_sizes=(5, 4), normalize_observations=True)
    policy = dataclasses.replace(small_policy(), config=config)
    params = double_params(small_policy()) | {
        "obs_mean": torch.tensor([1.0, 2.0, 3.0]).double(),
        "obs_var": torch.tensor([4.0, 9.0, 0.25]).double(),
        "obs_count": torch.ones(1).double(),
    }
    observations = randn(6, 3)
    standardised = (observations - params["obs_mean"]) / params["obs_var"].sqrt()
    expected = small_policy().mean(params, standardised)
    torch.testing.assert_close(policy.mean(params, observations), expected)
    batched = policy.mean(expand(params, 2), observations.expand(2, 6, 3))
    torch.testing.assert_close(batched[1], expected)


def test_a_context_acts_as_further_observations():
    policy = dataclasses.replace(
        small_policy(), config=MlpConfig(hidden_sizes=(5, 4), context_size=2)
    )
    params = double_params(policy) | {"task.context": randn(2)}
    stacked = torch.cat([params["weight_0"], params["weight_context"]])
    plain = {name: value for name, value in params.items() if "context" not in name}
    observations = randn(6, 3)
    with_context = torch.cat([observations, params["task.context"].expand(6, 2)], dim=1)
    expected = small_policy(observation_size=5).mean(plain | {"weight_0": stacked}, with_context)
    torch.testing.assert_close(policy.mean(params, observations), expected, rtol=0, atol=1e-14)
    batched = policy.mean(expand(params, 2), observations.expand(2, 6, 3))
    torch.testing.assert_close(batched[1], expected, rtol=0, atol=1e-14)


def test_a_context_begins_at_zero_and_leaves_the_other_weights_as_they_are_drawn():
    config = MlpConfig(hidden_sizes=(5, 4), context_size=2)
    policy = dataclasses.replace(small_policy(), config=config)
    params, without = (p.init(torch.Generator().manual_seed(0)) for p in (policy, small_policy()))
    assert params["task.context"].tolist() == [0, 0]
    bound = math.sqrt(6 / (2 + 5))
    assert 0.5 * bound < float(params["weight_context"].abs().max()) <= bound
    for name, value in without.items():
        assert torch.equal(params[name], value)


def test_a_name_says_who_may_change_an_entry():
    names = ("weight_0", "log_std", "weight_context", "task.context", "adaptation.rate", "obs_mean")
    params = {name: torch.zeros(1) for name in names}
    found = [tuple(part(params)) for part in (learned, fixed, weights, acting, statistics)]
    assert found == [
        ("weight_0", "log_std", "weight_context", "adaptation.rate"),
        ("task.context", "obs_mean"),
        ("weight_0", "log_std", "weight_context"),
        ("weight_0", "log_std", "weight_context", "task.context"),
        ("obs_mean",),
    ]


def test_flatten_and_unflatten_are_inverse():
    params = double_params(small_policy())
    again = unflatten(flatten(params), params)
    assert all(torch.equal(again[name], value) for name, value in params.items())


@pytest.mark.parametrize(
    ("field", "value"),
    [("init_std", 0.0), ("action_scale", -1.0), ("hidden_sizes", (64, 0)), ("context_size", -1)],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(InputError, match=field):
        MlpConfig(**{field: value})
