"""Complete default configurations, one function per task family that needs its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from metarl_envs import FAMILIES, get_family

from metarl.adaptation.gradient import GradientAdaptationConfig
from metarl.config import TrainConfig
from metarl.policies import PolicyConfig


def default(family_name: str) -> TrainConfig:
    """MAML-TRPO with the literature's settings and the family's own horizon."""
    family = get_family(family_name)
    return TrainConfig(family=family.name, horizon=family.horizon)


def navigation(family_name: str) -> TrainConfig:
    """2-D navigation: 20 tasks, outputs in units of the largest step."""
    return dataclasses.replace(
        default(family_name),
        iterations=500,
        meta_batch_size=20,
        policy=PolicyConfig(action_scale=1.0),
        inner=GradientAdaptationConfig(inner_lr=0.1),
    )


RECIPES: dict[str, Callable[[str], TrainConfig]] = {
    name: navigation if name == "navigation" else default for name in FAMILIES
}


def recipe(family_name: str) -> TrainConfig:
    """The default configuration of a family.

    Raises:
        InputError: for an unknown family, with the nearest names.
    """
    return RECIPES[get_family(family_name).name](family_name)
