"""Reptile: the meta-parameters move towards the adapted ones (Nichol, Achiam, Schulman 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.adaptation.base import Adaptation
from metarl.distributed import count_tasks, sums_over_tasks
from metarl.outer.learner import Update
from metarl.outer.meta_gradient import Iteration, OuterUpdate
from metarl.policies.gaussian import entropy
from metarl.policies.params import Params, flatten, weights
from metarl_envs import InputError
from metarl_envs.inputs.numbers import Positive


@dataclass(frozen=True)
class Reptile(OuterUpdate):
    """theta + rate * mean over tasks of (phi_K - theta): Algorithm 2, "Reptile, batched".

    Needs no derivative of the adaptation and no post-adaptation data; with one step (K = 1) it is
    joint training on the mean of all tasks, so it wants K >= 2.
    """

    outer_lr: Positive = 1.0
    """Share of the way to the mean of the adapted parameters at the start, > 0; falls linearly to
    zero at the end of meta-training, as in the paper's experiments."""

    def check(self, adaptation: Adaptation) -> None:
        if not adaptation.moves_all_learned:
            name = type(adaptation).__name__
            raise InputError(
                f"outer = Reptile with inner = {name}: Reptile learns only entries that a step "
                f"moves, and {name} leaves some weights or meta-parameters where they are; use "
                "GradientStep or ProximalStep (inner.kind gradient, proximal), or another outer"
            )

    def update(
        self, params: Params, optimizer: Mapping[str, Tensor], iteration: Iteration
    ) -> Update:
        theta, inner = weights(params), iteration.inner
        rate = self.outer_lr * (1 - iteration.progress)
        moves = {name: inner.adapted[name] - value for name, value in theta.items()}
        sums, count = sums_over_tasks(moves, inner.failed), count_tasks(inner.failed)
        step = {name: rate * (value / count) for name, value in sums.items()}
        moved = {name: value + step[name] for name, value in theta.items()}
        with torch.no_grad():
            dist = iteration.policy.distribution(
                inner.policies[0], inner.batches[0].rollouts.some_episodes(slice(1))
            )
        metrics = {
            "train/step_norm": float(flatten(step).norm()),
            "train/entropy": float(entropy(dist).mean()),
            "train/std": float(iteration.policy.log_std(moved).exp().mean()),
        }
        return Update(params | moved, dict(optimizer), metrics)
