"""Learned value functions of trials. They serve training alone; no deployed policy holds one.

Axes: 1 policy, N worlds, L steps, O observation, F task features, H summary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl.policies.memory import MemoryPolicy, TrialMemory
from metarl.policies.mlp import forward, init_layers
from metarl.policies.normaliser import Statistics
from metarl.policies.params import Params
from metarl.rollouts.trials import Trial

RETURNS = ("return_mean", "return_var", "return_count")
CLOCK = 2


@dataclass(frozen=True)
class Critic:
    """V of a step of a trial, from standardised observation, clock and more.

    What else it reads decides what it can know: `features`, the true task, which it then is
    privileged to know; `summary`, the policy's memory, detached; or a `memory` of its own.
    """

    observation_size: int
    features: int = 0
    """F, or 0: it does not know the task."""
    summary: int = 0
    """H of the policy's memory, or 0: it does not read it."""
    memory: MemoryPolicy | None = None
    """A policy like whose memory its own is; None: it has none."""
    hidden_sizes: tuple[int, ...] = (128, 128)

    def init(self, generator: Generator) -> Params:
        """Fresh parameters, with the statistics of the returns seen so far."""
        own, params = self._own, {}
        if own is not None:
            params = own.init(generator)
        read = self.observation_size + CLOCK + self.features + self.summary
        read += own.encoder.size if own is not None else 0
        params |= init_layers((read, *self.hidden_sizes, 1), generator)
        return params | dict(zip(RETURNS, Statistics.fresh(1), strict=True))

    def values(
        self, params: Mapping[str, Tensor], trial: Trial, standard: Tensor, summaries: Tensor | None
    ) -> Tensor:
        """Standardised values of the steps: (1, N, L).

        Args:
            params: of the critic, (1, ...).
            trial: the data.
            standard: its observations as the policy standardises them, (1, N, L, O).
            summaries: the policy's, (1, N, L, H); read if `summary`.
        """
        read = [standard, trial.clock]
        if self.features:
            read.append(trial.features)
        if self.summary:
            assert summaries is not None
            read.append(summaries.detach())
        if (own := self._own) is not None and self.memory is not None:
            begun = own.begin(params, trial.valid.shape[1])
            previous = self.memory.previous(trial)
            read.append(own.summaries(params, begun, standard, previous, trial.valid))
        flat = torch.cat(read, dim=-1).flatten(1, 2)
        return forward(params, flat, "tanh").unflatten(1, trial.valid.shape[1:]).squeeze(-1)

    @property
    def _own(self) -> TrialMemory | None:
        return None if self.memory is None else self.memory.memory


def learned_of(params: Mapping[str, Tensor]) -> Params:
    """The critic's entries that gradients change."""
    return {name: value for name, value in params.items() if name not in RETURNS}


def with_returns(params: Mapping[str, Tensor], returns: Tensor) -> Params:
    """The critic's parameters with more returns (S,) in its statistics."""
    known = Statistics(*(params[name] for name in RETURNS)).updated(returns.unsqueeze(-1))
    fresh = dict(zip(RETURNS, known, strict=True))
    return dict(params) | {name: value.to(params[name]) for name, value in fresh.items()}


def scale_of(params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the returns seen so far, each ()."""
    return params["return_mean"].squeeze(), params["return_var"].squeeze().sqrt().clamp(min=1e-6)
