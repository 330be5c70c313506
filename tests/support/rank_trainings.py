"""Short trainings by every method, to be compared between numbers of processes."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch

from metarl import distributed
from metarl.methods.config import TrainConfig, with_settings
from metarl.methods.families import recipe
from metarl.outer.state import TrainState
from metarl.runs.checkpoint import create_run
from metarl.training.trainer import initial_state, train

FAMILY = "navigation"
SIZES = {
    "iterations": 2,
    "meta_batch_size": 4,
    "episodes_per_task": 2,
    "horizon": 5,
    "device": "cpu",
    "sim_threads": 1,
    "checkpoint_every": 10,
    "evaluate_every": 0,
    "seed": 3,
}
TRUST_REGION = {"outer.curvature_fraction": 1.0, "outer.cg_damping": 0.1}
"""Of so few steps the curvature is nearly singular, and conjugate gradient multiplies rounding by
the inverse of the damping: at the recipe's 1e-5, parameters differ by 2e-10 after one iteration."""
OWN = {
    "maml-trpo": TRUST_REGION,
    "fomaml-trpo": TRUST_REGION,
    "es-maml": {"meta_batch_size": 8},
    "cma-es": {"meta_batch_size": 16, "outer.population": 4},
    "teacher-student": {
        "iterations": 3,
        "outer.teacher_share": 0.34,
        "outer.reinforcement_share": 0.33,
        "outer.goes_on": 0.5,
        "outer.changes": 0.5,
        "outer.teacher_minibatches": 3,
        "outer.critic_first": 0,
    },
    "rl2": {"outer.goes_on": 0.5, "outer.changes": 0.5, "outer.entropy": 0.01},
    "varibad": {"outer.goes_on": 0.5, "outer.minibatches": 3, "outer.elbo_steps": 4},
    "pearl": {"outer.steps": 6, "outer.contrast_weight": 0.1, "outer.tasks_per_step": 5},
}
"""Settings in which methods do all that they can, some with parts of unequal sizes."""


def config_of(method: str, **more: object) -> TrainConfig:
    """A short training by a method's recipe."""
    config = recipe(FAMILY, method)
    small = {"policy.hidden_sizes": [4] * len(config.policy.hidden_sizes)}
    return with_settings(config, SIZES | small | OWN.get(method, {}) | more)


def train_all(methods: list[str], folder: Path, dtype: torch.dtype = torch.float64) -> None:
    """Train by each method in this launch; the results are files `METHOD-PROCESSES-RANK`."""
    torch.set_default_dtype(dtype)
    distributed.join()
    size, rank = distributed.world_size(), distributed.rank()
    for method in methods:
        config, run = config_of(method), folder / f"run-{method}-{size}"
        if rank == 0:
            create_run(run, config, ["metarl", "train"])
        state = train(config, initial_state(config), run, quiet=True)
        save(state, folder / f"{method}-{size}-{rank}")


def save(state: TrainState, path: Path) -> None:
    """Write all tensors of a state."""
    tensors = {f"params.{name}": value for name, value in state.params.items()}
    tensors |= {f"optimizer.{name}": value for name, value in state.optimizer.items()}
    tensors |= {f"stream.{name}": value for name, value in state.generators.state().items()}
    tensors |= {"env_steps": torch.tensor(state.env_steps)}
    tensors |= {f"observed.{name}": torch.tensor(v) for name, v in state.observed.items()}
    safetensors.torch.save_file({n: v.contiguous() for n, v in tensors.items()}, path)
