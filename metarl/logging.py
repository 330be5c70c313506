"""Metrics of a run: one JSON line per iteration, and the same scalars for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image
from tensorboard.compat.proto.summary_pb2 import (
    Summary,  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
)
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from metarl.config import TrainConfig, to_json
from metarl.files import plain, replace_file

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
HPARAM_METRICS = ("eval/return_post", "rollout/return_post", "rollout/adaptation_gain")
"""What TensorBoard's HPARAMS tab compares runs by."""


class MetricsLogger:
    """Writes `metrics.jsonl`, the machine-readable truth, and TensorBoard events, a view of it.

    The x axis of TensorBoard is environment steps. Opening a run at iteration n drops what was
    logged after it, so an iteration that is repeated after a crash appears once.
    """

    def __init__(self, run: Path, config: TrainConfig, *, iteration: int, env_steps: int) -> None:
        """Opens the logs of a run that stands after `iteration` iterations."""
        self._path = run / METRICS
        cut_metrics(self._path, iteration)
        self._file = self._path.open("a", encoding="utf-8")
        events = run / TENSORBOARD
        continued = events.is_dir() and any(events.iterdir())
        self._writer = SummaryWriter(
            log_dir=str(events), purge_step=env_steps + 1 if continued else None
        )
        if not continued:
            self._describe(config)

    def write(self, iteration: int, env_steps: int, metrics: Mapping[str, float]) -> None:
        """Log one iteration; a value that is not finite becomes null in the JSON line."""
        line = {"iteration": iteration, "rollout/env_steps": env_steps} | plain(metrics)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for tag, value in metrics.items():
            self._writer.add_scalar(tag, value, env_steps)
        self._writer.flush()

    def image(self, tag: str, path: Path, env_steps: int) -> None:
        """Show a PNG or an animated GIF under TensorBoard's Images tab."""
        self._add_summary(image_summary(tag, path), env_steps)
        self._writer.flush()

    def close(self) -> None:
        """Flush and close both logs."""
        self._file.close()
        self._writer.close()

    def __enter__(self) -> MetricsLogger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _describe(self, config: TrainConfig) -> None:
        """Hyper-parameters as a text table and for the HPARAMS tab, in this run's own file.

        `SummaryWriter.add_hparams` would open a second folder, shown as a second run.
        """
        values = flatten(to_json(config))
        rows = "\n".join(f"|{name}|{value}|" for name, value in values.items())
        self._writer.add_text("config", f"|name|value|\n|-|-|\n{rows}", 0)
        for summary in hparams(values, dict.fromkeys(HPARAM_METRICS, 0.0)):
            self._add_summary(summary, 0)

    def _add_summary(self, summary: Summary, env_steps: int) -> None:
        writer = self._writer.file_writer
        assert writer is not None  # made with the SummaryWriter, gone after close()
        writer.add_summary(summary, env_steps)


def image_summary(tag: str, path: Path) -> Summary:
    """A PNG or an animated GIF for TensorBoard's Images tab.

    The encoded file is stored as it is: `SummaryWriter.add_video` writes nothing with moviepy 2
    (pytorch/pytorch#147317).
    """
    with Image.open(path) as picture:
        width, height = picture.size
    encoded = Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes()
    )
    return Summary(value=[Summary.Value(tag=tag, image=encoded)])


def log_images(run: Path, images: Mapping[str, Path], env_steps: int) -> None:
    """Add pictures to the TensorBoard events of a run that nobody trains in."""
    with SummaryWriter(log_dir=str(run / TENSORBOARD)) as writer:
        assert writer.file_writer is not None  # made with the SummaryWriter
        for tag, path in images.items():
            writer.file_writer.add_summary(image_summary(tag, path), env_steps)


def cut_metrics(path: Path, iteration: int) -> None:
    """Drop the lines after `iteration` and a half-written last one; nothing without a file."""
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
