"""Runs of an experiment: `metarl` commands as processes of one thread each, with their cost."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.runs.checkpoint import load_policy
from metarl.runs.metrics_log import read_metrics


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    error: str | None
    """Its error output, if it failed."""
    wall_clock_s: float
    cpu_s: float


def metarl(command: Sequence[str], log: Path) -> Finished:
    """Run a `metarl` command with one torch thread; its complaints go to `log`.

    So that as many commands as there are cores can run beside each other, give those that simulate
    `--sim-threads 1`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with log.open("w") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", "metarl", *command],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=complaints,
        )
        _, status, used = os.wait4(process.pid, 0)
    return Finished(
        (log.read_text().strip() or f"status {status}") if status else None,
        time.perf_counter() - began,
        used.ru_utime + used.ru_stime,
    )


def is_trained(run: Path) -> bool:
    """True if a run exists and finished; those that train nothing have no metrics.

    Raises:
        RunError: for a run that was stopped before it saved anything.
    """
    if not run.exists():
        return False
    config, lines = load_policy(run).config, read_metrics(run)
    return not lines or lines[-1]["iteration"] >= config.iterations


def metarl_once(command: Sequence[str], *, done: bool, log: Path) -> bool:
    """Run a command, one simulator thread, unless that is done already; whether it is now."""
    if done:
        return True
    print(f"metarl {shlex.join(command)}", flush=True)
    ended = metarl([*command, "--sim-threads", "1"], log)
    if ended.error is not None:
        print(f"failed: {ended.error}", flush=True)
    return ended.error is None
