"""Episodes on disk: a NumPy archive that is readable without this library, and holds no pickle."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl.deploy.episodes import Episode, read_episodes
from metarl.errors import RunError
from metarl.runs.files import DIGEST_BYTES, check_file, is_sealed, replace_file, sealed
from metarl_envs import InputError

MOST_BYTES = 2**30
"""Unpacked; a file of a few kilobytes may claim any number of them."""


def save_episodes(path: str | Path, episodes: Sequence[Episode]) -> Path:
    """Write episodes as one `.npz` file, over an older one; its folder is made.

    Its entries are `0.observations`, `0.actions`, ..., `1.observations` and so on, by the names of
    `Episode`'s fields. The archive's comment is the SHA-256 of all before it.

    Raises:
        InputError: for another ending, or anything that is not an episode.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"{path}: the name of a file of episodes must end in .npz")
    entries: dict[str, Any] = {
        f"{e}.{name}": np.asarray(value)
        for e, episode in enumerate(read_episodes(episodes))
        for name, value in vars(episode).items()
        if value is not None
    }
    content = io.BytesIO()
    np.savez_compressed(content, **entries)
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = bytes(DIGEST_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, sealed(content.getvalue()[:-DIGEST_BYTES]))
    return path


def load_episodes(path: str | Path) -> list[Episode]:
    """The episodes in a file that `save_episodes` wrote, or that was written in its form.

    Raises:
        RunError: in one line, for a file that is missing, damaged, or holds something else.
    """
    path = Path(path)
    check_file(path, MOST_BYTES)
    try:
        entries = _entries(path.read_bytes())
    except Exception as error:  # zipfile and NumPy raise many kinds for bytes of other files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(
            f"{path}: not a readable file of episodes ({reason}); put back a copy"
        ) from None
    episodes: list[dict[str, Any]] = []
    for name, value in entries.items():
        number, _, field = name.partition(".")
        if not number.isdecimal() or int(number) >= len(entries):
            raise RunError(f"{path}: entry '{name}': must be named like 0.observations")
        while len(episodes) <= int(number):
            episodes.append({})
        episodes[int(number)][field] = str(value) if field == "stopped" else value
    try:
        return read_episodes(episodes)
    except InputError as error:
        raise RunError(f"{path}: {error}") from None


def _entries(content: bytes) -> dict[str, Any]:
    """Arrays and texts by their names in an archive.

    Raises:
        Exception: of any kind, for other bytes.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if archive.comment and not is_sealed(content):  # NumPy writes none
            raise ValueError("it has changed since metarl wrote it")
        if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
            raise ValueError(f"it unpacks to more than {MOST_BYTES:,} bytes")
        return {
            entry.filename.removesuffix(".npy"): np.lib.format.read_array(
                io.BytesIO(_unpacked(archive, entry)), allow_pickle=False
            )
            for entry in archive.infolist()
        }


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """An entry's bytes, compared with their checksum; of a false size, no more than it says.

    `ZipFile.read` would unpack all that is there first.
    """
    with archive.open(entry) as file:
        return file.read(entry.file_size + 1)
