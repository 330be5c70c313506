"""Metrics of a run: one JSON line per iteration, and the same scalars for TensorBoard."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard.summary import hparams, scalar, text

from metarl.errors import RunError
from metarl.methods.config import TrainConfig, to_json
from metarl.runs.checkpoint import checkpoints
from metarl.runs.event_file import EventFile, image_summary
from metarl.runs.files import check_file, check_values, naming, replace_file, with_checksum
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
        if self._path.is_symlink():
            raise RunError(
                f"{self._path}: is a link to {self._path.readlink()}, and a run writes into its "
                "own files only; put a copy of the log in its place"
            )
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
        line = {"iteration": iteration, "rollout/env_steps": env_steps} | dict(metrics)
        with naming(self._path):
            self._file.write(json.dumps(with_checksum(line)) + "\n")
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
    """Drop the lines after `iteration`, and those that are damaged; a no-op without a file."""
    if not path.exists():
        return
    kept = b"".join(raw for raw, line in _lines(path) if line["iteration"] <= iteration)
    if kept != path.read_bytes():
        replace_file(path, kept)


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The finished iterations of a run, oldest first.

    Lines that are damaged, and iterations of which none is left, are left out with a warning.

    Raises:
        RunError: if the log is not a file.
    """
    path = run / METRICS
    if not path.exists():
        return []
    reached = max((int(folder.name) for folder in checkpoints(run)), default=0)
    read = [line for _, line in _lines(path)]
    found = {line["iteration"] for line in read}
    if missing := sorted(set(range(1, max(found | {reached}) + 1)) - found):
        these = f"iteration {missing[0]} has"
        if len(missing) > 1:
            these = f"{len(missing)} iterations from {missing[0]} to {missing[-1]} have"
        warnings.warn(
            f"{path}: {these} no line: the file was cut or damaged; put back a copy of it, or see "
            f"{run / TENSORBOARD}",
            stacklevel=2,
        )
    return read


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Whole lines as they are written and as they are read; damaged ones are warned of.

    A last line that ends in the middle is that of a process that was killed, or is writing.
    """
    check_file(path)
    *whole, last = path.read_bytes().split(b"\n")
    if _ends_in_other_text(last):
        whole.append(last)
    lines: list[tuple[bytes, dict[str, Any]]] = []
    damaged = []
    for number, raw in enumerate(whole, start=1):
        try:
            if raw.strip():
                before = lines[-1][1]["iteration"] if lines else 0
                lines.append((raw + b"\n", _metrics_of(raw, before)))
        except (ValueError, OverflowError, RecursionError) as error:
            damaged.append(f"line {number} is damaged and left out ({error})")
    if damaged:
        more = f", and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        warnings.warn(
            f"{path}: {damaged[0]}{more}; the numbers are in {path.with_name(TENSORBOARD)} too",
            stacklevel=1,
        )
    return lines


def _metrics_of(raw: bytes, before: int) -> dict[str, Any]:
    """The values of one line; the one before it is of iteration `before`.

    Raises:
        ValueError: if it is not one of ours, or has changed since.
        OverflowError: for a number that no float holds.
        RecursionError: for nested brackets.
    """
    line = json.loads(raw)
    if not isinstance(line, dict):
        raise ValueError("not a JSON object")
    check_values(line)
    for name, value in line.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and math.isfinite(value)):
            raise ValueError(f"{name} is no finite number")
    for name in ("iteration", "rollout/env_steps"):
        if not isinstance(line.get(name), int):
            raise ValueError(f"{name} is no whole number")
    if line["iteration"] <= before:
        raise ValueError(f"iteration {line['iteration']} comes after {before}")
    return line


def _ends_in_other_text(last: bytes) -> bool:
    """True for a whole line of which something else than its end follows: no half-written one."""
    decoded = last.decode(errors="replace")
    try:
        _, end = json.JSONDecoder().raw_decode(decoded)
    except (ValueError, RecursionError):
        return False
    return end < len(decoded)


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
