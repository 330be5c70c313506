"""Paths of results, so that none replaces another."""

from __future__ import annotations

import os
from pathlib import Path

from metarl.errors import RunError


def free_folder(wanted: Path) -> Path:
    """`wanted`, or with the first free number behind it: runs/x-0, runs/x-0-2, runs/x-0-3, ...

    It is made, so that no other process is given the same one.
    """
    folder, count = wanted, 1
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            count += 1
            folder = wanted.with_name(f"{wanted.name}-{count}")
        else:
            return folder


def check_writable(folder: Path) -> None:
    """Refuse a place for results that cannot be written, before minutes of work.

    Raises:
        RunError: naming the folder that is in the way.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = "cannot be written" if existing.is_dir() else "is a file, not a folder"
        raise RunError(f"{existing}: {reason}; choose another place with --out")


def free_stem(wanted: Path, suffix: str) -> Path:
    """The first of `wanted`, wanted-2, ... for which no file with this suffix exists."""
    stem, count = wanted, 1
    while stem.with_name(stem.name + suffix).exists():
        count += 1
        stem = wanted.with_name(f"{wanted.name}-{count}")
    return stem


def newest(wanted: Path) -> Path:
    """The last of `wanted`, wanted-2, wanted-3, ... that exists; `wanted` if none does."""
    folder, count = wanted, 1
    while (following := wanted.with_name(f"{wanted.name}-{count + 1}")).exists():
        folder, count = following, count + 1
    return folder


def output(run: Path, kind: str) -> Path:
    """Folder for results about a run or policy, never inside one that training replaces.

    Results about runs/x/checkpoints/000150 or runs/x/best go to runs/x/evaluation-000150 or
    runs/x/evaluation-best.
    """
    if run.parent.name == "checkpoints":
        return run.parents[1] / f"{kind}-{run.name}"
    if run.name == "best" and (run.parent / "checkpoints").is_dir():
        return run.parent / f"{kind}-{run.name}"
    return run / kind
