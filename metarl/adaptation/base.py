"""The interface of adaptations: pure functions from parameters and episodes to parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from metarl.policies.params import Params, acting, detach, fixed, learned
from metarl.rollouts.advantages import PolicyBatch
from metarl_envs.inputs.plain import PlainFields

Loss = Callable[[Mapping[str, Tensor]], Tensor]
"""Per-task parameters, each (M, ...), to the loss of every task, (M,). Tasks never mix."""


@dataclass(frozen=True)
class Batch:
    """Episodes of M tasks that one step learns from."""

    loss: Loss
    """Loss of each task's policy on its episodes; gradient steps read nothing else."""
    data: PolicyBatch | None = None
    """The episodes, in order of time; None for losses of other data, such as a regression's."""


@dataclass(frozen=True)
class Adaptation(PlainFields, ABC):
    """A rule by which a few episodes change a policy, for M tasks at once.

    A subclass is a frozen dataclass whose fields are the settings; it holds no tensors. It reads
    parameters (see `metarl.policies.params.Params` for their names) and episodes, most simply
    through the loss on them.
    """

    moves_all_learned: ClassVar[bool] = True
    """True if a step moves every meta-learned entry, the adaptation's own included. An outer loop
    without derivatives, such as Reptile's, cannot learn the others."""

    def init(self, weights: Params, generator: Generator) -> Params:
        """Fresh meta-parameters of the adaptation, named `adaptation.*`; {} for none.

        Args:
            weights: the policy's, without axis M, for their names and shapes.
            generator: source of random initial values.
        """
        del weights, generator
        return {}

    def begin(self, params: Mapping[str, Tensor]) -> Params:
        """Parameters (M, ...) at the start of a task, with the memory that steps hand on.

        Entries that are added are named `task.*` and are dropped after the last step.
        """
        return dict(params)

    @abstractmethod
    def step(self, params: Mapping[str, Tensor], batch: Batch, k: int) -> Params:
        """The k-th step: (M, ...) -> (M, ...), differentiable with respect to `params`.

        Args:
            params: the parameters that acted in the episodes.
            batch: the episodes, collected since the last step.
            k: 0 for the first step; evaluation may take more steps than meta-training did.
        """

    def scaled(self, factor: float) -> Adaptation:
        """The adaptation with steps `factor` times as large for the same gradient.

        Unchanged where steps do not depend on the size of the gradient.
        """
        del factor
        return self

    def at(self, progress: float) -> Adaptation:
        """The adaptation at this share of meta-training, in [0, 1]."""
        del progress
        return self


def adapt(adaptation: Adaptation, params: Mapping[str, Tensor], batches: Sequence[Batch]) -> Params:
    """One step for each of the batches: (M, ...) -> (M, ...), the same names."""
    task_params = adaptation.begin(params)
    for k, batch in enumerate(batches):
        task_params = adaptation.step(task_params, batch, k)
    return {name: task_params[name] for name in params}


def loss_gradient(params: Mapping[str, Tensor], names: Sequence[str], loss: Loss) -> Params:
    """Gradient of every task's loss with respect to its own named entries: each (M, ...)."""

    def total(chosen: Params) -> Tensor:
        # The sum's gradient with respect to task m's entries is the gradient of its own loss.
        return loss({**params, **chosen}).sum()

    return torch.func.grad(total)({name: params[name] for name in names})


def descend(
    params: Mapping[str, Tensor],
    loss: Loss,
    step_sizes: Mapping[str, Tensor | float],
    *,
    first_order: bool,
) -> Params:
    """One gradient step on the entries that `step_sizes` names: (M, ...) -> (M, ...).

    Args:
        params: per-task parameters.
        loss: of each task.
        step_sizes: factor on the gradient of each entry that moves.
        first_order: treat the gradient as a constant when this is differentiated.
    """
    grads = loss_gradient(params, list(step_sizes), loss)
    if first_order:
        grads = detach(grads)
    moved = {name: params[name] - size * grads[name] for name, size in step_sizes.items()}
    return {**params, **moved}


@dataclass(frozen=True)
class LinearisedAdaptation:
    """An adaptation at one point, with products by its Jacobian J, for all tasks at once."""

    adapted: Params
    """Entries that the adapted policies act by, without statistics: each (M, ...)."""
    jacobian_product: Callable[[Params], Params]
    """J v: a change of the learned entries -> the change of the adapted ones."""
    transpose_product: Callable[[Params], Params]
    """J^T w: a gradient at the adapted entries -> the gradient at the learned ones."""


def linearise(
    adaptation: Adaptation, params: Mapping[str, Tensor], batches: Sequence[Batch]
) -> LinearisedAdaptation:
    """`adapt` and products by its Jacobian: (M, ...) -> (M, ...)."""
    start, rest = learned(params), fixed(params)

    def adapted(start: Params) -> Params:
        return acting(adapt(adaptation, start | rest, batches))

    outcome, pullback = torch.func.vjp(adapted, start)  # pyright: ignore[reportAssignmentType]
    return LinearisedAdaptation(
        adapted=outcome,
        jacobian_product=lambda v: torch.func.jvp(adapted, (start,), (v,))[1],
        transpose_product=lambda w: pullback(w)[0],
    )
