"""Small policies and random batches for tests of the learner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.adaptation.base import Adaptation, Batch, loss_gradient
from metarl.policies.gaussian import log_prob
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import TASK, Params, weights
from metarl.rollouts.advantages import PolicyBatch
from metarl.rollouts.data import Rollouts

HORIZON = 5


def small_policy(observation_size: int = 3, action_size: int = 2) -> GaussianMlpPolicy:
    return GaussianMlpPolicy(
        MlpConfig(hidden_sizes=(5, 4)),
        observation_size,
        (-1.0,) * action_size,
        (1.0,) * action_size,
    )


def double_params(policy: GaussianMlpPolicy, seed: int = 0) -> Params:
    generator = torch.Generator().manual_seed(seed)
    params = {name: value.double() for name, value in policy.init(generator).items()}
    return {
        name: value + 0.1 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in params.items()
    }


def random_batch(
    policy: GaussianMlpPolicy,
    behaviour: Params,
    num_tasks: int,
    num_samples: int = 30,
    seed: int = 0,
    num_invalid: int = 4,
) -> PolicyBatch:
    """Actions drawn from `behaviour` (M, ...), random advantages, the last few steps invalid."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    E = num_samples // HORIZON
    observations = randn(num_tasks, E, HORIZON, policy.observation_size)
    dist = policy.distribution(behaviour, rollouts_of(observations))
    noise = randn(num_tasks, E, HORIZON, policy.action_size)
    actions = (dist.mean + dist.log_std.exp() * noise).detach()
    return batch_of(
        rollouts_of(observations, actions, log_prob(dist, actions).detach()),
        advantages=randn(num_tasks, E, HORIZON),
        valid=(torch.arange(num_samples) < num_samples - num_invalid).view(E, HORIZON),
    )


def batch_of(rollouts: Rollouts, advantages: Tensor, valid: Tensor | None = None) -> PolicyBatch:
    """A batch of all steps, or of those that are valid: (M, E, T), (E, T)."""
    weights = torch.ones_like(advantages) if valid is None else valid.expand_as(advantages).double()
    return PolicyBatch(
        rollouts,
        advantages,
        weights / weights.sum((1, 2), keepdim=True),
        explained_variance=torch.zeros(len(advantages), dtype=torch.float64),
    )


def rollouts_of(
    observations: Tensor,
    actions: Tensor | None = None,
    log_probs: Tensor | None = None,
    rewards: Tensor | None = None,
    diverged: Tensor | None = None,
) -> Rollouts:
    """Whole episodes: (M, E, T, O), (M, E, T, A), (M, E, T), (M, E, T), (M, E); zeros if absent."""
    zeros = torch.zeros_like(observations[..., 0])
    diverged = torch.zeros(zeros.shape[:2], dtype=torch.bool) if diverged is None else diverged
    clock = (torch.arange(zeros.shape[-1]) == zeros.shape[-1] - 1).expand(zeros.shape)
    return Rollouts(
        observations,
        torch.zeros_like(observations) if actions is None else actions,
        zeros if log_probs is None else log_probs,
        zeros if rewards is None else rewards,
        terminated=torch.zeros_like(clock),
        truncated=clock,
        valid=~diverged.unsqueeze(-1).expand(zeros.shape),
        final_observations=observations[:, :, -1],
        quantity=zeros[..., 0],
        diverged=diverged,
    )


def some_tasks(batch: PolicyBatch, tasks: Sequence[int]) -> PolicyBatch:
    """These tasks alone."""
    rows = list(tasks)
    rest = ("advantages", "weights", "explained_variance")
    chosen = {name: getattr(batch, name)[rows] for name in rest}
    return PolicyBatch(batch.rollouts.some_tasks(rows), **chosen)


@dataclass(frozen=True)
class Momentum(Adaptation):
    """Gradient steps that remember the last one: an adaptation with memory, simple enough to read.

    v <- 0.5 v - 0.1 gradient and theta <- theta + v, with v zero when a task begins.
    """

    def begin(self, params: Mapping[str, Tensor]) -> Params:
        velocity = {TASK + name: torch.zeros_like(v) for name, v in weights(params).items()}
        return {**params, **velocity}

    def step(self, params: Mapping[str, Tensor], batch: Batch, k: int) -> Params:
        theta = weights(params)
        grads = loss_gradient(params, list(theta), batch.loss)
        velocity = {name: 0.5 * params[TASK + name] - 0.1 * grads[name] for name in theta}
        moved = {name: value + velocity[name] for name, value in theta.items()}
        return {**params, **moved, **{TASK + name: v for name, v in velocity.items()}}


def largest_difference(first, second) -> float:
    """Between two parameter dicts."""
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)
