"""Weights & Biases beside TensorBoard: the same scalars, and the configuration. Optional.

A run that logs there holds `wandb.json` with the project and its id, so that a resumed run goes on
in the same place. wandb's own settings, such as WANDB_MODE=offline, say what leaves this machine.
"""

from __future__ import annotations

import importlib
import math
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metarl.errors import RunError
from metarl.methods.config import TrainConfig, settings
from metarl.runs.files import read_json, with_checksum, write_json
from metarl.runs.run_folder import WANDB
from metarl_envs import InputError


def check(project: str) -> None:
    """Refuse a project that cannot be logged to, before anything is written.

    Raises:
        InputError: for an empty name.
        ModuleNotFoundError: without the package wandb.
    """
    if not project:
        raise InputError("wandb = '': must be a project's name")
    importlib.import_module("wandb")


def begin(run: Path, project: str) -> None:
    """Write `wandb.json` into a new run folder."""
    about = {"project": project, "id": uuid.uuid4().hex[:12]}
    write_json(run / WANDB, with_checksum(about))


class WandbLog:
    """Sends the scalars of a run to its project; nothing if it has none."""

    def __init__(self, run: Path, config: TrainConfig) -> None:
        """Begin, or go on where the run stopped."""
        self._run: Any = None  # of a package that may be missing
        if not (run / WANDB).is_file():
            return
        about = read_json(run / WANDB)
        if not isinstance(about.get("project"), str) or not isinstance(about.get("id"), str):
            raise RunError(f"{run / WANDB}: needs a project and an id; delete it to log without")
        about_run = {"family": config.family, "method": config.method} | settings(config)
        self._run = importlib.import_module("wandb").init(
            project=about["project"],
            id=about["id"],
            name=run.name,
            dir=str(run),
            config=about_run,
            resume="allow",
        )

    def write(self, iteration: int, env_steps: int, metrics: Mapping[str, float]) -> None:
        """Log one iteration; a value that is not finite is left out."""
        if self._run is None:
            return
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._run.log({"rollout/env_steps": env_steps, **finite}, step=iteration)

    def close(self) -> None:
        """Wait until everything is sent or stored."""
        if self._run is not None:
            self._run.finish()
