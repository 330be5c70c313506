"""TRPO as meta-optimiser: a trust-region step on the post-adaptation objective (MAML-TRPO).

Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
section 4.2 and appendix A.2, with TRPO (Schulman et al. 2015) as meta-optimiser:

    maximise   mean over tasks of  E[ pi_phi(a|s) / pi_phi_old(a|s) A(s, a) ]
    subject to mean over tasks of  KL(pi_phi_old || pi_phi) <= max_kl

with phi = adapt(theta) and data collected by pi_phi_old. Gradient and curvature differentiate
through `adapt`, whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.func import jvp, vjp

from metarl.adaptation.adam import adam_step, init_adam
from metarl.adaptation.base import LinearisedAdaptation, adapt, linearise
from metarl.adaptation.losses import inner_batches, mean_kl, surrogate
from metarl.distributed import count_tasks, mean_over_tasks, sums_over_tasks
from metarl.outer.learner import Update
from metarl.outer.meta_gradient import Iteration, OuterUpdate
from metarl.outer.trust_region import Objective, conjugate_gradient, line_search
from metarl.policies.base import Policy
from metarl.policies.gaussian import Gaussian, entropy
from metarl.policies.params import ADAPTATION, Params, expand, fixed, flatten, learned, unflatten
from metarl.policies.params import statistics as statistics_of
from metarl.rollouts.advantages import PolicyBatch, first_episodes
from metarl_envs.inputs.numbers import Count, NotNegative, Positive, PositiveShare, Range


@dataclass(frozen=True)
class Trpo(OuterUpdate):
    """One trust-region step per meta-iteration.

    The adaptation's own meta-parameters (learned rates) are not in the trust region: a change of a
    rate moves the policies far more than one of a weight, and the line search would fail for all.
    They take an Adam step on the same gradient instead.
    """

    max_kl: Positive = 0.01
    """Radius of the trust region, nats, > 0."""
    cg_iterations: Count = 10
    """Conjugate-gradient iterations, >= 1."""
    cg_damping: NotNegative = 1e-5
    """Added to the curvature's diagonal, >= 0."""
    backtrack_ratio: Annotated[float, Range(gt=0, lt=1)] = 0.8
    """Step shrinkage per line-search try, in (0, 1)."""
    max_backtracks: Count = 15
    """Line-search tries, >= 1."""
    curvature_fraction: PositiveShare = 0.1
    """Share of the episodes that Fisher-vector products are computed on, in (0, 1]. The direction
    needs less data than the gradient; the line search checks the true KL on all of it."""
    adaptation_lr: Positive = 1e-3
    """Adam's step size for the adaptation's own meta-parameters, > 0."""

    def init(self, learned: Params) -> Params:
        _, own = partition(learned)
        return init_adam(own) if own else {}

    def update(
        self, params: Params, optimizer: Mapping[str, Tensor], iteration: Iteration
    ) -> Update:
        """As in `OuterUpdate`; the weights stay where the line search finds no improvement."""
        policy, adaptation = iteration.policy, iteration.adaptation
        batches, form = iteration.inner.batches, iteration.inner_loss
        theta, own = partition(learned(params))
        rest = fixed(params) | own
        post = batches[-1]
        failed = iteration.inner.failed
        M = len(failed)
        task_params = expand(params, M)
        task_statistics = statistics_of(task_params)

        linear = linearise(adaptation, task_params, iteration.inner_batches())
        adapted = linear.adapted
        gradient, before, old = surrogate_gradient(policy, adapted, task_statistics, post, failed)
        meta_gradient = sums_over_tasks(linear.transpose_product(gradient), failed)
        del linear  # frees the graph over all samples before the next one is built
        ascent = flatten({name: meta_gradient[name] for name in theta})

        few = [first_episodes(b, self.curvature_fraction) for b in batches]
        product = fisher_vector_product(
            policy,
            linearise(adaptation, task_params, inner_batches(policy, few[:-1], form)),
            adapted,
            task_statistics,
            few[-1],
            failed,
        )
        no_change = {name: torch.zeros_like(value) for name, value in own.items()}

        def damped_product(vector: Tensor) -> Tensor:
            image = product(unflatten(vector, theta) | no_change)
            return flatten({name: image[name] for name in theta}) + self.cg_damping * vector

        direction, curvature = conjugate_gradient(damped_product, ascent, self.cg_iterations)
        length = torch.sqrt(2 * self.max_kl / curvature)
        step = torch.where(curvature == 0, direction, direction * length)

        @torch.no_grad()
        def objective(point: Tensor) -> Objective:
            start = expand(unflatten(point, theta) | rest, M)
            phi = adapt(adaptation, start, iteration.inner_batches())
            return evaluate(policy, phi, post, old, failed)

        point, share, after = line_search(
            objective,
            flatten(theta),
            step,
            Objective(before, torch.zeros_like(before)),
            self.max_kl,
            self.backtrack_ratio,
            self.max_backtracks,
        )
        if own:
            loss_gradient = {name: -meta_gradient[name] for name in own}
            own, optimizer = adam_step(
                own, loss_gradient, optimizer, self.adaptation_lr, self.adaptation_lr
            )
        metrics = {
            "train/policy_loss": -float(before),
            "train/improvement": float(after.surrogate - before),
            "train/approx_kl": float(after.kl),
            "train/grad_norm": float(ascent.norm()),
            "train/step_norm": float(step.norm()),
            "train/step_share": share,
            "train/entropy": float(mean_over_tasks(entropy(old), failed)),
            "train/std": float(iteration.policy.log_std(theta).exp().mean()),
        }
        moved = unflatten(point, theta) | own
        return Update(
            {name: moved.get(name, v) for name, v in params.items()}, dict(optimizer), metrics
        )


