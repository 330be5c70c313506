"""The baselines by name, as configurations like those of meta-trained policies.

A trained baseline is multi-task PPO by Stable-Baselines3: `outer` holds PPO's settings, `inner` is
no adaptation or fine-tuning. So every tool for policies takes baselines too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from metarl.adaptation.adam_steps import AdamSteps
from metarl.adaptation.none import Unadapted
from metarl.methods.config import TrainConfig
from metarl.methods.families import default
from metarl.methods.meta import METHODS, Method
from metarl.outer.ppo import Ppo
from metarl.policies.frame_stack import FrameStackConfig
from metarl.policies.mlp import MlpConfig
from metarl_envs import get_family, unknown_name
from metarl_envs.inputs.numbers import whole

PPO_PAPER = "Schulman et al. 2017, arXiv:1707.06347"
ENV_STEPS = 2_000_000
"""Default environment steps of a trained baseline."""


def robust(config: TrainConfig) -> TrainConfig:
    """Domain randomisation: every episode has another task, which the policy does not observe.

    SB3's default settings of PPO (Raffin et al. 2021) with two exceptions: 64 worlds, each with one
    episode per iteration, and 32 minibatches instead of minibatches of 64 steps.
    """
    return dataclasses.replace(
        config,
        device="cpu",
        engine="cpu",
        evaluate_every=0,
        meta_batch_size=64,
        episodes_per_task=1,
        gae_lambda=0.95,
        policy=MlpConfig(action_scale=1.0, normalize_observations=True),
        inner=Unadapted(),
        outer=Ppo(learning_rate=3e-4, epochs=10, minibatches=32, clip=0.2),
    )


def finetuned(config: TrainConfig) -> TrainConfig:
    """The robust policy, fine-tuned by PPO on the adaptation episodes of each test task."""
    return dataclasses.replace(robust(config), inner=AdamSteps(), inner_loss="clipped")


def frame_stack(config: TrainConfig) -> TrainConfig:
    """The robust policy's settings with the last steps read, the simplest memory."""
    policy = FrameStackConfig(action_scale=1.0, normalize_observations=True)
    return dataclasses.replace(robust(config), policy=policy)


def oracle(config: TrainConfig) -> TrainConfig:
    """The robust policy's settings with the task observed."""
    return dataclasses.replace(robust(config), observe_task=True)


def scratch(config: TrainConfig) -> TrainConfig:
    """PPO on one task, with fewer worlds, so that an update needs few episodes."""
    config = robust(config)
    outer = dataclasses.replace(config.outer, minibatches=25)
    return dataclasses.replace(config, meta_batch_size=8, outer=outer)


def untrained(config: TrainConfig) -> TrainConfig:
    """Noise around zero, with the deviation of controls uniform in the actuators' range."""
    return dataclasses.replace(
        robust(config), policy=MlpConfig(action_scale=1.0, init_std=1 / math.sqrt(3))
    )


RANDOM = "random"
"""The baseline of pure noise; it is measured with its noise."""
BASELINES: Mapping[str, Method] = {
    RANDOM: Method("Random", "nothing", "nothing: noise", "-", untrained),
    "scratch": Method("PPO from scratch", "nothing", "PPO on one test task", PPO_PAPER, scratch),
    "robust": Method(
        "Robust PPO",
        "nothing",
        "PPO on all training tasks (domain randomisation)",
        "Tobin et al. 2017, arXiv:1703.06907; Peng et al. 2018, arXiv:1710.06537",
        robust,
    ),
    "frame-stack": Method(
        "Frame-stack PPO",
        "nothing: it reads the last steps",
        "PPO on all training tasks",
        "Mnih et al. 2015, doi:10.1038/nature14236",
        frame_stack,
    ),
    "finetuned": Method(
        "Fine-tuned PPO",
        "all weights, by PPO on the adaptation episodes",
        "PPO on all training tasks",
        PPO_PAPER,
        finetuned,
    ),
    "oracle": Method(
        "Oracle PPO",
        "nothing: it observes the task",
        "PPO on all training tasks",
        "Yu et al. 2017, arXiv:1702.02453",
        oracle,
    ),
}
"""Baselines of `metarl baseline`."""
IMPORTED: Mapping[str, Method] = {
    "sb3-ppo": Method("PPO", "nothing", "Stable-Baselines3's PPO, elsewhere", PPO_PAPER, robust),
}
"""Policies trained elsewhere and converted (`metarl.sb3`)."""


def origins() -> dict[str, Method]:
    """Every method, baseline and source of converted policies, by name."""
    return {**METHODS, **BASELINES, **IMPORTED}


def baseline_recipe(family_name: str, name: str, env_steps: int = ENV_STEPS) -> TrainConfig:
    """The default configuration of a baseline on a family, for this many environment steps.

    Raises:
        InputError: for an unknown family or baseline, with the nearest names.
    """
    if name not in BASELINES:
        raise unknown_name("baseline", name, BASELINES)
    config = BASELINES[name].recipe(default(get_family(family_name).name))
    config = dataclasses.replace(config, method=name)
    return dataclasses.replace(config, iterations=iterations(config, env_steps))


def iterations(config: TrainConfig, env_steps: int) -> int:
    """Number of iterations, one episode per world each, that collect at least these steps."""
    env_steps = whole("env_steps", env_steps, least=1)
    per_iteration = config.meta_batch_size * config.episodes_per_task * config.horizon
    return max(1, math.ceil(env_steps / per_iteration))
