"""Small files of every kind that metarl loads, with what loads them: what the campaigns damage."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

import metarl
from experiments.run_onnx import OnnxPolicy
from metarl.adaptation.none import Unadapted
from metarl.deploy import MetaPolicy
from metarl.deploy.onnx import export_onnx
from metarl.errors import RunError
from metarl.methods.families import recipe
from metarl.methods.setup import policy_of
from metarl.policies.memory import MemoryConfig
from metarl.policies.mlp import MlpConfig
from metarl.runs.checkpoint import (
    SavedPolicy,
    create_run,
    load_checkpoint,
    load_policy,
    load_run_config,
    save_checkpoint,
    save_policy,
)
from metarl.runs.files import read_json
from metarl.runs.metrics_log import MetricsLogger, read_metrics
from metarl.runs.run_folder import METRICS
from metarl.training.trainer import initial_state
from metarl_envs import InputError

ITERATIONS = 4
"""Of the run: lines in its log, and the number of its checkpoint."""
REFUSALS = (InputError, RunError)
"""Errors that the library documents for files. `experiments/run_onnx.py`, which runs without the
library, raises a ValueError."""


@dataclass(frozen=True)
class Loaded:
    """A file and its reader."""

    path: Path
    load: Callable[[], Any]
    """Everything that is computed with, from the file and those beside it."""
    refusals: tuple[type[Exception], ...] = REFUSALS


def fingerprint(value: Any) -> str:  # noqa: ANN401 - whatever was loaded
    """SHA-256 of values to the last bit, of any nesting."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:  # noqa: ANN401
        if isinstance(value, torch.Generator):
            value = value.get_state()
        if isinstance(value, Tensor | np.ndarray):
            array = np.ascontiguousarray(value.numpy() if isinstance(value, Tensor) else value)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        elif isinstance(value, Mapping):
            for key in sorted(value):
                digest.update(f"{key}:".encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            digest.update(f"[{len(value)}".encode())
            for entry in value:
                add(entry)
        elif dataclasses.is_dataclass(value):
            digest.update(type(value).__name__.encode())
            add(vars(value))
        else:
            digest.update(repr(value).encode())

    add(value)
    return digest.hexdigest()


def outcome(kind: Loaded, expected: str) -> str:
    """Outcome of loading a damaged file.

    "refused": one line that names the file; "warned": a warning that names it, and other values;
    "no effect": the values are those of the undamaged file, to the bit. All else is a fault:
    "unseen", or the error.

    Args:
        kind: whose file is damaged.
        expected: `fingerprint` of what the undamaged file holds.
    """
    names = (str(kind.path), str(kind.path.parent))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = fingerprint(kind.load())
        except kind.refusals as error:
            text = str(error)
            is_one_line = any(name in text for name in names) and "\n" not in text
            return "refused" if is_one_line else f"fault: unclear: {text}"
        except Exception as error:  # what the campaign looks for
            return f"fault: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if found == expected:
        return "no effect"
    is_warned = any(name in str(warning.message) for warning in told for name in names)
    return "warned" if is_warned else "fault: unseen"


def kinds(folder: Path) -> dict[str, Loaded]:
    """One file of each kind, made in a folder, by name.

    A checkpoint is a policy folder with two more files, which are kinds of their own here. The
    state of a robot's trial is a policy with a belief.
    """
    config = dataclasses.replace(
        recipe("navigation"),
        horizon=6,
        meta_batch_size=2,
        episodes_per_task=2,
        device="cpu",
        sim_threads=1,
        policy=MlpConfig(hidden_sizes=(3,), action_scale=1.0),
    )
    state = dataclasses.replace(initial_state(config), iteration=ITERATIONS, env_steps=48)
    memory = dataclasses.replace(
        config, policy=MemoryConfig(memory_size=3, hidden_sizes=(3,)), inner=Unadapted()
    )
    remembering = SavedPolicy(
        policy_of(memory),
        policy_of(memory).init(Generator().manual_seed(1)),
        memory,
        {"iteration": 1},
    )
    begun = {name: torch.rand_like(value[0]) for name, value in remembering.begin(1).items()}
    policy = save_policy(folder / "policy", dataclasses.replace(remembering, belief=begun))
    run = folder / "run"
    create_run(run, config, ["metarl", "train", "navigation"])
    checkpoint = save_checkpoint(run, config, state)
    with MetricsLogger(run, config, iteration=0, env_steps=0) as logger:
        for i in range(1, ITERATIONS + 1):
            logger.write(i, 12 * i, {"rollout/return_post": -1 / i, "time/update_s": 0.1 * i})
    random = np.random.default_rng(0)
    log = [
        {
            "observations": random.normal(size=(4, 2)),
            "actions": random.uniform(-1, 1, size=(3, 2)),
            "rewards": random.normal(size=3),
            "terminated": True,
        }
        for _ in range(3)
    ]
    episodes = metarl.save_episodes(folder / "episodes.npz", [metarl.Episode(**e) for e in log])
    foreign = folder / "log.npz"
    np.savez(foreign, **{f"{i}.{name}": v for i, e in enumerate(log) for name, v in e.items()})
    exported = export_onnx(MetaPolicy(load_policy(policy)), folder / "policy.onnx").path
    rows = random.normal(size=(5, 2)).astype(np.float32)

    def act() -> Any:  # noqa: ANN401
        onnx_policy = OnnxPolicy(str(exported))
        return onnx_policy.about, onnx_policy(rows)

    def loaded_run() -> Any:  # noqa: ANN401
        return read_json(run / "config.json")["commands"], load_run_config(run)

    return {
        "weights of a policy": Loaded(policy / "model.safetensors", lambda: load_policy(policy)),
        "belief of a policy": Loaded(policy / "belief.safetensors", lambda: load_policy(policy)),
        "config.json of a policy": Loaded(policy / "config.json", lambda: load_policy(policy)),
        "config.json of a run": Loaded(run / "config.json", loaded_run),
        "training.safetensors": Loaded(
            checkpoint / "training.safetensors", lambda: load_checkpoint(run)
        ),
        "training.json": Loaded(checkpoint / "training.json", lambda: load_checkpoint(run)),
        "metrics.jsonl": Loaded(run / METRICS, lambda: read_metrics(run)),
        "episodes": Loaded(episodes, lambda: metarl.load_episodes(episodes)),
        "episodes of another program": Loaded(foreign, lambda: metarl.load_episodes(foreign)),
        "ONNX export": Loaded(exported, act, (*REFUSALS, ValueError)),
    }


def lower_priority() -> None:
    """Leave the machine to others."""
    os.nice(10)
