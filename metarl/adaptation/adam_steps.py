"""Fine-tuning: several steps of Adam on the same episodes, as ordinary PPO takes them.

With the inner loss `clipped` this is PPO (Schulman et al. 2017, Algorithm 1) on one task, whole
batches instead of minibatches and the linear baseline instead of a learned critic, for all tasks at
once. It is the adaptation of a policy that was never trained to adapt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.adaptation.adam import COUNT, FIRST, SECOND, adam_step, init_adam
from metarl.adaptation.base import Adaptation, Batch, loss_gradient
from metarl.policies.params import TASK, Params, weights
from metarl_envs.inputs.numbers import Count, Positive


@dataclass(frozen=True)
class AdamSteps(Adaptation):
    """`epochs` Adam steps on all weights per collection; a task keeps its moments to its end."""

    learning_rate: Positive = 1e-3
    """Adam's step size, > 0."""
    epochs: Count = 20
    """Adam steps per collection, each on all of its episodes, >= 1."""

    def begin(self, params: Mapping[str, Tensor]) -> Params:
        moments = init_adam(weights(params))
        return {**params, **{TASK + name: moments[name] for name in moments if name != COUNT}}

    def step(self, params: Mapping[str, Tensor], batch: Batch, k: int) -> Params:
        state = dict(params)
        for epoch in range(self.epochs):
            theta = weights(state)
            moments = {
                kind + name: state[TASK + kind + name] for name in theta for kind in (FIRST, SECOND)
            }
            taken = torch.tensor(float(k * self.epochs + epoch))
            moved, moments = adam_step(
                theta,
                loss_gradient(state, list(theta), batch.loss),
                moments | {COUNT: taken},
                self.learning_rate,
                self.learning_rate,
            )
            state |= moved | {TASK + n: value for n, value in moments.items() if n != COUNT}
        return state
