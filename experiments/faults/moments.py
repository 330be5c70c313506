"""Moments at which a process writes, numbered: each a place for a fault.

A kill at a random time rarely falls into a write, which is short; a kill at a random moment always
does. A write is cut in two, and its moment is between the halves.
"""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metarl.runs import files

OPERATIONS = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")
"""Functions of `os`; beside them there are `open` for writing, `write` and `swap`."""
TAKE_SPACE = ("fsync", "mkdir", "open", "write")
"""Operations that fail on a full disk."""
WRITING = frozenset("wax+")

Act = Callable[[int, str, str], None]
"""Called with the moment's number from 1, the operation and its file."""


class CutInTwo(io.FileIO):
    """A file whose writes have a moment in their middle."""

    moment: Callable[[str, str], None]

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        view = memoryview(data).cast("B")
        half = super().write(view[: len(view) // 2])
        self.moment("write", str(self.name))
        return half + super().write(view[half:])


def watch(act: Act) -> None:
    """Call `act` at every moment of this process from now on; for a process of its own."""
    numbers = itertools.count(1)

    def moment(operation: str, file: str) -> None:
        act(next(numbers), operation, file)

    def watched(operation: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - of `os`
            moment(operation, str(args[0]))
            return function(*args, **options)

        return call

    real_open = io.open

    def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - of `open`
        if not WRITING & set(mode) or not isinstance(file, str | Path):
            return real_open(file, mode, buffering, *args, **options)
        moment("open", str(file))
        raw = CutInTwo(file, mode.replace("b", "").replace("t", ""))
        raw.moment = moment
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *args, **options)

    for name in OPERATIONS:
        setattr(os, name, watched(name, getattr(os, name)))
    files.swap = watched("swap", files.swap)
    io.open = builtins.open = opened  # pyright: ignore[reportAttributeAccessIssue]


def kill_at(fatal: int, note: Path) -> Callable[[], None]:
    """A preparation of a child: it kills itself at a moment, whose operation it notes before."""
    descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def act(number: int, operation: str, file: str) -> None:
        del file
        if number == fatal:
            os.write(descriptor, operation.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: watch(act)


def count_into(note: Path) -> Callable[[], None]:
    """A preparation of a child: it leaves the number of its moments by now in a file."""
    descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def act(number: int, operation: str, file: str) -> None:
        del operation, file
        os.pwrite(descriptor, b"%d" % number, 0)

    return lambda: watch(act)


def full_from(first: int) -> Callable[[], None]:
    """A preparation of a child: from a moment on, nothing that takes space succeeds (ENOSPC)."""

    def act(number: int, operation: str, file: str) -> None:
        if number >= first and operation in TAKE_SPACE:
            name = file if operation in ("mkdir", "open") else None
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    return lambda: watch(act)
