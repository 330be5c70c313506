"""Episodes on disk: a NumPy archive that is readable without this library, and holds no pickle."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl.deploy.episodes import Episode, read_episodes
from metarl.errors import RunError
from metarl.runs.files import replace_file
from metarl_envs import InputError


def save_episodes(path: str | Path, episodes: Sequence[Episode]) -> Path:
    """Write episodes as one `.npz` file, over an older one; its folder is made.

    Its entries are `0.observations`, `0.actions`, ..., `1.observations` and so on, by the names of
    `Episode`'s fields.

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
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content.getvalue())
    return path


def load_episodes(path: str | Path) -> list[Episode]:
    """The episodes in a file that `save_episodes` wrote, or that was written in its form.

    Raises:
        RunError: in one line, for a file that is missing, damaged, or holds something else.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            entries = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path}: not a readable file of episodes ({reason})") from None
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
