"""Baselines that need no training: noise, and the weights of a policy that is there already."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Generator

from metarl.adaptation.none import Unadapted
from metarl.methods.config import TrainConfig
from metarl.methods.setup import family_of, policy_of
from metarl.policies.params import Params
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl.runs.policy_folder import check_middle
from metarl_envs import InputError


def untrained_params(config: TrainConfig) -> Params:
    """A fresh network whose mean is zero: what is left is the policy's noise."""
    policy = policy_of(config)
    return policy.without_mean(policy.init(Generator().manual_seed(config.seed)))


def load_start(path: Path, config: TrainConfig) -> tuple[SavedPolicy, TrainConfig]:
    """A policy whose weights are to be fine-tuned, and `config` for its network.

    Raises:
        RunError: if there is no sound policy.
        InputError: if it is of another family, its actions have another middle, or it has something
            to adapt by itself.
    """
    saved = load_policy(path)
    if saved.config.family != config.family:
        raise InputError(
            f"--start {path}: a policy of {saved.config.family}, fine-tuning was asked for "
            f"{config.family}"
        )
    if not isinstance(saved.config.inner, Unadapted):
        raise InputError(
            f"--start {path}: adapts in its own way ({saved.config.method}); fine-tuning starts "
            "from a policy without: metarl baseline robust|random"
        )
    check_middle(saved, family_of(config))
    same = {name: getattr(saved.config, name) for name in ("policy", "horizon", "observe_task")}
    return saved, dataclasses.replace(config, **same)
