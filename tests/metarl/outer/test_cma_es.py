"""CMA-ES: its state as tensors is all of it, candidates share tasks, and it finds an optimum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cmaes import CMA
from support.search_checks import candidates, iteration_of, linear_params, maximise
from torch import Generator

from metarl.methods.config import TrainConfig
from metarl.outer.cma_es import COVARIANCE, GENERATION, MEAN, CmaEs, fitness, restored, state_of
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import expand, flatten, is_finite, learned
from metarl_envs import InputError

GOAL = torch.linspace(-2, 2, 8)


def proposal(outer, params, M, seed=0):
    optimizer = outer.init(learned(params))
    return optimizer, outer.propose(params, optimizer, M, Generator().manual_seed(seed))


def generation(search, seed):
    """Ask and tell once, on an ellipsoid."""
    search.reseed_rng(seed)
    asked = np.stack([search.ask() for _ in range(search.population_size)])
    scales = 10.0 ** np.linspace(0, 3, search.dim)
    search.tell([(x, float((scales * x**2).sum())) for x in asked])
    return asked


@pytest.mark.parametrize("size", [3, 40])
def test_ten_generations_through_tensors_are_ten_generations_of_the_package(size):
    straight = CMA(np.linspace(1, 2, size), 0.5, population_size=12)
    state = state_of(CMA(np.linspace(1, 2, size), 0.5, population_size=12))
    for seed in range(10):
        expected = generation(straight, seed)
        search = restored(state, 12)
        assert np.array_equal(generation(search, seed), expected)
        state = state_of(search)
        for name, value in state_of(straight).items():
            assert torch.equal(state[name], value), (seed, name)
    assert straight.generation == int(state[GENERATION]) == 10


def test_the_state_is_a_copy():
    search = CMA(np.zeros(3), 0.5, population_size=6)
    state = state_of(search)
    kept = {name: value.clone() for name, value in state.items()}
    generation(restored(state, 6), 0)
    generation(search, 0)
    for name, value in kept.items():
        assert torch.equal(state[name], value), name


def test_every_candidate_has_a_block_of_slots_with_all_the_tasks():
    outer, M = CmaEs(population=4), 12
    _, start = proposal(outer, linear_params(), M)
    tasks = torch.arange(M) % outer.num_distinct_tasks(M)
    assert tasks.tolist() == [0, 1, 2] * 4
    found = candidates(start)
    blocks = found.unflatten(0, (4, 3))
    assert torch.equal(blocks, blocks[:, :1].expand(-1, 3, -1))
    assert len(found.unique(dim=0)) == 4
    assert all(value.dtype == torch.float32 for value in start.values())


def test_candidates_depend_on_the_generator_alone():
    outer, params = CmaEs(population=4), linear_params()
    first, again, other = (candidates(proposal(outer, params, 4, seed)[1]) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not bool((first == other).any())


def test_the_first_generation_has_the_given_mean_and_spread():
    outer, params = CmaEs(population=4000, sigma=0.2), linear_params()
    noise = candidates(proposal(outer, params, 4000)[1]) - flatten(params)
    assert float(noise.std()) == pytest.approx(0.2, rel=0.02)
    assert float(noise.mean().abs()) < 0.005


def test_update_tells_the_package_the_mean_return_of_each_candidate():
    """One generation by the package alone, from the rounded candidates and hand-made averages."""
    outer, params = CmaEs(population=4), linear_params()
    optimizer, start = proposal(outer, params, 8)
    by_task = torch.tensor([[1.0, 3.0], [8.0, 0.0], [-1.0, 0.0], [5.0, 5.0]])
    update = outer.update(params, optimizer, iteration_of(start, by_task.flatten()))
    search = CMA(flatten(params).double().numpy(), 0.3, population_size=4)
    asked = candidates(start)[::2].double().numpy()
    search.tell(list(zip(asked, (-2.0, -4.0, 0.5, -5.0), strict=True)))
    assert torch.equal(update.optimizer[MEAN], torch.from_numpy(search.mean))
    assert torch.equal(flatten(update.params), torch.from_numpy(search.mean).float())
    assert {n: v.dtype for n, v in update.params.items()} == {n: v.dtype for n, v in params.items()}
    for name, value in state_of(search).items():
        assert torch.equal(update.optimizer[name], value), name


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_the_optimum_of_an_ill_conditioned_quadratic(seed):
    scales = 10.0 ** torch.linspace(0, 4, 8)

    def ellipsoid(x, task):
        return 1e3 * task.double() - (scales * (x - GOAL).square()).double().sum(-1)

    params = linear_params(seed)
    assert float((flatten(params) - GOAL).norm()) > 3
    found = maximise(CmaEs(population=10), params, ellipsoid, 20, 250, seed)
    assert float((found - GOAL).norm()) < 1e-3


def test_lost_episodes_count_as_the_worst_candidate_of_their_task():
    nan = torch.nan
    returns = torch.tensor([[1.0, nan, nan], [3.0, 5.0, nan], [2.0, 7.0, nan]])
    assert torch.equal(fitness(returns), torch.tensor([6.0, 8.0, 9.0]) / 2)


@pytest.mark.parametrize("lost", [True, False], ids=["lost its episodes", "failed to adapt"])
def test_a_candidate_of_which_nothing_is_known_ranks_last(lost):
    outer, params = CmaEs(population=4), linear_params()
    optimizer, start = proposal(outer, params, 4)
    iteration = iteration_of(start, torch.tensor([1.0, 2.0, torch.nan if lost else 9.0, 0.5]))
    iteration.inner.failed[2] = not lost
    worst = iteration_of(start, torch.tensor([1.0, 2.0, 0.5, 0.5]))
    found, expected = (outer.update(params, optimizer, each) for each in (iteration, worst))
    assert torch.equal(flatten(found.params), flatten(expected.params))
    assert is_finite(found.params | found.optimizer)


def test_of_nothing_known_an_update_is_not_finite_and_so_refused():
    outer, params = CmaEs(population=4), linear_params()
    optimizer, start = proposal(outer, params, 8)
    everything = iteration_of(start, torch.full((8,), torch.nan))
    update = outer.update(params, optimizer, everything)
    assert math.isnan(update.metrics["train/fitness_best"])


def test_statistics_are_not_searched():
    config = MlpConfig(hidden_sizes=(), normalize_observations=True)
    params = GaussianMlpPolicy(config, 2, (-1.0,), (1.0,)).init(Generator().manual_seed(0))
    optimizer, start = proposal(CmaEs(population=4), params, 4)
    assert optimizer[COVARIANCE].shape == (4, 4)  # two weights, a bias, a standard deviation
    rest = {name: value for name, value in params.items() if name.startswith("obs_")}
    for name, value in expand(rest, 4).items():
        assert torch.equal(start[name], value)


def test_settings_out_of_range_are_named():
    with pytest.raises(InputError, match=r"population = 3: must be at least 4"):
        CmaEs(population=3)
    with pytest.raises(InputError, match=r"sigma = 0.0: must be greater than 0"):
        CmaEs(sigma=0)
    with pytest.raises(InputError, match=r"population = 7: must divide meta_batch_size = 40"):
        TrainConfig("navigation", "cma-es", 10, meta_batch_size=40, outer=CmaEs(population=7))


def test_a_policy_too_big_for_a_covariance_matrix_is_refused():
    big = GaussianMlpPolicy(MlpConfig(hidden_sizes=(64, 64)), 17, (-1.0,), (1.0,))
    with pytest.raises(InputError, match=r"policy.hidden_sizes: .* at most 1000 .* use \[\]"):
        CmaEs().init(learned(big.init(Generator())))
