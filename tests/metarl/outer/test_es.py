"""ES-MAML: mirrored pairs, an unbiased gradient, and a search that finds a known optimum."""

from __future__ import annotations

import pytest
import torch
from support.search_checks import (
    LINEAR,
    candidates,
    iteration_of,
    linear_params,
    maximise,
)
from torch import Generator

from metarl.methods.config import TrainConfig
from metarl.outer.es import EvolutionStrategy, signed_ranks, smoothed_gradient
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import flatten, is_finite, learned
from metarl_envs import InputError


def proposal(outer, params, M, seed=0):
    optimizer = outer.init(learned(params))
    return outer.propose(params, optimizer, M, Generator().manual_seed(seed))


def test_pairs_are_mirror_images_on_the_same_task():
    outer, M = EvolutionStrategy(sigma=0.2), 12
    zero = {name: torch.zeros_like(value) for name, value in linear_params().items()}
    found = candidates(proposal(outer, zero, M))
    assert torch.equal(found[:6], -found[6:])
    tasks = torch.arange(M) % outer.num_distinct_tasks(M)
    assert tasks.tolist() == [0, 1, 2, 3, 4, 5] * 2
    params = linear_params()
    middle = candidates(proposal(outer, params, M)).unflatten(0, (2, 6)).mean(0)
    torch.testing.assert_close(middle, flatten(params).expand(6, -1), rtol=0, atol=1e-6)


def test_perturbations_have_the_given_spread_and_differ_between_pairs():
    params = linear_params()
    noise = candidates(proposal(EvolutionStrategy(sigma=0.2), params, 4000)) - flatten(params)
    assert float(noise[:2000].std()) == pytest.approx(0.2, rel=0.02)
    assert len(noise.unique(dim=0)) == 4000


def test_candidates_depend_on_the_generator_alone():
    outer, params = EvolutionStrategy(), linear_params()
    first, again, other = (candidates(proposal(outer, params, 4, seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not bool((first == other).any())


def test_statistics_are_not_perturbed():
    policy = GaussianMlpPolicy(
        MlpConfig(hidden_sizes=(), normalize_observations=True), 2, (-1.0,), (1.0,)
    )
    params = policy.init(Generator().manual_seed(0))
    start = proposal(EvolutionStrategy(), params, 4)
    assert list(start) == list(params)
    for name in ("obs_mean", "obs_var", "obs_count"):
        assert torch.equal(start[name], params[name].expand(4, -1))


def test_on_a_linear_fitness_the_estimate_is_the_gradient_within_its_standard_error():
    """Of one pair's estimate (g eps) eps_i the variance is |g|^2 + g_i^2."""
    params, sigma, pairs = linear_params(), 0.3, 40_000
    slope = torch.linspace(-2, 3, 8)
    start = proposal(EvolutionStrategy(sigma=sigma), params, 2 * pairs)
    returns = candidates(start).double() @ slope.double()
    gain = (returns[:pairs] - returns[pairs:]).float()
    estimate = flatten(smoothed_gradient(learned(start), gain, sigma))
    error = ((slope.norm() ** 2 + slope**2) / pairs).sqrt()
    assert float(error.max()) < 0.03
    assert bool(((estimate - slope).abs() < 4 * error).all()), (estimate - slope) / error


def test_one_pair_moves_the_parameters_towards_its_better_half():
    """Adam's first step has the size of the learning rate in every entry."""
    outer, params = EvolutionStrategy(sigma=0.1, learning_rate=0.05), linear_params()
    start = proposal(outer, params, 2)
    optimizer = outer.init(learned(params))
    upper = candidates(start)[0] - flatten(params)
    for returns, sign in (((3.0, 1.0), 1), ((-5.0, 2.0), -1)):
        iteration = iteration_of(start, torch.tensor(returns))
        update = outer.update(params, optimizer, iteration)
        moved = flatten(update.params) - flatten(params)
        torch.testing.assert_close(moved, sign * 0.05 * upper.sign(), rtol=1e-4, atol=1e-6)


def test_signed_ranks_by_hand():
    assert signed_ranks(torch.tensor([0.5, -40.0, 0.0, 1.0])).tolist() == [0.5, -1.0, 0.0, 0.75]
    found = signed_ranks(torch.tensor([0.5, -40.0, torch.nan, 1.0]))  # three ranks for three pairs
    expected = torch.tensor([1 / 3, -1.0, torch.nan, 2 / 3])
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_the_optimum_of_a_quadratic_whatever_the_tasks_offset(seed):
    goal = torch.linspace(-2, 2, 8)

    def fitness(x, task):
        return 1e4 * task - 100 * (x - goal).square().sum(-1)

    params = linear_params(seed)
    assert float((flatten(params) - goal).norm()) > 3
    outer = EvolutionStrategy(sigma=0.1, learning_rate=0.05)
    found = maximise(outer, params, fitness, 40, 300, seed)
    assert float((found - goal).norm()) < 0.1


@pytest.mark.parametrize("lost", [True, False], ids=["lost its episodes", "failed to adapt"])
def test_a_pair_of_which_nothing_is_known_is_left_out(lost):
    outer, params = EvolutionStrategy(), linear_params()
    optimizer = outer.init(learned(params))
    start = proposal(outer, params, 8)
    returns = torch.tensor([1.0, 2.0, 3.0, 4.0, 9.0, 0.0, 7.0, 3.5])
    iteration = iteration_of(start, returns.clone())
    if lost:
        returns[6] = torch.nan
        iteration = iteration_of(start, returns)
    else:
        iteration.inner.failed[6] = True
    found = outer.update(params, optimizer, iteration)
    others = torch.tensor([0, 1, 3, 4, 5, 7])
    alone = iteration_of({name: v[others] for name, v in start.items()}, returns[others])
    expected = outer.update(params, optimizer, alone)
    torch.testing.assert_close(found.params, expected.params, rtol=0, atol=1e-7)
    torch.testing.assert_close(found.optimizer, expected.optimizer, rtol=1e-5, atol=1e-7)
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-5)


def test_of_nothing_known_an_update_is_not_finite_and_so_refused():
    outer, params = EvolutionStrategy(), linear_params()
    start = proposal(outer, params, 6)
    everything = iteration_of(start, torch.full((6,), torch.nan))
    update = outer.update(params, outer.init(learned(params)), everything)
    assert not is_finite(update.params)


def test_settings_out_of_range_are_named():
    with pytest.raises(InputError, match=r"sigma = 0.0: must be greater than 0"):
        EvolutionStrategy(sigma=0)
    with pytest.raises(InputError, match=r"learning_rate = -1.0: must be greater than 0"):
        EvolutionStrategy(learning_rate=-1)
    with pytest.raises(InputError, match=r"meta_batch_size = 3: must be even"):
        TrainConfig("navigation", "es-maml", 10, meta_batch_size=3, outer=EvolutionStrategy())


def test_a_linear_policy_is_a_matrix_and_a_bias():
    params = linear_params()
    observations = torch.randn(5, 2, generator=Generator().manual_seed(1))
    expected = observations @ params["weight_0"] + params["bias_0"]
    assert torch.equal(LINEAR.mean(params, observations), expected)
    assert list(params) == ["weight_0", "bias_0", "log_std"]
