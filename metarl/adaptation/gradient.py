"""Adaptation by gradient steps on all weights: MAML's inner loop (Finn et al. 2017)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from metarl.adaptation.base import Adaptation, Batch, descend
from metarl.policies.params import Params, weights
from metarl_envs.inputs.numbers import Positive, PositiveShare


@dataclass(frozen=True)
class GradientStep(Adaptation):
    """phi = theta - lr * gradient, with one step size for all weights (Finn et al. 2017, Eq. 1)."""

    inner_lr: Positive = 0.1
    """Size of the first step, > 0."""
    inner_lr_decay: PositiveShare = 1.0
    """Factor on the step size from each step to the next, in (0, 1]. The MAML paper halves it
    after the first step when it tests several."""
    first_order: bool = False
    """Drop the second derivatives: d phi / d theta = identity (FOMAML, section 5.2)."""

    def step(self, params: Mapping[str, Tensor], batch: Batch, k: int) -> Params:
        size = self.inner_lr * self.inner_lr_decay**k
        sizes = dict.fromkeys(weights(params), size)
        return descend(params, batch.loss, sizes, first_order=self.first_order)

    def scaled(self, factor: float) -> GradientStep:
        return dataclasses.replace(self, inner_lr=factor * self.inner_lr)
