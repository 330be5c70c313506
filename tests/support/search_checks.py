"""What tests of evolutionary meta-objectives share: iterations whose fitness is known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import InnerLoop
from metarl.outer.base import Iteration, MetaObjective
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import Params, flatten, learned
from metarl.rollouts.data import Rollouts

LINEAR = GaussianMlpPolicy(MlpConfig(hidden_sizes=()), 2, (-1.0, -1.0), (1.0, 1.0))
"""Eight learned numbers: a 2 x 2 weight, two biases, two logarithms of std."""


def linear_params(seed: int = 0) -> Params:
    return LINEAR.init(Generator().manual_seed(seed))


def candidates(start: Params) -> Tensor:
    """Learned entries of each slot: (M, ...) -> (M, D)."""
    return torch.cat([value.flatten(1) for value in learned(start).values()], dim=1)


def iteration_of(start: Params, returns: Tensor) -> Iteration:
    """An iteration whose post-adaptation returns are these, (M,); NaN: all episodes diverged."""
    M = len(returns)
    diverged = returns.isnan().view(M, 1)
    rewards = torch.nan_to_num(returns).view(M, 1, 1)
    flags = torch.zeros(M, 1, 1, dtype=torch.bool)
    rollouts = Rollouts(
        observations=torch.zeros(M, 1, 1, 2),
        actions=torch.zeros(M, 1, 1, 2),
        log_probs=torch.zeros(M, 1, 1),
        rewards=rewards,
        terminated=flags,
        truncated=~flags,
        valid=~diverged.unsqueeze(-1),
        final_observations=torch.zeros(M, 1, 2),
        quantity=torch.zeros(M, 1),
        diverged=diverged,
    )
    inner = InnerLoop([rollouts], [], [start], torch.zeros(M, dtype=torch.bool), 0.0)
    return Iteration(LINEAR, GradientStep(), "log_prob", inner, horizon=1, progress=0.0)


def maximise(
    outer: MetaObjective,
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
