"""Discounting, the linear feature baseline and GAE, batched over tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metarl.rollouts.data import Rollouts

BLOCK = 128
"""Time steps that one product sums, so that long episodes do not cost time and memory by T^2."""


@dataclass(frozen=True)
class PolicyBatch:
    """Episodes of M tasks with the advantages and weights that policy losses read."""

    rollouts: Rollouts
    """Data, never differentiated; `log_probs` are those of the policy that acted."""
    advantages: Tensor  # (M, E, T)
    weights: Tensor  # (M, E, T) zero where not valid; each task's sum to 1
    explained_variance: Tensor  # (M,) share of the returns' variance that the baseline explains

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the valid steps of each task: (M, E, T) -> (M,)."""
        return (values * self.weights).flatten(1).sum(-1)


def discounted_sums(terms: Tensor, factor: float) -> Tensor:
    """y_t = x_t + factor * y_(t+1), with y_T = 0: (..., T) -> (..., T).

    By products with triangular matrices of powers, one for every BLOCK steps, instead of a loop
    over time: on a GPU each step of a loop is several kernels.
    """
    steps = torch.arange(min(BLOCK, terms.shape[-1]), dtype=terms.dtype, device=terms.device)
    powers = (factor ** (steps.unsqueeze(1) - steps).clamp(min=0)).tril()
    after, blocks = torch.zeros_like(terms[..., 0]), []
    for block in reversed(terms.split(BLOCK, dim=-1)):
        T = block.shape[-1]
        last = block[..., -1:] + factor * after.unsqueeze(-1)
        blocks.append(torch.cat([block[..., :-1], last], dim=-1) @ powers[:T, :T])
        after = blocks[-1][..., 0]
    return torch.cat(blocks[::-1], dim=-1)


def discounted_returns(rewards: Tensor, valid: Tensor, discount: float) -> Tensor:
    """Discounted reward-to-go within each episode: (..., T) -> (..., T).

    Valid are an episode's first steps, up to its end, or none of them.
    """
    returns = discounted_sums(torch.where(valid, rewards, 0.0), discount)
    return torch.where(valid, returns, 0.0)


def baseline_features(observations: Tensor, time: Tensor) -> Tensor:
    """Features of the linear baseline: (..., O), (...) -> (..., 2 O + 4).

    [o, o^2, tau, tau^2, tau^3, 1] with o clipped to +-10 and tau = t/100 within the episode
    (Duan et al. 2016).
    """
    o = observations.clamp(-10, 10)
    tau = (time / 100).unsqueeze(-1)
    return torch.cat([o, o.square(), tau, tau**2, tau**3, torch.ones_like(tau)], dim=-1)


def fit_baseline(features: Tensor, targets: Tensor, weights: Tensor, ridge: float = 1e-5) -> Tensor:
    """Weighted ridge regression per task: (M, S, F), (M, S), (M, S) -> coefficients (M, F).

    The ridge grows tenfold until the solution is finite, as in the literature.
    """
    weighted = features * weights.unsqueeze(-1)
    gram = weighted.mT @ features
    moment = (weighted.mT @ targets.unsqueeze(-1)).squeeze(-1)
    identity = torch.eye(features.shape[-1], dtype=features.dtype, device=features.device)
    for _ in range(8):
        coefficients, _ = torch.linalg.solve_ex(gram + ridge * identity, moment)
        if bool(torch.isfinite(coefficients).all()):
            return coefficients
        ridge *= 10
    return torch.zeros_like(moment)


def gae(
    rewards: Tensor,
    values: Tensor,
    final_values: Tensor,
    terminated: Tensor,
    valid: Tensor,
    discount: float,
    gae_lambda: float,
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, Eq. 16): (..., T) -> (..., T).

    The value after a step is 0 where the MDP terminated; `final_values` where the episode stopped
    for another reason (its clock ran out); the next step's value otherwise. A step that ends an
    episode both ways counts as terminated.

    Args:
        rewards, values, terminated, valid: (..., T). Valid are an episode's first steps, up to its
            end, or none of them.
        final_values: (...), the value of the state after each episode's last step.
        discount: gamma.
        gae_lambda: lambda.
    """
    final_values = final_values.unsqueeze(-1)
    goes_on = torch.cat([valid[..., 1:], torch.zeros_like(valid[..., :1])], dim=-1)
    following = torch.cat([values[..., 1:], final_values], dim=-1)
    next_values = torch.where(goes_on, following, final_values)
    deltas = rewards + discount * torch.where(terminated, 0.0, next_values) - values
    advantages = discounted_sums(torch.where(valid, deltas, 0.0), discount * gae_lambda)
    return torch.where(valid, advantages, 0.0)


def normalize(advantages: Tensor, weights: Tensor) -> Tensor:
    """Zero mean and unit standard deviation within each task, by its weights: (M, S)."""
    mean = (advantages * weights).sum(-1, keepdim=True)
    variance = ((advantages - mean).square() * weights).sum(-1, keepdim=True)
    return (advantages - mean) / (variance.sqrt() + 1e-8)


def policy_batch(rollouts: Rollouts, discount: float, gae_lambda: float) -> PolicyBatch:
    """Advantages from a baseline refitted to these very rollouts, per task.

    The objective is the return over a fixed horizon and the baseline sees the time, so the value
    after the last step is 0 for truncated episodes too; bootstrapping there would count rewards
    beyond the horizon.
    """
    M, E, T = rollouts.rewards.shape
    S = E * T
    valid = rollouts.valid
    steps = torch.arange(T, dtype=torch.float64, device=valid.device).expand(M, E, T)
    features = baseline_features(rollouts.observations.double(), steps).view(M, S, -1)
    rewards = rollouts.rewards.double()
    counts = valid.view(M, S).double()
    returns = discounted_returns(rewards, valid, discount)
    coefficients = fit_baseline(features, returns.view(M, S), counts)
    values = (features @ coefficients.unsqueeze(-1)).view(M, E, T)
    advantages = gae(
        rewards,
        values,
        torch.zeros_like(values[..., 0]),
        rollouts.terminated,
        valid,
        discount,
        gae_lambda,
    )
    weights = counts / counts.sum(-1, keepdim=True).clamp(min=1)
    dtype = rollouts.observations.dtype
    explained = explained_variance(values.view(M, S), returns.view(M, S), weights)
    return PolicyBatch(
        rollouts,
        advantages=normalize(advantages.view(M, S), weights).to(dtype).view(M, E, T),
        weights=weights.to(dtype).view(M, E, T),
        explained_variance=explained.to(dtype),
    )


def explained_variance(values: Tensor, returns: Tensor, weights: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns) within each task: (M, S) -> (M,)."""

    def variance(x: Tensor) -> Tensor:
        mean = (x * weights).sum(-1, keepdim=True)
        return ((x - mean).square() * weights).sum(-1)

    return 1 - variance(returns - values) / variance(returns).clamp(min=1e-12)


def some_episodes(batch: PolicyBatch, which: slice) -> PolicyBatch:
    """Some episodes of every task, with their weights among all."""
    return replace(
        batch,
        rollouts=batch.rollouts.some_episodes(which),
        advantages=batch.advantages[:, which],
        weights=batch.weights[:, which],
    )


def first_episodes(batch: PolicyBatch, fraction: float) -> PolicyBatch:
    """The first episodes of every task, at least one; each task's weights sum to 1 again."""
    count = max(1, round(fraction * batch.weights.shape[1]))
    first = some_episodes(batch, slice(count))
    sums = first.weights.flatten(1).sum(-1).clamp(min=1e-12)
    return replace(first, weights=first.weights / sums.view(-1, 1, 1))
