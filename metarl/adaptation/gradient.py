"""Adaptation by policy-gradient steps: MAML's inner loop (Finn et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metarl.advantages import PolicyBatch
from metarl.params import Params, detach
from metarl.policies import GaussianMlpPolicy, log_prob
from metarl_envs import InputError

InnerLoss = Literal["log_prob", "ratio"]


@dataclass(frozen=True)
class GradientAdaptationConfig:
    """Settings of the inner loop."""

    inner_lr: float = 0.1
    """Step size of the first inner gradient step, > 0."""
    inner_lr_decay: float = 1.0
    """Factor on the step size from each step to the next, in (0, 1]. The MAML paper halves it
    after the first step when it tests several."""
    adaptation_steps: int = 1
    """K, gradient steps per task in meta-training, each on fresh rollouts, >= 1."""
    inner_loss: InnerLoss = "log_prob"
    """`log_prob`: -log pi A (MAML); `ratio`: -pi/pi_old A (ProMP's low-variance curvature). Equal
    first derivatives at the behaviour policy, unequal second ones."""
    first_order: bool = False
    """Drop the second derivatives: d adapted / d params = identity (FOMAML)."""
    discount: float = 0.99
    """gamma, in (0, 1]."""
    gae_lambda: float = 1.0
    """lambda of GAE, in [0, 1]."""

    def __post_init__(self) -> None:
        if not self.inner_lr > 0:
            raise InputError(f"inner_lr = {self.inner_lr}: must be greater than 0")
        if not 0 < self.inner_lr_decay <= 1:
            raise InputError(f"inner_lr_decay = {self.inner_lr_decay}: must be in (0, 1]")
        if self.adaptation_steps < 1:
            raise InputError(f"adaptation_steps = {self.adaptation_steps}: must be at least 1")
        if not 0 < self.discount <= 1:
            raise InputError(f"discount = {self.discount}: must be in (0, 1]")
        if not 0 <= self.gae_lambda <= 1:
            raise InputError(f"gae_lambda = {self.gae_lambda}: must be in [0, 1]")


def inner_loss(
    policy: GaussianMlpPolicy, params: Mapping[str, Tensor], batch: PolicyBatch, form: InnerLoss
) -> Tensor:
    """Policy-gradient loss of each task: parameters (M, ...) -> (M,).

    A mean over the task's own valid steps; tasks never mix, so a task's gradient does not depend
    on how many others share the batch.
    """
    log_probs = log_prob(policy.distribution(params, batch.observations), batch.actions)
    # pi_old is the policy that acted: data, also when params are differentiated twice.
    score = torch.exp(log_probs - batch.log_probs) if form == "ratio" else log_probs
    return -(score * batch.advantages * batch.weights).sum(-1)


def gradient_step(
    policy: GaussianMlpPolicy,
    params: Mapping[str, Tensor],
    batch: PolicyBatch,
    config: GradientAdaptationConfig,
    k: int = 0,
) -> Params:
    """The k-th inner step, for M tasks at once: (M, ...) -> (M, ...) (Finn et al. 2017, Eq. 1).

    A pure function, differentiable to any order; statistics in `params` pass through unchanged.
    """
    weights, statistics = policy.split(params)

    def summed_loss(weights: Params) -> Tensor:
        return inner_loss(policy, weights | statistics, batch, config.inner_loss).sum()

    # The sum's gradient with respect to task m's weights is the gradient of its own loss.
    grads = torch.func.grad(summed_loss)(weights)
    if config.first_order:
        grads = detach(grads)
    step_size = config.inner_lr * config.inner_lr_decay**k
    moved = {name: value - step_size * grads[name] for name, value in weights.items()}
    return moved | statistics


def adapt(
    policy: GaussianMlpPolicy,
    params: Mapping[str, Tensor],
    batches: Sequence[PolicyBatch],
    config: GradientAdaptationConfig,
) -> Params:
    """K inner steps, the k-th on the k-th batch: (M, ...) -> (M, ...)."""
    adapted = dict(params)
    for k, batch in enumerate(batches):
        adapted = gradient_step(policy, adapted, batch, config, k)
    return adapted


@dataclass(frozen=True)
class LinearisedAdaptation:
    """An adaptation at one point, with products by its Jacobian. Weights only, each (M, ...).

    The Jacobian of one gradient step, I - lr * Hessian, is symmetric, so the reverse-mode product
    of a step (whose graph is built once) serves both directions; only the order of steps differs.
    """

    adapted: Params
    step_products: Sequence[Callable[[Params], Params]]
    """For each step k: v -> (I - lr H_k) v."""

    def jacobian_product(self, tangent: Params) -> Params:
        """J v: a change of the initial weights -> the change of the adapted ones."""
        for product in self.step_products:
            tangent = product(tangent)
        return tangent

    def transpose_product(self, cotangent: Params) -> Params:
        """J^T w: a gradient at the adapted weights -> the gradient at the initial ones."""
        for product in reversed(self.step_products):
            cotangent = product(cotangent)
        return cotangent


def linearise(
    policy: GaussianMlpPolicy,
    params: Mapping[str, Tensor],
    batches: Sequence[PolicyBatch],
    config: GradientAdaptationConfig,
) -> LinearisedAdaptation:
    """`adapt` with the means to differentiate through it: (M, ...) -> (M, ...)."""
    weights, statistics = policy.split(params)
    products = []
    for k, batch in enumerate(batches):

        def step(weights: Params, batch: PolicyBatch = batch, k: int = k) -> Params:
            return policy.split(gradient_step(policy, weights | statistics, batch, config, k))[0]

        weights, pullback = torch.func.vjp(step, weights)  # pyright: ignore[reportAssignmentType]
        products.append(lambda v, pullback=pullback: pullback(v)[0])
    return LinearisedAdaptation(weights, products)
