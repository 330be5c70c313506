"""Settings of a run on the command line: options with a name of their own, and `--set`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

SETTINGS = {
    "iterations": "iterations",
    "meta_batch_size": "meta_batch_size",
    "episodes_per_task": "episodes_per_task",
    "horizon": "horizon",
    "adaptation_steps": "adaptation_steps",
    "inner_lr": "inner.inner_lr",
    "inner_loss": "inner_loss",
    "first_order": "inner.first_order",
    "max_kl": "outer.max_kl",
    "gae_lambda": "gae_lambda",
    "seed": "seed",
    "device": "device",
    "engine": "engine",
    "sim_threads": "sim_threads",
    "checkpoint_every": "checkpoint_every",
}
"""Options of `metarl train` that have a name of their own, and the settings behind them."""

BASELINE_SETTINGS = (
    "checkpoint_every",
    "max_fault_share",
    "discount",
    "gae_lambda",
    "policy.hidden_sizes",
    "policy.activation",
    "policy.init_std",
    "policy.normalize_observations",
    "inner.learning_rate",
    "inner.epochs",
    "outer.learning_rate",
    "outer.epochs",
    "outer.minibatches",
    "outer.clip",
    "outer.max_kl",
)
"""What `metarl baseline --set` takes: the settings that Stable-Baselines3's PPO has too, and those
of fine-tuning. The others mean nothing to a baseline."""


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` texts by name; a value is JSON where it can be read so, else text.

    Raises:
        InputError: for a text without `=`.
    """
    from metarl_envs import InputError  # brings torch with it, which help does not need

    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text}: must be NAME=VALUE, such as outer.clip=0.2")
        try:
            given[name] = json.loads(value)
        except ValueError:
            given[name] = value
    return given
