"""Adam as meta-optimiser: MAML's outer loop for reinforcement learning without TRPO.

Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
Algorithm 3, line 10, with Adam (Kingma and Ba 2015) in place of plain gradient ascent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from metarl.outer.clipped_steps import bounded_steps, init_steps
from metarl.outer.learner import Update
from metarl.outer.meta_gradient import Iteration, OuterUpdate
from metarl.outer.minibatches import AdaptedPolicies, minibatches
from metarl.policies.params import Params
from metarl_envs.inputs.numbers import Positive

CLIP = 0.3
"""Likelihood ratios are clipped to 1 - CLIP and 1 + CLIP in the logged improvement, as in ProMP.
The step is taken where all ratios are 1, so that it is not clipped."""


@dataclass(frozen=True)
class Adam(OuterUpdate):
    """One step per meta-iteration up the surrogate of phi_K, a mean over tasks, on all data."""

    learning_rate: Positive = 5e-3
    """Step size of the policy's weights, > 0."""
    adaptation_lr: Positive = 1e-3
    """Step size of the adaptation's own meta-parameters, > 0."""
    max_kl: Positive = 0.5
    """Bound on the divergence of the adapted policies, nats, > 0. A step beyond it is taken back,
    and later steps are half as long."""

    def init(self, learned: Params) -> Params:
        return init_steps(learned)

    def update(
        self, params: Params, optimizer: Mapping[str, Tensor], iteration: Iteration
    ) -> Update:
        parts, rates = minibatches(iteration, 1), (self.learning_rate, self.adaptation_lr)
        return bounded_steps(params, optimizer, iteration, parts, self.loss, rates, self.max_kl)

    def loss(self, policies: AdaptedPolicies) -> Tensor:
        return -policies.surrogate(-1, CLIP)
