"""Tiny runs for tests of checkpoints, logs and the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from experiments.training_runs import Finished
from metarl.cli import main
from metarl.methods.config import TrainConfig
from metarl.outer.state import TrainState
from metarl.policies.mlp import MlpConfig
from metarl.runs.checkpoint import create_run, save_checkpoint
from metarl.training.trainer import initial_state

TINY = TrainConfig(
    family="navigation",
    method="maml-trpo",
    horizon=8,
    iterations=10,
    meta_batch_size=3,
    episodes_per_task=3,
    device="cpu",
    sim_threads=1,
    checkpoint_every=1,
    policy=MlpConfig(hidden_sizes=(4,), action_scale=1.0),
)
TINY_FLAGS = [
    "--meta-batch-size",
    "3",
    "--episodes-per-task",
    "3",
    "--horizon",
    "8",
    "--sim-threads",
    "1",
]


def state_at(iteration: int, config: TrainConfig = TINY) -> TrainState:
    """A state that differs from every other iteration's in each of its parts."""
    state = initial_state(dataclasses.replace(config, seed=iteration))
    torch.rand(iteration, generator=state.generators.tasks)
    return dataclasses.replace(
        state,
        optimizer={name: value + iteration for name, value in state.optimizer.items()},
        iteration=iteration,
        env_steps=100 * iteration,
        refused=iteration,
    )


def run_with(folder: Path, *iterations: int, config: TrainConfig = TINY) -> Path:
    """A run folder that holds these checkpoints."""
    create_run(folder, config, ["metarl", "train"])
    for iteration in iterations:
        save_checkpoint(folder, config, state_at(iteration, config))
    return folder


def assert_same_state(found: TrainState, expected: TrainState) -> None:
    """Bit for bit: parameters, optimiser, random streams, counters."""
    for part in ("params", "optimizer", "choice"):
        tensors = getattr(expected, part)
        for name, value in tensors.items():
            assert torch.equal(getattr(found, part)[name], value), name
        # Sums over all of them depend on the order.
        assert list(getattr(found, part)) == list(tensors)
    for name, value in expected.generators.state().items():
        assert torch.equal(found.generators.state()[name], value), name
    for name in ("iteration", "env_steps", "refused", "refused_in_a_row"):
        assert getattr(found, name) == getattr(expected, name), name


def edit_json(path, **changes):
    """Change a file's object as another version of this code, or a person, might have."""
    data = json.loads(path.read_bytes()) | changes
    data.pop("crc32", None)
    path.write_text(json.dumps(data))


def in_this_process(command: Sequence[str], log: Path) -> Finished:
    """Stand-in for `experiments.training_runs.metarl` that starts no Python for each run."""
    del log
    return Finished(None if main(command) == 0 else "failed", 0.0, 0.0)
