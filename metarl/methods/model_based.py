"""Recipes of the methods that adapt a dynamics model (`metarl.methods.meta.METHODS`)."""

from __future__ import annotations

import dataclasses

from metarl.adaptation.none import Unadapted
from metarl.methods.config import TrainConfig
from metarl.outer.model_fit import ModelFit
from metarl.policies.planning import PlanningConfig


def grbal(config: TrainConfig) -> TrainConfig:
    """A model of 2 x 128 units that takes one gradient step on the last 16 steps; iCEM plans.

    Candidates are nearly white (`policy.plan_color` 0.25, iCEM's own for the half-cheetah): on
    half-cheetah-crippled smooth ones (2.0) return less. A model must get better anywhere in the
    episode (`outer.predicts`), not only at what comes next. What three seeds gain is in
    `experiments/results/model_based.md`.
    """
    return dataclasses.replace(
        config,
        iterations=60,
        meta_batch_size=24,
        episodes_per_task=1,
        policy=PlanningConfig(init_std=0.1),
        inner=Unadapted(),
        outer=ModelFit(),
    )


def rebal(config: TrainConfig) -> TrainConfig:
    """The same with a GRU that reads the last 32 steps."""
    base = grbal(config)
    policy = dataclasses.replace(base.policy, adapts="recurrent", window=32)
    return dataclasses.replace(base, policy=policy)
