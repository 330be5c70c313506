"""The command `metarl` as a process: Ctrl-C, and output that nobody can read any more."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

from metarl import cli

AT_ONCE = b"\nmetarl: stopped at once\n"


def main() -> int:
    """Run the command of this process; its exit code."""
    signal.signal(signal.SIGINT, CtrlC())
    try:
        code = cli.main()
    except KeyboardInterrupt:  # before or after the command's own work
        code = cli.ExitCode.KILLED
    _flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what remains is Python's end, without a word
    return code


class CtrlC:
    """Handler of SIGINT: the first Ctrl-C raises KeyboardInterrupt, another one ends the process.

    So no traceback is shown, however often the keys are pressed while the first one is answered.
    """

    def __init__(self) -> None:
        self._presses = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._presses += 1
        if self._presses > 1:
            with contextlib.suppress(OSError):
                os.write(2, AT_ONCE)
            os._exit(cli.ExitCode.KILLED)
        raise KeyboardInterrupt


def _flush() -> None:
    """Write out what was printed; a terminal that is gone or a full disk changes no exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
