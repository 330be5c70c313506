"""Recipes, the default configurations: one function per task family that needs its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from metarl.adaptation.gradient import GradientStep
from metarl.methods.config import TrainConfig, settings, with_settings
from metarl.methods.meta import METHODS
from metarl.methods.settings import MACHINE, flag, shown
from metarl.outer.trpo import Trpo
from metarl.policies.mlp import MlpConfig
from metarl_envs import FAMILIES, get_family, unknown_name

DEFAULT_METHOD = "maml-trpo"


def default(family_name: str) -> TrainConfig:
    """MAML-TRPO with the family's horizon.

    Settings of the literature (inner rate 0.1, action scale 10, discount 0.99, 2x64 tanh) with
    three exceptions: 20 tasks instead of 40, a trust region of 0.02 nats instead of 0.01, lambda
    0.97 instead of 1. On half-cheetah-direction after 16.8 million steps three seeds returned 232,
    250 and 247; one with `--outer.max-kl 0.01 --gae-lambda 1` returned 189.
    """
    family = get_family(family_name)
    return TrainConfig(
        family=family.name,
        origin=family.origin,
        method=DEFAULT_METHOD,
        horizon=family.horizon,
        iterations=300,
        meta_batch_size=20,
        gae_lambda=0.97,
        outer=Trpo(max_kl=0.02),
    )


def navigation(family_name: str) -> TrainConfig:
    """2-D navigation: MAML's network and step size; an output of 1 is a full step.

    The first inner step finds the goal's direction. Later ones find its distance and must be
    smaller, hence the decay.
    """
    return dataclasses.replace(
        default(family_name),
        policy=MlpConfig(hidden_sizes=(100, 100), activation="relu", action_scale=1.0),
        gae_lambda=1.0,
        inner=GradientStep(inner_lr_decay=0.3),
    )


def few_episodes(family_name: str) -> TrainConfig:
    """5 episodes per task, a budget for real robots, and wide exploration.

    The initial standard deviation is three tenths of the action range, one tenth in the literature;
    moving the mean action by the same distance then costs a ninth of the nats. Return of the mean
    action on 40 held-out tasks with one tenth and with three tenths, one number per seed: Meta-SGD
    after 1.2 million steps on the arm of `experiments/own_robot` -24, -25, -21 and -15, -19, -14;
    on another arm that reaches for hidden targets -46, -41 and -39, -33. MAML-TRPO on
    half-cheetah-payload-velocity after 0.8 million steps, three tenths by `init_std` with MAML's
    rate and by `action_scale`: -100 and -65.
    """
    base = default(family_name)
    return dataclasses.replace(
        base, episodes_per_task=5, policy=dataclasses.replace(base.policy, action_scale=10 / 3)
    )


def metaworld(family_name: str) -> TrainConfig:
    """Meta-World: 20 tasks x 10 episodes and 2x128 tanh, as in the benchmark's paper.

    An output of 1 is a full action, so that actions begin with half their range as standard
    deviation: a hand that moves at most 1 cm a step finds nothing by a tenth of it. Settings of
    arXiv:1910.10897v2 for MAML; not tuned.
    """
    return dataclasses.replace(
        default(family_name),
        policy=MlpConfig(hidden_sizes=(128, 128), action_scale=1.0),
        episodes_per_task=10,
    )


RECIPES: dict[str, Callable[[str], TrainConfig]] = {
    **dict.fromkeys(FAMILIES, default),
    "navigation": navigation,
    "half-cheetah-reversed": few_episodes,
    "half-cheetah-payload-velocity": few_episodes,
}
"""Recipes of the shipped families."""
BEGINNINGS: dict[str, Callable[[str], TrainConfig]] = {"metaworld-": metaworld}
"""Recipes by the beginning of a family's name; all other families use `few_episodes`."""


def recipe(family_name: str, method: str = DEFAULT_METHOD) -> TrainConfig:
    """The default configuration of a family under a method.

    Raises:
        InputError: for an unknown family or method, with the nearest names.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    name = get_family(family_name).name
    begun = (make for beginning, make in BEGINNINGS.items() if name.startswith(beginning))
    base = RECIPES.get(name, next(begun, few_episodes))(name)
    return dataclasses.replace(METHODS[method].recipe(base), method=method)


def train_command(config: TrainConfig) -> str:
    """The command that trains with this configuration: what differs from the recipe, as flags.

    Raises:
        InputError: for a method of `metarl baseline`.
    """
    ordinary = recipe(config.family, config.method)
    scaled = with_settings(ordinary, {"policy.init_std": config.policy.init_std})
    own_steps = scaled.inner != config.inner  # flags of `inner` keep a new init_std from scaling it
    known = settings(ordinary if own_steps else dataclasses.replace(ordinary, inner=scaled.inner))
    flags = [
        f"{flag(name)} {shown(value)}"
        for name, value in settings(config).items()
        if (value != known[name] or (own_steps and name.startswith("inner.")))
        and name not in MACHINE
    ]
    family = get_family(config.family).reference
    return " ".join([f"metarl train {family} --method {config.method}", *flags])
