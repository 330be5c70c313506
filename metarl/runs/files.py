"""Files that are either whole or absent, and reading files that nobody vouches for."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from metarl.errors import RunError
from metarl.policies.params import Params

MAX_JSON_BYTES = 4_000_000
SEAL = "checksum"
DTYPES = {
    "F32": torch.float32,
    "F64": torch.float64,
    "U8": torch.uint8,
    "I32": torch.int32,
    "I64": torch.int64,
    "BOOL": torch.bool,
}
"""The tensor types that our files hold, by their names in safetensors headers."""


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's entries; a no-op where folders cannot be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old or the new one."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        write_synced(temporary, content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def temporary_folder(final: Path) -> Path:
    """A fresh, empty folder beside `final`, to be filled and then given to `publish`."""
    temporary = final.with_name(f"{final.name}.tmp")
    remove_folder(temporary)
    temporary.mkdir(parents=True)
    return temporary


def publish(temporary: Path, final: Path) -> None:
    """Rename a filled folder into place, over an older one if there is one."""
    sync_folder(temporary)
    if final.exists():  # a folder cannot be renamed over a filled one
        old = final.with_name(f"{final.name}.old.tmp")
        remove_folder(old)
        os.replace(final, old)
        os.replace(temporary, final)
        remove_folder(old)
    else:
        os.replace(temporary, final)
    sync_folder(final.parent)


def remove_folder(folder: Path) -> None:
    """Delete a folder with all it holds; nothing if it is not there."""
    if folder.exists():
        shutil.rmtree(folder)


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def plain(value: Any) -> Any:  # noqa: ANN401
    """The same value in strict JSON: rows as lists, NaN and infinities as null."""
    if isinstance(value, np.generic | np.ndarray | Tensor):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def sealed_json(data: Mapping[str, Any]) -> bytes:
    """A JSON file that knows its own checksum, so that one changed digit is found."""
    content = plain(data)
    text = json.dumps(content | {SEAL: _seal(content)}, indent=2, ensure_ascii=False)
    return f"{text}\n".encode()


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, its checksum not yet looked at.

    Raises:
        RunError: if the file is missing, oversized or not a JSON object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise RunError(f"{path}: larger than {MAX_JSON_BYTES} bytes, so not one of ours")
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:  # ValueError: bad UTF-8, bad JSON
        raise RunError(f"{path}: not readable as JSON ({error}); it is corrupt") from None
    if not isinstance(data, dict):
        raise RunError(f"{path}: not a JSON object; it is corrupt")
    return data


def check_seal(path: Path, data: dict[str, Any]) -> None:
    """Refuse an object whose checksum is missing or wrong.

    Raises:
        RunError: naming the file.
    """
    content = {key: value for key, value in data.items() if key != SEAL}
    if data.get(SEAL) != _seal(content):
        raise RunError(f"{path}: the checksum does not fit; the file is corrupt or was edited")


def read_tensors(path: Path, like: Mapping[str, Tensor], digest: str) -> Params:
    """The tensors of a safetensors file, which must be exactly those that are expected.

    Everything that the header says is checked before any memory is taken for it.

    Args:
        path: the file.
        like: tensors (on any device, `meta` too) with the expected names, shapes and dtypes.
        digest: SHA-256 of the whole file.

    Raises:
        RunError: naming the file, and the tensor where one is at fault.
    """
    header_bytes, header = _read_header(path)
    if missing := sorted(set(like) - set(header)):
        raise RunError(f"{path}: tensors {missing} are missing; it belongs to another policy")
    if unknown := sorted(set(header) - set(like)):
        raise RunError(f"{path}: unexpected tensors {unknown}; it belongs to another policy")
    total = 0
    for name, tensor in like.items():
        entry = header[name] if isinstance(header[name], dict) else {}
        if entry.get("shape") != list(tensor.shape):
            raise RunError(
                f"{path}: {name} has shape {entry.get('shape')}, expected {list(tensor.shape)}"
            )
        dtype = entry.get("dtype")
        if not isinstance(dtype, str) or DTYPES.get(dtype) != tensor.dtype:
            raise RunError(f"{path}: {name} has dtype {dtype}, expected {tensor.dtype}")
        total += tensor.numel() * tensor.element_size()
    size = path.stat().st_size
    if size != header_bytes + total:
        raise RunError(f"{path}: {size} bytes, expected {header_bytes + total}; it is truncated")
    content = path.read_bytes()
    if sha256(content) != digest:
        raise RunError(f"{path}: its sha256 is not the recorded one; it is corrupt or was swapped")
    try:
        tensors = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise RunError(f"{path}: {error}; it is corrupt") from None
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise RunError(f"{path}: {name} holds NaN or infinite values")
    # In the expected order: sums over flattened parameters depend on it in their last bits. Copies,
    # because views into a file's bytes are not aligned, on which the last bits may depend too.
    return {name: tensors[name].clone() for name in like}


def _read_header(path: Path) -> tuple[int, dict[str, Any]]:
    """(bytes before the data, the header without its metadata) of a safetensors file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_JSON_BYTES):
                raise RunError(f"{path}: its header does not fit into the file; it is truncated")
            header = json.loads(file.read(length))
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: unreadable header ({error}); it is corrupt") from None
    if not isinstance(header, dict):
        raise RunError(f"{path}: unreadable header; it is corrupt")
    header.pop("__metadata__", None)
    return 8 + length, header


def _seal(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