def partition(learned: Mapping[str, Tensor]) -> tuple[Params, Params]:
    """(weights of the policy, the adaptation's own meta-parameters)."""
    own = {name: value for name, value in learned.items() if name.startswith(ADAPTATION)}
    return {name: value for name, value in learned.items() if name not in own}, own


def evaluate(
    policy: Policy,
    adapted: Mapping[str, Tensor],
    post: PolicyBatch,
    old: Gaussian,
    failed: Tensor,
) -> Objective:
    """Surrogate and divergence of per-task parameters (M, ...) on post-adaptation data."""
    new = policy.distribution(adapted, post.rollouts)
    return Objective(
        surrogate=mean_over_tasks(surrogate(new, post), failed),
        kl=mean_over_tasks(mean_kl(old, new, post), failed),
    )


def surrogate_gradient(
    policy: Policy,
    adapted: Params,
    statistics: Params,
    post: PolicyBatch,
    failed: Tensor,
) -> tuple[Params, Tensor, Gaussian]:
    """Gradient (M, ...) of the surrogate at the adapted entries, its value, and the policy."""

    def values_and_policy(adapted: Params) -> tuple[Tensor, Gaussian]:
        dist = policy.distribution(adapted | statistics, post.rollouts)
        return surrogate(dist, post), dist

    values, pullback, dist = vjp(values_and_policy, adapted, has_aux=True)  # pyright: ignore[reportAssignmentType]
    share = torch.where(failed, 0.0, torch.ones_like(values)) / count_tasks(failed)
    (gradient,) = pullback(share)
    return gradient, mean_over_tasks(values, failed), dist


def fisher_vector_product(
    policy: Policy,
    linear: LinearisedAdaptation,
    at: Params,
    statistics: Params,
    post: PolicyBatch,
    failed: Tensor,
) -> Callable[[Params], Params]:
    """v -> J^T F J v, the Hessian of the mean KL at theta, on learned entries without axis M.

    At the sampling policy the KL's gradient vanishes, so its Hessian is exactly J^T F J, with J
    the Jacobian of the adaptation and F the Fisher matrix of the adapted policies.

    Args:
        policy: the policy function.
        linear: the adaptation, linearised.
        at: adapted entries at which F is taken, (M, ...).
        statistics: the normaliser's entries, (M, ...).
        post: the post-adaptation batch.
        failed: (M,), tasks that do not count.
    """
    M = len(failed)
    # An entry that no step moves is still a view of `expand`, which forward mode cannot write to.
    at = {name: value.contiguous() for name, value in at.items()}

    def distribution(weights: Params) -> tuple[Tensor, Tensor]:
        dist = policy.distribution(weights | statistics, post.rollouts)
        return dist.mean, dist.log_std

    (_, log_std), pullback = vjp(distribution, at)  # pyright: ignore[reportAssignmentType]
    share = post.weights.unsqueeze(-1) / count_tasks(failed)
    mean_metric = share * torch.exp(-2 * log_std)  # Fisher metric of a Gaussian: 1/std^2
    log_std_metric = 2 * share.sum((1, 2), keepdim=True)  # and 2 for the logarithm of std

    def product(vector: Params) -> Params:
        change = linear.jacobian_product(expand(vector, M))
        _, tangents = jvp(distribution, (at,), (change,))[:2]
        mean_dot, log_std_dot = tangents
        (pulled,) = pullback((mean_metric * mean_dot, log_std_metric * log_std_dot))
        return sums_over_tasks(linear.transpose_product(pulled), failed)

    return product
