"""Atomic writes, and validated reads of untrusted files."""

from __future__ import annotations

import csv
import ctypes
import errno
import hashlib
import io
import json
import math
import os
import shutil
import sys
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from metarl.errors import RunError
from metarl.policies.params import Params

MAX_JSON_BYTES = 4_000_000
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of fcntl.h and linux/fs.h
CHECKSUM = "crc32"
"""Key of the checksum in a JSON object of `with_checksum`."""
DIGEST_BYTES = 64
"""Length of a SHA-256 in hexadecimal."""


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with naming(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Wait until the disk has what was written to a file by now; a no-op if it is missing."""
    if path.exists():
        with naming(path), path.open("ab") as file:
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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in errors of the system that name none, as those of a full disk do."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def beside(path: Path) -> Path:
    """A name of nothing yet, ending in .tmp: two processes that write the same file never meet."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old or the new one."""
    temporary = beside(path)
    try:
        write_synced(temporary, content)
        os.replace(temporary, path)
    except (Exception, KeyboardInterrupt) as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)
        raise
    sync_folder(path.parent)


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `final` if the block ends without error.

    A reader, or a crash at any moment, sees what was there before or all of the new one; where the
    system cannot swap two folders (not Linux, some network disks), a crash can leave neither.
    """
    temporary = beside(final)
    temporary.mkdir()
    try:
        yield temporary
        sync_folder(temporary)
        if final.exists():
            swap(temporary, final)
        else:
            os.replace(temporary, final)
    except (Exception, KeyboardInterrupt):
        remove_folder(temporary)  # a full disk must not stay full of half a folder
        raise
    remove_folder(temporary)
    sync_folder(final.parent)


def swap(one: Path, other: Path) -> None:
    """Exchange two names, on Linux in one step, so that neither is missing at any moment."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None, use_errno=True), "renameat2"):
        ours, theirs = (os.fsencode(path.absolute()) for path in (one, other))
        if not libc.renameat2(AT_FDCWD, ours, AT_FDCWD, theirs, RENAME_EXCHANGE):
            return
        if (number := ctypes.get_errno()) not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number), str(other))
    between = beside(other)
    os.replace(other, between)
    os.replace(one, other)
    os.replace(between, one)


def remove_folder(folder: Path) -> None:
    """Delete a folder with its content, or a link to one alone; a no-op if it is missing.

    It is renamed first: a crash leaves no half-deleted folder with its name.
    """
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder.rename(beside(folder)))


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def sealed(content: bytes) -> bytes:
    """Content with its own SHA-256 behind it, for formats that end in a text of any kind."""
    return content + sha256(content).encode()


def is_sealed(content: bytes) -> bool:
    """True for the output of `sealed`, if not a bit of it has changed."""
    return sealed(content[:-DIGEST_BYTES]) == content


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """An object for a JSON file, with a CRC-32 of its values behind them.

    Of the values, not of their text: layout and the order of the keys may change.
    """
    values = plain(values)
    return {**values, CHECKSUM: _crc32(values)}


def check_values(values: dict[str, Any]) -> None:
    """Take the checksum out of an object that was read, and compare it; a no-op without one.

    Raises:
        ValueError: if a value has changed, saying what to do.
    """
    noted = values.pop(CHECKSUM, None)
    if noted is not None and noted != _crc32(values):
        raise ValueError(
            "its values have changed since metarl wrote them: put back a copy, or, if you changed "
            f'them on purpose, delete the entry "{CHECKSUM}"'
        )


def _crc32(values: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode()):08x}"


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


def json_bytes(data: object) -> bytes:
    """Data as the content of a JSON file that people read: NaN and infinities as null."""
    return f"{json.dumps(plain(data), indent=2, ensure_ascii=False)}\n".encode()


def write_json(path: Path, data: object) -> Path:
    """Write data as a JSON file, whole or not at all."""
    replace_file(path, json_bytes(data))
    return path


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Path:
    """Write rows under the names of their columns as a CSV file, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    replace_file(path, text.getvalue().encode())
    return path


def check_file(path: Path, most_bytes: float = math.inf) -> None:
    """Refuse what cannot be read to an end: a pipe, a device, a file that is too large.

    Raises:
        RunError: naming the path.
    """
    if not path.exists():
        raise RunError(f"{path}: no such file")
    if not path.is_file():
        raise RunError(f"{path}: is not a file; put back the one that metarl wrote")
    if path.stat().st_size > most_bytes:
        raise RunError(f"{path}: larger than {most_bytes:,} bytes, so not one of ours")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, without its checksum.

    Raises:
        RunError: if the file is missing, oversized, no JSON object, or changed since it was
            written.
    """
    check_file(path, MAX_JSON_BYTES)
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # ValueError: bad UTF-8, bad JSON
        raise RunError(f"{path}: not readable as JSON ({error}); it is corrupt") from None
    if not isinstance(data, dict):
        raise RunError(f"{path}: not a JSON object; it is corrupt")
    try:
        check_values(data)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: {error}") from None
    return data


def read_tensors(path: Path, like: Mapping[str, Tensor], digest: str) -> Params:
    """The tensors of a safetensors file, which must be exactly those that are expected.

    Names and shapes are checked before any memory is taken for them.

    Args:
        path: the file.
        like: tensors of any device, `meta` included, with the expected names, shapes and dtypes.
        digest: SHA-256 of the whole file.

    Raises:
        RunError: naming the file, and the tensor if one is wrong.
    """
    check_file(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if missing := sorted(set(like) - names):
                raise RunError(f"{path}: tensors {missing} are missing; of another policy?")
            if unknown := sorted(names - set(like)):
                raise RunError(f"{path}: unexpected tensors {unknown}; of another policy?")
            for name, tensor in like.items():
                if (shape := file.get_slice(name).get_shape()) != list(tensor.shape):
                    raise RunError(
                        f"{path}: {name} has shape {shape}, expected {list(tensor.shape)}"
                    )
        content = path.read_bytes()
    except safetensors.SafetensorError as error:
        raise RunError(f"{path}: {error}; it is truncated or corrupt") from None
    if sha256(content) != digest:
        raise RunError(f"{path}: its sha256 is not the recorded one; it is corrupt or was swapped")
    tensors = safetensors.torch.load(content)
    for name, tensor in tensors.items():
        if tensor.dtype != like[name].dtype:
            raise RunError(f"{path}: {name} has dtype {tensor.dtype}, expected {like[name].dtype}")
        if not bool(torch.isfinite(tensor).all()):
            raise RunError(f"{path}: {name} holds NaN or infinite values")
    # In the expected order: sums over flattened parameters depend on it in their last bits. Copies,
    # because views into a file's bytes are not aligned, on which the last bits may depend too.
    return {name: tensors[name].clone() for name in like}
