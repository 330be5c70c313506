"""Stop signals turned into a request that the training loop reads between iterations."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType

from metarl.distributed import rank

STOP_SIGNALS = (
    (signal.SIGTERM, signal.SIGINT)
    if sys.platform == "win32"
    else (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
)
"""Signals of users, schedulers, and a terminal that is closed (SIGHUP). SLURM's advance warning is
often SIGUSR1."""


class StopSignals:
    """While open, a stop signal sets `requested` instead of ending the process.

    The first process of a training says so in a line. A second Ctrl-C is the business of the
    handler before, which raises KeyboardInterrupt. Old handlers come back at the end. A closed
    terminal is ignored where it was ignored before, by nohup. Outside the main thread, where Python
    allows no handlers, nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = ""
        """Name of the first signal received, such as "SIGTERM"; "" as long as there is none."""
        self._old: dict[signal.Signals, object] = {}
        self._tells = True

    def __enter__(self) -> StopSignals:
        self._tells = rank() == 0
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:
                    self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._old.items():
            # None: the old handler was not set from Python and cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # pyright: ignore[reportArgumentType]
        self._old.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT and self.requested:
            before = self._old.get(signal.SIGINT)
            if callable(before):
                before(number, frame)
            raise KeyboardInterrupt
        first, self.requested = not self.requested, self.requested or name
        if first and self._tells:
            again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            # os.write: print() is not reentrant, so a signal handler must not call it.
            with contextlib.suppress(OSError):  # the terminal may be gone
                os.write(2, f"\nmetarl: {name}: stopping after this iteration{again}\n".encode())
