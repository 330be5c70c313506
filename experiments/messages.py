"""Messages between processes: their number, their times, and their share of an iteration."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from metarl import distributed

MESSAGES = (8, 1_000, 100_000, 1_000_000, 10_000_000)
"""Bytes of the messages that are timed."""
REPEATS = 20


KINDS = ("all_reduce", "all_gather")


class Counted:
    """Counts the messages of this process from now on, and their times."""

    def __init__(self) -> None:
        self.bytes: dict[str, list[int]] = {kind: [] for kind in KINDS}
        """Size of each message, by its kind."""
        self._times: list[tuple[float, float]] = []  # when each began and ended
        for kind in KINDS:
            setattr(dist, kind, self._counting(kind, vars(dist)[kind]))

    def _counting(self, kind: str, send: Any) -> Any:  # noqa: ANN401 - a function of torch's
        def counted(*given: Any, **more: Any) -> Any:  # noqa: ANN401
            self.bytes[kind].append(given[-1].numel() * given[-1].element_size())
            began = time.perf_counter()
            done = send(*given, **more)
            self._times.append((began, time.perf_counter()))
            return done

        return counted

    def seconds(self) -> dict[str, float]:
        """Seconds that this process has waited for later ones, and of messages once all had come.

        Every process asks, and all are on one machine, whose clock they share.
        """
        times = torch.tensor(self._times, dtype=torch.float64).reshape(1, -1, 2)
        began, ended = distributed.gather_over_ranks(times).unbind(-1)  # (processes, messages)
        latest, own = began.max(0).values, times[0, :, 0]
        return {
            "waiting": float((latest - own).sum()),
            "passing": float((ended.max(0).values - latest).sum()),
        }


def timed_messages() -> dict[str, Any]:
    """Seconds of a message of each kind and size, medians; and the fitted latency and rate.

    The fit is by least squares of relative errors: seconds = latency + bytes / rate.
    """
    found: dict[str, Any] = {}
    for kind in KINDS:
        seconds = [_seconds(kind, size) for size in MESSAGES]
        weights = 1 / np.array(seconds)
        columns = np.stack([np.ones(len(MESSAGES)), np.array(MESSAGES)], axis=1)
        (latency, per_byte), *_ = np.linalg.lstsq(
            columns * weights[:, None], np.ones(len(MESSAGES)), rcond=None
        )
        found[kind] = {"bytes": MESSAGES, "seconds": seconds, "latency_s": float(latency)}
        found[kind]["bytes_per_s"] = float(1 / per_byte)
    return found


def _seconds(kind: str, size: int) -> float:
    sent, times = torch.zeros(size, dtype=torch.uint8), []
    received = [torch.zeros_like(sent) for _ in range(distributed.world_size())]
    for _ in range(REPEATS):
        began = time.perf_counter()
        if kind == "all_reduce":
            dist.all_reduce(sent)
        else:
            dist.all_gather(received, sent)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def predicted(row: Mapping[str, Any], times: Mapping[str, Any]) -> dict[int, float]:
    """Share of an iteration that messages take, by the number of processes.

    Assumptions: every process has as many worlds as each of the two that were measured, so that the
    meta-batch grows with their number and the rest of an iteration stays as long; drawing random
    numbers for all worlds, and replays of all trials, are not in it.
    Messages and their bytes per process are those that were counted with two processes.
    A sum of b bytes takes 2 log2(R) latencies and 2 (R - 1) / R * b / rate (a ring); gathering
    takes log2(R) latencies and (R - 1) * b / rate, b being what each process sends.
    Latency and rate are those fitted on this machine between two processes, by loopback: a network
    has others, and processes that arrive late are not in it.
    """
    measured, shares = row["2 processes"], {}
    at_two = _message_s(measured["messages"], times, 2)
    for size in (2, 4, 8, 16, 32, 64):
        waiting = _message_s(measured["messages"], times, size)
        rest = max(measured["iteration_s"] - at_two, 0.0)
        shares[size] = waiting / (waiting + rest)
    return shares


def _message_s(messages: Mapping[str, Any], times: Mapping[str, Any], size: int) -> float:
    """Seconds of an iteration's messages between so many processes."""
    sums, gathered = messages["all_reduce"], messages["all_gather"]
    rounds = float(np.log2(size))
    summing, gathering = times["all_reduce"], times["all_gather"]
    return (
        sums["number"] * 2 * rounds * summing["latency_s"]
        + 2 * (size - 1) / size * sums["bytes"] / summing["bytes_per_s"]
        + gathered["number"] * rounds * gathering["latency_s"]
        + (size - 1) * gathered["bytes"] / gathering["bytes_per_s"]
    )
