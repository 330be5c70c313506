"""The state of training beside a policy: files of named tensors and of counters.

training.safetensors             every random stream, the optimiser, running worlds
training.json                    counters, and the checksums that tie the files together
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor

from metarl.errors import RunError
from metarl.methods.setup import family_of
from metarl.runs.files import (
    json_bytes,
    read_json,
    read_tensors,
    sha256,
    with_checksum,
    write_synced,
)
from metarl.runs.policy_folder import SCHEMA, SavedPolicy, check_format, check_middle, read_policy
from metarl.versions import versions
from metarl_envs import FAMILIES

TRAINING_STATE = "training.safetensors"
TRAINING = "training.json"


class Stored(NamedTuple):
    """A checkpoint that was read."""

    policy: SavedPolicy
    counters: dict[str, int]
    tensors: dict[str, Tensor]


def write_training(
    folder: Path,
    kind: str,
    counters: Mapping[str, int],
    tensors: Mapping[str, Tensor],
    weights_digest: str,
) -> None:
    """Write both files into a folder whose policy is there.

    Args:
        folder: a checkpoint that is being made.
        kind: the format's name, such as "metarl-training".
        counters: `iteration` and others.
        tensors: the rest of the state.
        weights_digest: SHA-256 of the policy's weights.
    """
    content = safetensors.torch.save(dict(tensors))
    write_synced(folder / TRAINING_STATE, content)
    training = {
        "format": kind,
        "schema": SCHEMA,
        "versions": versions(),
        **counters,
        "sha256": sha256(content),
        "weights_sha256": weights_digest,
    }
    write_synced(folder / TRAINING, json_bytes(with_checksum(training)))


def read_training(
    folder: Path,
    kind: str,
    counters: tuple[str, ...],
    like: Callable[[SavedPolicy], Mapping[str, Tensor]],
) -> Stored:
    """Read the files of `write_training` and the policy beside them; everything is checked.

    Args:
        folder: a checkpoint.
        kind: the format's name.
        counters: names of the required ones; `iteration` is one of them.
        like: from the policy to tensors with the expected names, shapes and types.

    Raises:
        RunError: in one line, for files that are missing, damaged or of another version.
        InputError: if the robot's actions now have another middle.
    """
    saved = read_policy(folder)
    path = folder / TRAINING
    if not path.exists():
        raise RunError(
            f"{folder}: holds no {TRAINING} (an older metarl wrote none for baselines): its policy "
            "can be evaluated and adapted, but training cannot go on"
        )
    data = read_json(path)
    check_format(path, data, kind)
    if data.get("weights_sha256") != saved.metadata["sha256"]:
        raise RunError(f"{path}: belongs to other weights than {folder.name} holds")
    counts: dict[str, Any] = {name: data.get(name) for name in counters}
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise RunError(f"{path}: {name} = {value!r} is not a count")
    if counts["iteration"] != int(folder.name):
        raise RunError(f"{path}: of iteration {counts['iteration']}, but in {folder.name}")
    tensors = read_tensors(folder / TRAINING_STATE, like(saved), str(data.get("sha256")))
    if saved.config.family in FAMILIES:
        check_middle(saved, family_of(saved.config))
    _warn_of_other_versions(path, data)
    return Stored(saved, counts, tensors)


def _warn_of_other_versions(path: Path, data: dict[str, Any]) -> None:
    """Warn of other versions: physics and arithmetic change between releases."""
    written = data.get("versions")
    if not isinstance(written, dict):
        return
    changed = [
        f"{name} {written.get(name)} (now {current})"
        for name, current in versions().items()
        if written.get(name) != current
    ]
    if changed:
        warnings.warn(
            f"{path}: written with {', '.join(changed)}; results may differ", stacklevel=5
        )
