"""Evolution strategies as outer update: ES-MAML, which needs no derivative of the adaptation.

Song et al. 2020, "ES-MAML: Simple Hessian-Free Meta Learning" (arXiv 1910.01215), Algorithm 3:
the outer loop ascends the Gaussian smoothing of the return after adaptation U,

    gradient of  E[ f(U(theta + sigma eps)) ]  =  E[ f(U(theta + sigma eps)) eps ] / sigma,

estimated with antithetic pairs. MAML differentiates through U; here U may be anything. As in
Salimans et al. 2017 (arXiv 1703.03864) ranks stand for returns and Adam takes the step; ranked are
the differences within pairs, because a pair shares its task and tasks differ in their best return.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl import distributed
from metarl.adaptation.adam import adam_step, init_adam
from metarl.outer.learner import Update
from metarl.outer.meta_gradient import Iteration, OuterUpdate
from metarl.policies.params import Params, expand, flatten, learned
from metarl_envs import InputError
from metarl_envs.inputs.numbers import Positive


@dataclass(frozen=True)
class EvolutionStrategy(OuterUpdate):
    """One step of Adam on an estimate of the gradient from M / 2 pairs, each on a task of its own.

    All learned entries are perturbed, the adaptation's own included. Slots m and m + M/2 start
    from theta + sigma eps_m and theta - sigma eps_m and meet the same task. What is logged as
    `rollout/*` and `inner/*` is that of the perturbed slots, not that of theta.
    """

    sigma: Positive = 0.1
    """Standard deviation of the perturbations, > 0. 0.1 is the paper's code's."""
    learning_rate: Positive = 0.05
    """Adam's step size, > 0."""

    def init(self, learned: Params) -> Params:
        return init_adam(learned)

    def num_distinct_tasks(self, meta_batch_size: int) -> int:
        if meta_batch_size % 2:
            raise InputError(
                f"meta_batch_size = {meta_batch_size}: must be even, for antithetic pairs"
            )
        return meta_batch_size // 2

    def propose(
        self, params: Params, optimizer: Params, meta_batch_size: int, generator: Generator
    ) -> Params:
        start = expand(params, meta_batch_size)
        pairs = self.num_distinct_tasks(meta_batch_size)
        for name, value in learned(params).items():
            noise = torch.randn((pairs, *value.shape), generator=generator).to(value)
            start[name] = value + self.sigma * torch.cat([noise, -noise])
        return start

    def update(
        self, params: Params, optimizer: Mapping[str, Tensor], iteration: Iteration
    ) -> Update:
        theta = learned(params)
        returns = iteration.inner.known_returns().to(flatten(theta))
        upper, lower = returns.chunk(2)
        gain = upper - lower  # (M/2,)
        difference = distributed.mean_over_tasks(gain.square(), gain.isnan()).sqrt()
        start = {name: iteration.inner.policies[0][name] for name in theta}
        ranks = distributed.own_slice(signed_ranks(distributed.gather_over_ranks(gain)))
        ascent = smoothed_gradient(start, ranks, self.sigma)
        descent = {name: -value for name, value in ascent.items()}
        rate = self.learning_rate
        moved, optimizer = adam_step(theta, descent, optimizer, rate, adaptation_lr=rate)
        step = {name: moved[name] - value for name, value in theta.items()}
        metrics = {
            "train/grad_norm": float(flatten(ascent).norm()),
            "train/step_norm": float(flatten(step).norm()),
            "train/pair_difference": float(difference),
            "train/std": float(iteration.policy.log_std(moved).exp().mean()),
        }
        return Update(params | moved, optimizer, metrics)


def signed_ranks(gain: Tensor) -> Tensor:
    """Size ranks with the signs of the differences: (n,) -> (n,), in [-1, 1].

    Like the centred ranks of Salimans et al., they make a step independent of the scale of returns
    and of outliers. A pair without a known difference (NaN) has no rank: NaN.
    """
    known = ~gain.isnan()
    size = torch.where(known, gain.abs(), -1.0)  # the others come first
    rank = size.argsort(stable=True).argsort(stable=True) + 1 - (~known).sum()
    return torch.where(known, gain.sign() * rank / known.sum(), torch.nan)


def smoothed_gradient(start: Mapping[str, Tensor], gain: Tensor, sigma: float) -> Params:
    """The antithetic estimate, mean over pairs of gain * eps / (2 sigma): (M, ...) -> (...).

    Salimans et al. 2017, section 2.1. With plain differences of returns it is unbiased. Unknown
    pairs (NaN) are left out; if all are unknown, the estimate is NaN.

    Args:
        start: parameters of M slots, theta + sigma eps in the first half, theta - sigma eps in
            the same order in the second.
        gain: fitness of each upper policy minus that of its mirror image, (M/2,).
        sigma: standard deviation of the perturbations.
    """
    halves = {name: value.chunk(2) for name, value in start.items()}
    unknown = gain.isnan()
    gain = torch.where(unknown, 0.0, gain)
    scale = (4 * sigma**2 * distributed.count_tasks(unknown).double()).to(gain.dtype)
    sums = distributed.sum_by_name(
        {
            name: torch.tensordot(gain, upper - lower, dims=1)
            for name, (upper, lower) in halves.items()
        }
    )
    return {name: value / scale for name, value in sums.items()}
