"""Gradient steps whose sizes are meta-learned: Meta-SGD and the rates of MAML++.

A rate may become negative: the outer loop learns the direction of a step as well as its size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor

from metarl.adaptation.base import Adaptation, Batch, descend
from metarl.policies.params import ADAPTATION, Params, weights
from metarl_envs.inputs.numbers import Count, Positive, Share

RATE = ADAPTATION + "rate."
"""Prefix of a weight's name in the name of its rates."""


@dataclass(frozen=True)
class MetaSgd(Adaptation):
    """phi = theta - rate * gradient, one learned rate for every single weight.

    Li et al. 2017, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", Eq. 3. The rates
    of a weight are shaped as it is: MAML with twice as many meta-parameters. All steps share them.
    """

    moves_all_learned: ClassVar[bool] = False

    init_rate: Positive = 0.1
    """Every rate at the start of meta-training, > 0."""
    first_order: bool = False
    """Drop the second derivatives. The rates are learned all the same."""

    def init(self, weights: Params, generator: Generator) -> Params:
        return {
            RATE + name: value.new_full(value.shape, self.init_rate)
            for name, value in weights.items()
        }

    def step(self, params: Mapping[str, Tensor], batch: Batch, k: int) -> Params:
        sizes = {name: params[RATE + name] for name in weights(params)}
        return descend(params, batch.loss, sizes, first_order=self.first_order)

    def scaled(self, factor: float) -> MetaSgd:
        return dataclasses.replace(self, init_rate=factor * self.init_rate)


@dataclass(frozen=True)
class LayerRates(Adaptation):
    """phi = theta - rate * gradient, one learned rate for each parameter tensor and each step.

    Antoniou et al. 2019, "How to train your MAML" (MAML++), section 4. Of its parts,

    - the rates of each layer and step, and derivative-order annealing, are here;
    - the multi-step loss, whose weights are annealed, belongs to the outer update (`MamlPlusPlus`);
    - cosine annealing of the outer rate, too (`MamlPlusPlus.final_rate`);
    - batch normalisation per step does not apply: these policies have none.
    """

    moves_all_learned: ClassVar[bool] = False

    init_rate: Positive = 0.1
    """Every rate at the start of meta-training, > 0."""
    steps: Count = 3
    """Steps with rates of their own, >= 1. Later steps use those of the last one."""
    first_order_until: Share = 0.0
    """Share of meta-training, in [0, 1], before which second derivatives are dropped: cheaper, and
    steadier while the policy is poor."""
    first_order: bool = False
    """Drop the second derivatives, in all of meta-training. The rates are learned all the same."""

    def init(self, weights: Params, generator: Generator) -> Params:
        return {
            RATE + name: value.new_full((self.steps,), self.init_rate)
            for name, value in weights.items()
        }

    def step(self, params: Mapping[str, Tensor], batch: Batch, k: int) -> Params:
        k = min(k, self.steps - 1)
        sizes = {
            # (M,) -> (M, 1, ..), to multiply the weight's gradient (M, ...).
            name: params[RATE + name][:, k].reshape(-1, *[1] * (value.dim() - 1))
            for name, value in weights(params).items()
        }
        return descend(params, batch.loss, sizes, first_order=self.first_order)

    def scaled(self, factor: float) -> LayerRates:
        return dataclasses.replace(self, init_rate=factor * self.init_rate)

    def at(self, progress: float) -> LayerRates:
        first_order = self.first_order or progress < self.first_order_until
        return dataclasses.replace(self, first_order=first_order)
