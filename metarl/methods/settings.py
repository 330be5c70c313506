"""Settings of a run: options with a name of their own, and those of baselines."""

from __future__ import annotations

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
