"""Real processes that are one launch, from a server that has imported everything once.

The tests' own process is not forked: it may have used autograd, whose threads no child gets.
"""

from __future__ import annotations

import multiprocessing
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
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["torch._dynamo", "metarl.cli", "metarl.api.training", "experiments.many_ranks"]
)


class Ranks:
    """Processes, each of which does the same work with another RANK."""

    def __init__(self, size: int, work: Callable[[], object], folder: Path, **env: str) -> None:
        """Start them.

        Args:
            size: their number.
            work: of each, a function of a module or a `partial` of one; what it returns is its exit
                code, None: 0.
            folder: where what they print goes, one file for each.
            env: more environment variables.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
        folder.mkdir(parents=True, exist_ok=True)
        self.outputs = [folder / f"rank-{rank}.txt" for rank in range(size)]
        self.processes = []
        for rank, output in enumerate(self.outputs):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
            arguments = (work, output, shared | own | env, Path.cwd())
            process = SERVER.Process(target=_as_rank, args=arguments)
            process.start()
            self.processes.append(process)

    def send(self, rank: int, number: signal.Signals) -> None:
        """Send a signal to one of them."""
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)

    def wait_for(self, rank: int) -> int:
        """The exit code of one of them, negative for a signal; one that hangs is killed."""
        process = self.processes[rank]
        process.join(LIMIT_S)
        if process.is_alive():
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode

    def wait(self) -> list[int]:
        """Their exit codes."""
        return [self.wait_for(rank) for rank in range(len(self.processes))]

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Return once something is true.

        Raises:
            AssertionError: with what they printed, if one of them ends before.
        """
        while not reached():
            assert all(process.is_alive() for process in self.processes), self.text()
            time.sleep(0.05)

    def text(self) -> str:
        """All that they printed."""
        return "".join(path.read_text() for path in self.outputs if path.exists())


def _as_rank(work: Callable[[], object], output: Path, env: dict[str, str], folder: Path) -> None:
    """Work in a process of its own, which ends here."""
    code = 99
    try:
        os.environ.update(env)
        os.chdir(folder)
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


def in_ranks(size: int, work: Callable[[], object], folder: Path, **env: str) -> str:
    """Do the same work in so many processes; what they printed.

    Raises:
        AssertionError: with it, if one of them fails.
    """
    ranks = Ranks(size, work, folder, **env)
    codes = ranks.wait()
    assert codes == [0] * size, f"exit codes {codes}:\n{ranks.text()}"
    return ranks.text()
