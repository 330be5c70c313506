"""A run's folder: made, opened and locked. Its checkpoints are in `metarl.runs.checkpoint`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from metarl.errors import RunError
from metarl.methods.config import TrainConfig, to_json
from metarl.process import typed
from metarl.runs.files import read_json, with_checksum, write_json
from metarl.runs.policy_folder import CONFIG, SCHEMA, check_format, read_config
from metarl.versions import git_commit, versions

RUN_FORMAT = "metarl-run"
CHECKPOINTS = "checkpoints"
BEST = "best"
METRICS = "metrics.jsonl"
WANDB = "wandb.json"
LOCK = ".lock"
TMP = ".tmp"
"""Ending of what is being written."""
HALF_WRITTEN = (f"{CONFIG}.", f"{WANDB}.")
"""Beginnings of names that a new run's files have while they are written."""
MIN_FREE_BYTES = 100_000_000
"""Checked up front, so that a nearly full disk fails before hours of training."""


def create_run(
    run: Path,
    config: TrainConfig,
    command: list[str],
    prepare: Callable[[Path], object] | None = None,
) -> None:
    """Make a run folder.

    `config.json`, which makes it a run, is written last: what is killed before has not begun, and
    begins again.

    Args:
        run: the folder.
        config: of the run.
        command: that makes it.
        prepare: writes into the folder what the configuration cannot bring back, such as the policy
            to start from.

    Raises:
        RunError: if the folder holds something already, cannot be written, or the disk is full.
    """
    _check_holds_nothing(run)
    existing = next(path for path in (run, *run.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_BYTES:
        raise RunError(
            f"{run}: {free / 1e6:.0f} MB free on this disk, a run wants "
            f"{MIN_FREE_BYTES / 1e6:.0f} MB; free some space or choose another --run"
        )
    try:
        run.mkdir(parents=True, exist_ok=True)
        with _lock(run):
            _check_holds_nothing(run)  # another process may have made it since
            if prepare is not None:
                prepare(run)
            _write_run_config(run, config, [command])
    except OSError as error:
        raise RunError(f"{run}: cannot write ({error.strerror}); choose another --run") from error


def _check_holds_nothing(run: Path) -> None:
    """Refuse a folder that holds more than what a killed beginning leaves."""
    if not run.exists():
        return
    entries = {path.name for path in run.iterdir()} if run.is_dir() else {run.name}
    begun = run / CHECKPOINTS
    saved = begun.is_dir() and any(path.suffix != TMP for path in begun.iterdir())
    if CONFIG in entries or saved:
        raise RunError(
            f"{run}: already holds a run; continue it with `{typed('metarl', 'resume', run)}`, or "
            "choose another --run"
        )
    left = {LOCK, CHECKPOINTS, WANDB}
    if not run.is_dir() or any(n not in left and not n.startswith(HALF_WRITTEN) for n in entries):
        raise RunError(f"{run}: exists and is not an empty folder; choose another --run")


def update_run(run: Path, config: TrainConfig, command: list[str]) -> None:
    """Add a resumption to `config.json`: its configuration, and its command after the others."""
    data = read_json(run / CONFIG) if (run / CONFIG).exists() else {}
    commands = data.get("commands")
    _write_run_config(run, config, [*(commands if isinstance(commands, list) else []), command])


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes from training in the same run; a killed process releases its lock.

    Raises:
        RunError: if there is no run, or another process trains in it.
    """
    check_run(run)
    with _lock(run):
        yield


@contextmanager
def _lock(run: Path) -> Iterator[None]:
    if sys.platform == "win32":  # no flock
        yield
        return
    import fcntl

    with (run / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{run}: another process is training in it; wait for it, or stop it"
            ) from None
        yield


def load_run_config(run: Path) -> TrainConfig:
    """The configuration in a run's `config.json`.

    Raises:
        RunError: if it is missing, damaged, or too new.
    """
    check_run(run)
    path = run / CONFIG
    data = read_json(path)
    check_format(path, data, RUN_FORMAT)
    return read_config(path, data)


def check_run(run: Path) -> None:
    """Refuse a folder that is missing or holds no run.

    Raises:
        RunError: for either, saying which.
    """
    if not run.exists():
        making = typed("metarl", "train", "FAMILY", "--run", run)
        raise RunError(f"{run}: no such folder; `{making}` would make it")
    if not (run / CONFIG).is_file() and not (run / CHECKPOINTS).is_dir():
        raise RunError(f"{run}: neither a run nor a policy folder (no {CONFIG} in it)")


def _write_run_config(run: Path, config: TrainConfig, commands: list[list[str]]) -> None:
    data = {
        "format": RUN_FORMAT,
        "schema": SCHEMA,
        "versions": versions(),
        "commit": git_commit(),
        "commands": commands,
        "config": to_json(config),
    }
    write_json(run / CONFIG, with_checksum(data))
