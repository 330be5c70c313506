"""Iterations whose fitness is known, for tests of evolutionary outer updates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from support.meta_problem import rollouts_with
from torch import Generator, Tensor

from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import InnerLoop
from metarl.outer.meta_gradient import Iteration, OuterUpdate
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import Params, flatten, learned

LINEAR = GaussianMlpPolicy(MlpConfig(hidden_sizes=()), 2, (-1.0, -1.0), (1.0, 1.0))
"""Eight learned numbers: a 2 x 2 weight, two biases, two logarithms of std."""


def linear_params(seed: int = 0) -> Params:
    return LINEAR.init(Generator().manual_seed(seed))


def candidates(start: Params) -> Tensor:
    """Learned entries of each slot: (M, ...) -> (M, D)."""
    return torch.cat([value.flatten(1) for value in learned(start).values()], dim=1)


def iteration_of(start: Params, returns: Tensor) -> Iteration:
    """An iteration whose post-adaptation returns are these, (M,); NaN: all episodes diverged."""
    failed = torch.zeros(len(returns), dtype=torch.bool)
    inner = InnerLoop([rollouts_with(returns)], [], [start], failed, 0.0)
    return Iteration(LINEAR, GradientStep(), "log_prob", inner, progress=0.0)


def maximise(
    outer: OuterUpdate,
    params: Params,
    fitness: Callable[[Tensor, Tensor], Tensor],
    meta_batch_size: int,
    iterations: int,
    seed: int = 0,
) -> Tensor:
    """The learned entries (D,) after some iterations on `fitness(candidates (M, D), task (M,))`."""
    generator = Generator().manual_seed(seed)
    tasks = torch.arange(meta_batch_size) % outer.num_distinct_tasks(meta_batch_size)
    optimizer = outer.init(learned(params))
    for _ in range(iterations):
        start = outer.propose(params, optimizer, meta_batch_size, generator)
        returns = fitness(candidates(start), tasks)
        params, optimizer, _ = outer.update(params, optimizer, iteration_of(start, returns))
    return flatten(learned(params))
