"""Metrics of a run: one JSON line per iteration, and the same scalars for TensorBoard."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard.summary import hparams, scalar, text

from metarl.methods.config import TrainConfig, to_json
from metarl.runs.event_file import EventFile, image_summary
from metarl.runs.files import naming, plain, replace_file
from metarl.runs.run_folder import METRICS
from metarl.runs.wandb_logging import WandbLog

TENSORBOARD = "tensorboard"
HPARAM_METRICS = ("eval/return_post", "rollout/return_post", "rollout/adaptation_gain")
"""Metrics by which TensorBoard's HPARAMS tab compares runs."""


class MetricsLogger:
    """Writes `metrics.jsonl`, the machine-readable truth, and TensorBoard events, a view of it.

    The x axis of TensorBoard is environment steps. Opening a run at iteration n drops later lines,
    so that an iteration repeated after a crash appears once. If events cannot be written, as on a
    full disk, one warning says so and training goes on. A run with a `wandb.json` is logged there
    too (see `metarl.runs.wandb_logging`).
    """

    def __init__(self, run: Path, config: TrainConfig, *, iteration: int, env_steps: int) -> None:
        """Open the logs of a run after `iteration` iterations."""
        self._path = run / METRICS
        cut_metrics(self._path, iteration)
        self._file = self._path.open("a", encoding="utf-8")
        self._wandb = WandbLog(run, config)
        folder = run / TENSORBOARD
        continued = folder.is_dir() and any(folder.iterdir())
        self._events: EventFile | None = None
        with self._viewing():
            self._events = EventFile(folder, env_steps + 1 if continued else None)
            if not continued:
                describe(self._events, config)

    def write(self, iteration: int, env_steps: int, metrics: Mapping[str, float]) -> None:
        """Log one iteration; a value that is not finite becomes null in the JSON line."""
        line = {"iteration": iteration, "rollout/env_steps": env_steps} | plain(metrics)
        with naming(self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        with self._viewing():
            if self._events is not None:
                for tag, value in metrics.items():
                    self._events.add(scalar(tag, value), env_steps)
                self._events.flush()
        self._wandb.write(iteration, env_steps, metrics)

    def close(self) -> None:
        """Flush and close all logs."""
        self._file.close()
        with self._viewing():
            if self._events is not None:
                self._events.close()
        self._wandb.close()

    def __enter__(self) -> MetricsLogger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _viewing(self) -> Iterator[None]:
        """Stop writing events at the first error, with a warning."""
        try:
            yield
        except OSError as error:
            if self._events is not None:
                self._events.give_up()
            self._events = None
            warnings.warn(
                f"TensorBoard's events cannot be written ({error.strerror}); training goes on "
                f"without them, and {self._path} has every number",
                stacklevel=3,
            )


def describe(events: EventFile, config: TrainConfig) -> None:
    """Hyper-parameters as a text table and for the HPARAMS tab, in the run's own file.

    `SummaryWriter.add_hparams` would open a second folder, shown as a second run.
    """
    values = flatten(to_json(config))
    rows = "\n".join(f"|{name}|{value}|" for name, value in values.items())
    events.add(text("config", f"|name|value|\n|-|-|\n{rows}"), 0)
    for summary in hparams(values, dict.fromkeys(HPARAM_METRICS, 0.0)):
        events.add(summary, 0)
    events.flush()


def log_images(run: Path, images: Mapping[str, Path], env_steps: int) -> None:
    """Add pictures to the TensorBoard events of a run; a warning if they cannot be written."""
    try:
        with contextlib.closing(EventFile(run / TENSORBOARD)) as events:
            for tag, path in images.items():
                events.add(image_summary(tag, path), env_steps)
    except OSError as error:
        warnings.warn(
            f"{run}: its TensorBoard events get no figures ({error.strerror})", stacklevel=2
        )


def cut_metrics(path: Path, iteration: int) -> None:
    """Drop the lines after `iteration`, and a half-written last one; a no-op without a file."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if 0 < _iteration(line) <= iteration]
    if kept != lines:
        replace_file(path, b"".join(kept))


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The finished iterations of a run, oldest first."""
    path = run / METRICS
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if _iteration(line) > 0]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str | float]:
    """Nested objects as one dict with dotted names; lists as text."""
    flat: dict[str, str | float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[prefix + name] = value
        else:
            flat[prefix + name] = str(value)
    return flat


def _iteration(line: bytes) -> int:
    """The line's iteration, or 0 if it is not one whole JSON line."""
    if not line.endswith(b"\n"):
        return 0
    try:
        return int(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError):
        return 0
