"""Settings of a run by their dotted names, such as `outer.clip`: which are offered where."""

from __future__ import annotations

COMMON = (
    "iterations",
    "meta_batch_size",
    "episodes_per_task",
    "horizon",
    "adaptation_steps",
    "inner.inner_lr",
    "inner.init_rate",
    "outer.learning_rate",
    "outer.outer_lr",
    "outer.sigma",
    "outer.max_kl",
    "outer.clip",
    "policy.hidden_sizes",
    "seed",
    "device",
    "engine",
    "sim_threads",
)
"""What people change most: the settings that `--help` shows; `--help-all` shows all."""
BASELINE_SETTINGS = (
    "horizon",
    "seed",
    "sim_threads",
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
"""Those of `metarl baseline`: what Stable-Baselines3's PPO has too, and those of fine-tuning. The
others mean nothing to a baseline."""
RESUMABLE = ("iterations", "device", "engine", "sim_threads")
"""Those of `metarl resume`; the others are fixed when a run begins."""


def flag(name: str) -> str:
    """A setting as it is typed, such as --outer.max-kl."""
    return f"--{name.replace('_', '-')}"


def shown(value: object) -> str:
    """A setting's value as it is typed behind its flag, such as 64 64."""
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
