"""MAML-TRPO: a trust-region step on the post-adaptation objective.

Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
section 4.2 and appendix A.2, with TRPO (Schulman et al. 2015) as meta-optimiser:

    maximise   mean over tasks of  E[ pi_phi(a|s) / pi_phi_old(a|s) A(s, a) ]
    subject to mean over tasks of  KL(pi_phi_old || pi_phi) <= max_kl

with phi = adapt(theta) and data collected by pi_phi_old. Gradient and curvature differentiate
through `adapt`, to second order unless `first_order`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp

from metarl.adaptation.gradient import (
    GradientAdaptationConfig,
    LinearisedAdaptation,
    adapt,
    linearise,
)
from metarl.advantages import PolicyBatch
from metarl.algorithms.trust_region import Objective, conjugate_gradient, line_search
from metarl.params import Params, expand, flatten, unflatten
from metarl.policies import Gaussian, GaussianMlpPolicy, entropy, kl_divergence, log_prob
from metarl_envs import InputError


@dataclass(frozen=True)
class TrpoConfig:
    """Settings of the outer step."""

    max_kl: float = 0.01
    """Radius of the trust region, nats, > 0."""
    cg_iterations: int = 10
    """Conjugate-gradient iterations, >= 1."""
    cg_damping: float = 1e-5
    """Added to the curvature's diagonal, >= 0."""
    backtrack_ratio: float = 0.8
    """Step shrinkage per line-search try, in (0, 1)."""
    max_backtracks: int = 15
    """Line-search tries, >= 1."""
    curvature_fraction: float = 0.1
    """Share of the episodes that Fisher-vector products are computed on, in (0, 1]. The direction
    needs less data than the gradient; the line search checks the true KL on all of it."""

    def __post_init__(self) -> None:
        if not self.max_kl > 0:
            raise InputError(f"max_kl = {self.max_kl}: must be greater than 0")
        if not 0 < self.backtrack_ratio < 1:
            raise InputError(f"backtrack_ratio = {self.backtrack_ratio}: must be between 0 and 1")
        if not 0 < self.curvature_fraction <= 1:
            raise InputError(
                f"curvature_fraction = {self.curvature_fraction}: must be greater than 0, at most 1"
            )
        for name in ("cg_iterations", "max_backtracks"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: must be at least 1")
        if self.cg_damping < 0:
            raise InputError(f"cg_damping = {self.cg_damping}: must be at least 0")


def surrogate(dist: Gaussian, post: PolicyBatch) -> Tensor:
    """Importance-weighted advantage of per-task policies on post-adaptation data: ().

    A mean over each task's valid steps, then over tasks.
    """
    ratio = torch.exp(log_prob(dist, post.actions) - post.log_probs)
    return (ratio * post.advantages * post.weights).sum(-1).mean()


def evaluate(
    policy: GaussianMlpPolicy, adapted: Mapping[str, Tensor], post: PolicyBatch, old: Gaussian
) -> Objective:
    """Surrogate and divergence of per-task parameters (M, ...) on post-adaptation data."""
    new = policy.distribution(adapted, post.observations)
    return Objective(
        surrogate=surrogate(new, post),
        kl=(kl_divergence(old, new) * post.weights).sum(-1).mean(),
    )


def surrogate_gradient(
    policy: GaussianMlpPolicy, weights: Params, statistics: Params, post: PolicyBatch
) -> tuple[Params, Tensor, Gaussian]:
    """Gradient (M, ...) of the surrogate at the adapted weights, its value, and the policy."""

    def value_and_policy(weights: Params) -> tuple[Tensor, tuple[Tensor, Gaussian]]:
        dist = policy.distribution(weights | statistics, post.observations)
        value = surrogate(dist, post)
        return value, (value, dist)

    gradient, (value, dist) = grad(value_and_policy, has_aux=True)(weights)
    return gradient, value, dist


def fisher_vector_product(
    policy: GaussianMlpPolicy,
    linear: LinearisedAdaptation,
    at: Params,
    statistics: Params,
    post: PolicyBatch,
) -> Callable[[Params], Params]:
    """v -> J^T F J v, the Hessian of the mean KL at theta, from and to parameters without axis M.

    At the sampling policy the KL's gradient vanishes, so its Hessian is exactly J^T F J, with J
    the Jacobian of the adaptation and F the Fisher matrix of the adapted policies.

    Args:
        policy: the policy function.
        linear: the adaptation, linearised.
        at: adapted weights at which F is taken, (M, ...).
        statistics: the normaliser's entries, (M, ...).
        post: the post-adaptation batch.
    """
    M = len(post.weights)

    def distribution(weights: Params) -> tuple[Tensor, Tensor]:
        dist = policy.distribution(weights | statistics, post.observations)
        return dist.mean, dist.log_std

    (_, log_std), pullback = vjp(distribution, at)  # pyright: ignore[reportAssignmentType]
    share = post.weights.unsqueeze(-1) / M
    mean_metric = share * torch.exp(-2 * log_std)  # Fisher metric of a Gaussian: 1/std^2
    log_std_metric = 2 * share.sum(1, keepdim=True)  # and 2 for the logarithm of std

    def product(vector: Params) -> Params:
        change = linear.jacobian_product(expand(vector, M))
        _, tangents = jvp(distribution, (at,), (change,))[:2]
        mean_dot, log_std_dot = tangents
        (pulled,) = pullback((mean_metric * mean_dot, log_std_metric * log_std_dot))
        return sum_tasks(linear.transpose_product(pulled))

    return product


def sum_tasks(params: Mapping[str, Tensor]) -> Params:
    """Sum over the task axis, the transpose of `expand`: (M, ...) -> (...)."""
    return {name: value.sum(0) for name, value in params.items()}


@dataclass(frozen=True)
class MamlTrpo:
    """The outer update. Stateless: everything it needs comes with the call."""

    policy: GaussianMlpPolicy
    inner: GradientAdaptationConfig
    outer: TrpoConfig

    def update(
        self, params: Params, batches: Sequence[PolicyBatch], horizon: int
    ) -> tuple[Params, dict[str, float]]:
        """One step of the meta-parameters on K inner batches and the post-adaptation batch.

        Args:
            params: meta-parameters without axis M.
            batches: K + 1 batches; the last was collected by the adapted policies.
            horizon: T, so that whole episodes can be left out of the curvature.

        Returns:
            New parameters, equal to the old ones where the line search found no improvement, and
            metrics.
        """
        policy, config = self.policy, self.outer
        theta, statistics = policy.split(params)
        post = batches[-1]
        M = len(post.weights)
        task_params = expand(theta | statistics, M)
        task_statistics = expand(statistics, M)

        linear = linearise(policy, task_params, batches[:-1], self.inner)
        adapted = linear.adapted
        gradient, before, old = surrogate_gradient(policy, adapted, task_statistics, post)
        meta_gradient = flatten(sum_tasks(linear.transpose_product(gradient)))
        del linear  # frees the graph over all samples before the next one is built

        few = [first_episodes(batch, horizon, config.curvature_fraction) for batch in batches]
        product = fisher_vector_product(
            policy,
            linearise(policy, task_params, few[:-1], self.inner),
            adapted,
            task_statistics,
            few[-1],
        )

        def damped_product(vector: Tensor) -> Tensor:
            image = flatten(product(unflatten(vector, theta)))
            return image + config.cg_damping * vector

        direction, curvature = conjugate_gradient(
            damped_product, meta_gradient, config.cg_iterations
        )
        length = torch.sqrt(2 * config.max_kl / curvature)
        step = torch.where(curvature == 0, direction, direction * length)

        @torch.no_grad()
        def objective(point: Tensor) -> Objective:
            start = expand(unflatten(point, theta) | statistics, M)
            return evaluate(policy, adapt(policy, start, batches[:-1], self.inner), post, old)

        point, share, after = line_search(
            objective,
            flatten(theta),
            step,
            Objective(before, torch.zeros_like(before)),
            config.max_kl,
            config.backtrack_ratio,
            config.max_backtracks,
        )
        metrics = {
            "train/policy_loss": -float(before),
            "train/improvement": float(after.surrogate - before),
            "train/approx_kl": float(after.kl),
            "train/grad_norm": float(meta_gradient.norm()),
            "train/step_norm": float(step.norm()),
            "train/step_share": share,
            "train/entropy": float(entropy(old).mean()),
            "train/std": float(theta["log_std"].exp().mean()),
        }
        return unflatten(point, theta) | statistics, metrics


def first_episodes(batch: PolicyBatch, horizon: int, fraction: float) -> PolicyBatch:
    """The first episodes of every task, weights renormalised; at least one episode."""
    S = batch.weights.shape[1]
    kept = horizon * max(1, round(fraction * S / horizon))
    weights = batch.weights[:, :kept]
    return PolicyBatch(
        observations=batch.observations[:, :kept].contiguous(),
        actions=batch.actions[:, :kept].contiguous(),
        log_probs=batch.log_probs[:, :kept].contiguous(),
        advantages=batch.advantages[:, :kept].contiguous(),
        weights=weights / weights.sum(-1, keepdim=True).clamp(min=1e-12),
        explained_variance=batch.explained_variance,
    )
