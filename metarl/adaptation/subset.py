"""Gradient steps on a part of the parameters: the head alone (ANIL), a context alone (CAVIA)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from metarl.adaptation.base import Adaptation, Batch, descend
from metarl.policies.params import Params, head, task_entries
from metarl_envs import InputError
from metarl_envs.inputs.numbers import Positive, PositiveShare


@dataclass(frozen=True)
class HeadStep(Adaptation):
    """A gradient step on the last linear layer and the standard deviation; the body stays.

    ANIL: Raghu et al. 2020, "Rapid Learning or Feature Reuse?", section 4. The body's features
    are meta-learned, through the head's step too, and shared by all tasks.
    """

    moves_all_learned: ClassVar[bool] = False

    inner_lr: Positive = 0.1
    """Size of the first step, > 0."""
    inner_lr_decay: PositiveShare = 1.0
    """Factor on the step size from each step to the next, in (0, 1]."""
    first_order: bool = False
    """Drop the second derivatives: d phi / d theta = identity."""

    def step(self, params: Mapping[str, Tensor], batch: Batch, k: int) -> Params:
        sizes = dict.fromkeys(head(params), self.inner_lr * self.inner_lr_decay**k)
        return descend(params, batch.loss, sizes, first_order=self.first_order)

    def scaled(self, factor: float) -> HeadStep:
        return dataclasses.replace(self, inner_lr=factor * self.inner_lr)


@dataclass(frozen=True)
class ContextStep(Adaptation):
    """A gradient step on the context alone, from zero in every task; all weights are shared.

    CAVIA: Zintgraf et al. 2019, "Fast Context Adaptation via Meta-Learning", section 3. What
    each task changes is a few inputs of the first layer, `policy.context_size` of them.
    """

    moves_all_learned: ClassVar[bool] = False

    inner_lr: Positive = 1.0
    """Size of the first step, > 0. The paper's for reinforcement learning: a change of scale of
    the context's incoming weights is a change of step size, so these learn it."""
    inner_lr_decay: PositiveShare = 1.0
    """Factor on the step size from each step to the next, in (0, 1]."""
    first_order: bool = False
    """Drop the second derivatives: the context is then a constant to the outer loop."""

    def begin(self, params: Mapping[str, Tensor]) -> Params:
        if not task_entries(params):
            raise InputError(
                "policy.context_size = 0: must be at least 1 for an adaptation of the context"
            )
        return dict(params)

    def step(self, params: Mapping[str, Tensor], batch: Batch, k: int) -> Params:
        sizes = dict.fromkeys(task_entries(params), self.inner_lr * self.inner_lr_decay**k)
        return descend(params, batch.loss, sizes, first_order=self.first_order)

    def scaled(self, factor: float) -> ContextStep:
        return dataclasses.replace(self, inner_lr=factor * self.inner_lr)
