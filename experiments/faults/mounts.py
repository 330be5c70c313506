"""Small disks and read-only folders, mounted where that is allowed (root on Linux)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def mounted(*words: object) -> bool:
    """Call `mount`; False where it is not there or not allowed."""
    try:
        subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[bool]:
    """A tmpfs of a size on a folder; False: it cannot be mounted here."""
    if not mounted("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder):
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[bool]:
    """A folder that nothing can be written to; False: root, for whom that needs a mount."""
    if os.geteuid():
        modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
        for path in modes:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            yield True
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
        return
    if not mounted("--bind", folder, folder):
        yield False
        return
    try:
        yield mounted("-o", "remount,ro,bind", folder)
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def filled(disk: Path, free_bytes: int) -> Iterator[None]:
    """A disk that is full but for a number of bytes, of which whole pages count."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:  # it is full
            pass
        file.truncate(max(0, file.tell() - free_bytes))
    try:
        yield
    finally:
        filler.unlink()
