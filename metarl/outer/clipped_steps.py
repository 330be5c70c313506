"""Settings that updates by PPO's clipped surrogate share: ProMP, E-MAML, MAML++ and PPO itself."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from metarl.outer.bounded_steps import bounded_steps, init_steps
from metarl.outer.learner import Update
from metarl.outer.meta_gradient import Iteration, OuterUpdate
from metarl.outer.minibatches import AdaptedPolicies, minibatches
from metarl.policies.params import Params
from metarl_envs import InputError


@dataclass(frozen=True)
class ClippedSteps(OuterUpdate):
    """Several steps of Adam per meta-iteration on a clipped surrogate."""

    learning_rate: float = 1e-3
    """Adam's step size for the policy's weights, > 0."""
    adaptation_lr: float = 1e-3
    """Adam's step size for the adaptation's own meta-parameters, > 0."""
    final_rate: float = 1.0
    """Share of both step sizes that is left at the end of meta-training, in [0, 1]; on the way
    there they follow half a cosine (Loshchilov and Hutter 2017, Eq. 5; MAML++, section 4)."""
    epochs: int = 1
    """Passes over the data of a meta-iteration, >= 1."""
    minibatches: int = 5
    """Adam steps per pass, >= 1, each on its share of every task's episodes. ProMP's own choice is
    5 passes over 1 minibatch, at five times the cost."""
    clip: float = 0.3
    """Likelihood ratios count within 1 - clip and 1 + clip, in (0, 1)."""
    max_kl: float = 0.5
    """Bound on the divergence of the adapted policies in an iteration, nats, > 0. A step beyond it
    is taken back and steps are half as long from then on, until iterations without such a step let
    them grow again. Steps rarely go so far; but the clip alone bounds no policy: one step through
    an adaptation with large learned rates moved the policies by 200 nats, and training did not
    recover."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "adaptation_lr", "max_kl"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} = {getattr(self, name)}: must be greater than 0")
        for name in ("epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: must be at least 1")
        if not 0 < self.clip < 1:
            raise InputError(f"clip = {self.clip}: must be between 0 and 1")
        if not 0 <= self.final_rate <= 1:
            raise InputError(f"final_rate = {self.final_rate}: must be in [0, 1]")

    def init(self, learned: Params) -> Params:
        return init_steps(learned)

    def update(
        self, params: Params, optimizer: Mapping[str, Tensor], iteration: Iteration
    ) -> Update:
        parts = minibatches(iteration, self.minibatches) * self.epochs
        rates, pace = (self.learning_rate, self.adaptation_lr), self.pace(iteration.progress)
        return bounded_steps(
            params, optimizer, iteration, parts, self.loss, rates, self.max_kl, pace
        )

    @abstractmethod
    def loss(self, policies: AdaptedPolicies) -> Tensor:
        """The meta-loss: (), differentiable in the policies."""

    def pace(self, progress: float) -> float:
        """Share of the step sizes when this share of meta-training, in [0, 1], is over."""
        left = (1 + math.cos(math.pi * progress)) / 2
        return self.final_rate + (1 - self.final_rate) * left
