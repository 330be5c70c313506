"""Small policies and random batches for tests of the learner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.adaptation.base import Adaptation, Loss, loss_gradient
from metarl.policies.gaussian import log_prob
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import TASK, Params, expand, weights
from metarl.rollouts.advantages import PolicyBatch


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

    observations = randn(num_tasks, num_samples, policy.observation_size)
    dist = policy.distribution(behaviour, observations)
    noise = randn(num_tasks, num_samples, policy.action_size)
    actions = (dist.mean + dist.log_std.exp() * noise).detach()
    weights = torch.ones(num_tasks, num_samples, dtype=torch.float64)
    weights[:, num_samples - num_invalid :] = 0
    return PolicyBatch(
        observations=observations,
        actions=actions,
        log_probs=log_prob(dist, actions).detach(),
        advantages=randn(num_tasks, num_samples),
        weights=weights / weights.sum(-1, keepdim=True),
        explained_variance=torch.zeros(num_tasks, dtype=torch.float64),
    )


def one_task(batch: PolicyBatch, m: int) -> PolicyBatch:
    """Task m alone, its axis kept."""
    return PolicyBatch(
        batch.observations[m : m + 1],
        batch.actions[m : m + 1],
        batch.log_probs[m : m + 1],
        batch.advantages[m : m + 1],
        batch.weights[m : m + 1],
        batch.explained_variance[m : m + 1],
    )


def inner_batches(policy: GaussianMlpPolicy, theta: Params, num_tasks: int, count: int) -> list:
    """`count` batches, each drawn from a slightly different behaviour policy."""
    return [
        random_batch(policy, expand(theta, num_tasks), num_tasks, seed=10 + k) for k in range(count)
    ]


@dataclass(frozen=True)
class Momentum(Adaptation):
    """Gradient steps that remember the last one: an adaptation with memory, simple enough to read.

    v <- 0.5 v - 0.1 gradient and theta <- theta + v, with v zero when a task begins.
    """

    def begin(self, params: Mapping[str, Tensor]) -> Params:
        velocity = {TASK + name: torch.zeros_like(v) for name, v in weights(params).items()}
        return {**params, **velocity}

    def step(self, params: Mapping[str, Tensor], loss: Loss, k: int) -> Params:
        theta = weights(params)
        grads = loss_gradient(params, list(theta), loss)
        velocity = {name: 0.5 * params[TASK + name] - 0.1 * grads[name] for name in theta}
        moved = {name: value + velocity[name] for name, value in theta.items()}
        return {**params, **moved, **{TASK + name: v for name, v in velocity.items()}}
