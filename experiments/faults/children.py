"""Commands of `metarl` as children of one process that has imported everything.

A fork takes milliseconds where a new process imports for seconds, so that a thousand commands can
be killed on one core. The parent must run nothing itself that starts threads.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.cli import program

MODULES = (
    *("torch._dynamo", "metarl.api", "metarl.report.writer", "metarl.sb3.training"),
    *("onnx.reference", "metarl.deploy.onnx", "tensorboard.compat.proto.event_pb2"),
    *("matplotlib.pyplot", "cmaes"),
)
"""Imported before the first fork; the others follow by `learn_imports`."""
CRASHED = 70
"""Exit code of a child whose command raised instead of returning."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    """Exit code; negative: the number of the signal that ended it."""
    said: str
    """All that it printed."""
    wall_s: float

    @property
    def killed(self) -> bool:
        """True if it was ended by SIGKILL."""
        return self.code == -signal.SIGKILL

    @property
    def last_line(self) -> str:
        """Its last line that is not empty, or ""."""
        return ([""] + [line for line in self.said.splitlines() if line.strip()])[-1]


@dataclass(frozen=True)
class Child:
    """A command that runs."""

    pid: int
    log: Path
    began_s: float

    def wait(self) -> Ended:
        """Wait for its end."""
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, self.log.read_text(errors="replace"), time.perf_counter() - self.began_s)

    def send(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def start(command: Sequence[str], log: Path, prepare: Callable[[], object] | None = None) -> Child:
    """Begin `metarl COMMAND` in a fork of this process.

    Args:
        command: the words after `metarl`.
        log: file for what it prints.
        prepare: run in the child before the command.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    began_s = time.perf_counter()
    if pid := os.fork():
        return Child(pid, log, began_s)
    code = CRASHED
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.argv = ["metarl", *command]
        if prepare is not None:
            prepare()
        code = int(program.main())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def run(command: Sequence[str], log: Path, prepare: Callable[[], object] | None = None) -> Ended:
    """`start`, and wait for the end."""
    return start(command, log, prepare).wait()


def succeed(command: Sequence[str], log: Path) -> Ended:
    """Run a command that nothing disturbs.

    Raises:
        RuntimeError: with what it printed, if it fails.
    """
    ended = run(command, log)
    if ended.code:
        raise RuntimeError(f"metarl {shlex.join(command)}: exit code {ended.code}\n{ended.said}")
    return ended


def learn_imports(command: Sequence[str], log: Path) -> Ended:
    """`succeed`, then import here what the command imported, so that its next fork is fast."""
    names = log.with_suffix(".modules")
    real_exit = os._exit

    def noting() -> None:
        def leave(code: int) -> None:
            names.write_text("\n".join(sys.modules))
            real_exit(code)

        os._exit = leave

    ended = run(command, log, noting)
    if ended.code:
        raise RuntimeError(f"metarl {shlex.join(command)}: exit code {ended.code}\n{ended.said}")
    for name in names.read_text().split("\n"):
        if name not in sys.modules and not name.startswith("_"):
            with contextlib.suppress(Exception):  # made at run time, or of another name
                importlib.import_module(name)
    return ended


def import_all() -> None:
    """Import what the commands need, before the first fork."""
    for name in MODULES:
        importlib.import_module(name)
