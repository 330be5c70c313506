"""Real processes that are one launch: forked, so that nothing is imported again."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

LIMIT_S = 600.0
"""Seconds until a process counts as one that hangs."""


class Ranks:
    """Forked processes, each of which does the same work with another RANK."""

    def __init__(self, size: int, work: Callable[[], object], folder: Path, **env: str) -> None:
        """Start them.

        Args:
            size: their number.
            work: of each; what it returns is its exit code, None: 0.
            folder: where what they print goes, one file for each.
            env: more environment variables.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
        folder.mkdir(parents=True, exist_ok=True)
        self.outputs = [folder / f"rank-{rank}.txt" for rank in range(size)]
        self.pids = []
        for rank, output in enumerate(self.outputs):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
            self.pids.append(self._forked(work, output, shared | own | env))

    @staticmethod
    def _forked(work: Callable[[], object], output: Path, env: dict[str, str]) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 99
        try:
            os.environ.update(env)
            torch.set_num_threads(1)
            with output.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
            sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
            result = work()
            code = result if isinstance(result, int) else 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait(self) -> list[int]:
        """Their exit codes, negative for a signal; those that hang are killed."""
        codes: dict[int, int] = {}
        ends = time.monotonic() + LIMIT_S
        while len(codes) < len(self.pids):
            for pid in set(self.pids) - codes.keys():
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
            if time.monotonic() > ends:
                for pid in set(self.pids) - codes.keys():
                    os.kill(pid, signal.SIGKILL)
        return [codes[pid] for pid in self.pids]

    def text(self) -> str:
        """All that they printed."""
        return "".join(path.read_text() for path in self.outputs)


def in_ranks(size: int, work: Callable[[], object], folder: Path, **env: str) -> str:
    """Do the same work in so many processes; what they printed.

    Raises:
        AssertionError: with it, if one of them fails.
    """
    ranks = Ranks(size, work, folder, **env)
    codes = ranks.wait()
    assert codes == [0] * size, f"exit codes {codes}:\n{ranks.text()}"
    return ranks.text()
