"""CMA-ES as outer update: the covariance matrix of the search adapts to the meta-parameters.

Hansen 2016, "The CMA Evolution Strategy: A Tutorial" (arXiv 1604.00772), by the package `cmaes`
(Nomura and Shibata 2024, arXiv 2402.01373). The fitness of a candidate is its return after
adaptation, as in ES-MAML; MAML instead differentiates through the adaptation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from torch import Generator, Tensor

from metarl.distributed import mean_over_tasks
from metarl.outer.learner import Update
from metarl.outer.meta_gradient import Iteration, OuterUpdate
from metarl.policies.params import Params, expand, flatten, learned, unflatten
from metarl_envs import InputError
from metarl_envs.inputs.numbers import Positive, Range

if TYPE_CHECKING:  # imports scipy.stats where that is installed, which takes a second
    from cmaes import CMA

MAX_SIZE = 1000
"""Largest D: a generation takes time in proportion to its cube, a checkpoint to its square."""
MEAN, COVARIANCE, SIGMA = "cma.mean", "cma.covariance", "cma.sigma"
SIGMA_PATH, COVARIANCE_PATH, GENERATION = "cma.path_sigma", "cma.path_c", "cma.generation"


@dataclass(frozen=True)
class CmaEs(OuterUpdate):
    """One generation per meta-iteration; the meta-parameters are the distribution's mean.

    All learned entries are searched, D in all. Candidate p has slots p * M/P to (p + 1) * M/P - 1,
    one on each of M/P tasks, the same for all candidates of a generation. What is logged as
    `rollout/*` and `inner/*` is the mean over candidates, not that of the meta-parameters.
    """

    population: Annotated[int, Range(ge=4)] = 10
    """P, candidates per generation, >= 4, a divisor of the meta-batch's size M."""
    sigma: Positive = 0.3
    """Standard deviation of the first generation in every entry, > 0; it adapts."""

    def init(self, learned: Params) -> Params:
        """As in `OuterUpdate`.

        Raises:
            InputError: if there are too many entries for a covariance matrix.
        """
        mean = flatten(learned)
        if len(mean) > MAX_SIZE:
            raise InputError(
                f"policy.hidden_sizes: CMA-ES searches at most {MAX_SIZE} meta-parameters, these "
                f"are {len(mean)}; use [] (a linear policy) or smaller layers"
            )
        from cmaes import CMA

        search = CMA(_array(mean.double()), self.sigma, population_size=self.population)
        return state_of(search)

    def num_distinct_tasks(self, meta_batch_size: int) -> int:
        if meta_batch_size % self.population:
            raise InputError(
                f"population = {self.population}: must divide meta_batch_size = {meta_batch_size}"
            )
        return meta_batch_size // self.population

    def propose(
        self, params: Params, optimizer: Params, meta_batch_size: int, generator: Generator
    ) -> Params:
        search = restored(optimizer, self.population)
        search.reseed_rng(int(torch.randint(2**32, (), generator=generator)))
        asked = np.stack([search.ask() for _ in range(self.population)])
        theta = learned(params)
        tasks = self.num_distinct_tasks(meta_batch_size)
        slots = torch.from_numpy(asked).repeat_interleave(tasks, dim=0).to(flatten(theta))
        parts = slots.split([value.numel() for value in theta.values()], dim=1)
        candidates = {
            name: part.reshape(-1, *value.shape)
            for (name, value), part in zip(theta.items(), parts, strict=True)
        }
        return expand(params, meta_batch_size) | candidates

    def update(
        self, params: Params, optimizer: Mapping[str, Tensor], iteration: Iteration
    ) -> Update:
        """As in `OuterUpdate`; learns from the evaluated candidates, rounded to float32."""
        theta, start = learned(params), iteration.inner.policies[0]
        returns = iteration.inner.known_returns().double()
        by_candidate = returns.view(self.population, -1)
        slots = torch.cat([start[name].reshape(len(returns), -1) for name in theta], dim=1)
        candidates = _array(slots[:: by_candidate.shape[1]].double())
        scores = fitness(by_candidate)

        search = restored(optimizer, self.population)
        search.tell(list(zip(candidates, (-scores).tolist(), strict=True)))
        state = state_of(search)
        before = flatten(theta)
        mean = state[MEAN].to(before)
        moved = unflatten(mean, theta)
        metrics = {
            "train/step_norm": float((mean - before).norm()),
            "train/sigma": float(state[SIGMA]),
            "train/fitness_best": float(scores.max()),
            "train/fitness_spread": float(scores.std()),
            "train/std": float(iteration.policy.log_std(moved).exp().mean()),
        }
        return Update(params | moved, state, metrics)


def fitness(returns: Tensor) -> Tensor:
    """Mean return of each candidate over the common tasks: (P, M/P) -> (P,).

    A candidate that lost all its episodes on a task, or whose adaptation was not finite (NaN),
    counts as the worst one there; a task of which no candidate's return is known is left out.
    """
    lost = returns.isnan()
    worst = returns.masked_fill(lost, torch.inf).amin(0)
    return mean_over_tasks(torch.where(lost, worst, returns).T, lost.all(0))


def state_of(search: CMA) -> Params:
    """State of the strategy between two generations, as float64: see `restored`.

    Its eigenvectors follow from the covariance, its weights from P and D, and it is seeded anew
    for every generation. Its history of fitness serves stopping rules, which are not used.
    """
    tensors = {
        MEAN: search._mean,
        COVARIANCE: search._C,
        SIGMA: np.array([search._sigma]),
        SIGMA_PATH: search._p_sigma,
        COVARIANCE_PATH: search._pc,
        GENERATION: np.array([float(search._g)]),
    }
    return {name: torch.from_numpy(value.copy()) for name, value in tensors.items()}


def restored(state: Mapping[str, Tensor], population: int) -> CMA:
    """The inverse of `state_of`: every later generation has the same bits."""
    from cmaes import CMA

    arrays = {name: _array(value) for name, value in state.items()}
    sigma = float(arrays[SIGMA][0])
    search = CMA(arrays[MEAN], sigma, cov=arrays[COVARIANCE], population_size=population)
    search._p_sigma, search._pc = arrays[SIGMA_PATH], arrays[COVARIANCE_PATH]
    search._g = int(arrays[GENERATION][0])
    return search


def _array(tensor: Tensor) -> np.ndarray:
    """A copy: a tensor read from a checkpoint may be aligned otherwise, see `unflatten`."""
    return tensor.numpy(force=True).copy()
