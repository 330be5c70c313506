"""Processes that share a meta-batch, and the only reductions over all of its tasks.

A launcher such as torchrun starts them, and they are one training: each simulates and adapts to an
equal share of the same tasks, and what they learn from passes through here. In one process every
function is the identity, and nothing is opened.

Sums and counts are reduced over the processes, never means: shares may lose different numbers of
tasks. Sums over tasks are float64 from the first addition to the last, in one process too. In
float32 they depended on the number of processes, and conjugate gradient multiplied the difference:
after an iteration of MAML-TRPO parameters differed by 1.5e-5, and now they have the same bits.
Random numbers are drawn for all tasks in every process, and each takes its own.

A task whose adaptation was not finite has failed and does not count. Its values and gradients are
NaN, and NaN times a weight of 0 is NaN: values are selected, never weighted.
"""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from metarl.errors import LostProcessError
from metarl.process import launched_processes, local_rank, restarts
from metarl_envs import InputError

TIMEOUT = "METARL_TIMEOUT_S"
"""Environment variable: seconds that a process waits for the others before it gives them up."""
DEFAULT_TIMEOUT_S = 600.0
LOST = "another process is lost"


def join() -> None:
    """Meet the processes of this launch, if there are several; the first call alone does something.

    They meet at MASTER_ADDR:MASTER_PORT, by gloo on the CPU and by NCCL on GPUs, of which each
    process takes the one with its LOCAL_RANK.

    Raises:
        InputError: for a timeout that is no number of seconds.
        LostProcessError: if not all processes arrive.
    """
    if dist.is_initialized() or launched_processes() == 1:
        return
    # PyTorch's first use of `torch.func` or an optimiser imports this, and if that finds a process
    # group, then the group's threads live on until they crash where Python ends.
    importlib.import_module("torch._dynamo")
    backend = "gloo"
    if torch.cuda.is_available() and dist.is_nccl_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    limit = timedelta(seconds=timeout_s())
    with _answered():
        store, index, size = next(rendezvous("env://", timeout=limit))
        # torchrun keeps its store over restarts, with the addresses of processes that have ended.
        store = PrefixStore(f"start {restarts()}", store)
        with _threads_that_do_not_interrupt():
            dist.init_process_group(
                backend, store=store, rank=index, world_size=size, timeout=limit
            )
    atexit.register(dist.destroy_process_group)


def timeout_s() -> float:
    """Seconds that a process waits for the others.

    Raises:
        InputError: for a setting that is no positive number.
    """
    text = os.environ.get(TIMEOUT, str(DEFAULT_TIMEOUT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise InputError(f"{TIMEOUT} = '{text}': must be a number of seconds, above 0, such as 600")
    return seconds


def rank() -> int:
    """Index of this process, 0 for the one that writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


class Share(NamedTuple):
    """The slots of a meta-batch that this process simulates."""

    total: int
    """M, of all processes."""
    own: Tensor | None = None  # (m,) numbers of this process's slots; None: all are its own

    def of(self, values: Tensor) -> Tensor:
        """This process's entries: (M, ...) -> (m, ...)."""
        return values if self.own is None else values[self.own.to(values.device)]

    def gather(self, values: Mapping[str, Tensor], dim: int = 0) -> dict[str, Tensor]:
        """The entries of all processes, in order of rank: each m -> M along an axis."""
        return dict(values) if self.own is None else gather_by_name(values, dim)


def share_of(total: int, num_tasks: int) -> Share:
    """This process's share of M slots, of which the m-th runs task m modulo `num_tasks`.

    All slots of a task are in one process.
    """
    if world_size() == 1:
        return Share(total)
    tasks = torch.arange(total) % num_tasks
    return Share(total, torch.isin(tasks, own_slice(torch.arange(num_tasks))).nonzero()[:, 0])


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum of the processes' values: (...) -> (...); differentiable in this process's values."""
    return values if world_size() == 1 else _Sum.apply(values)  # pyright: ignore[reportReturnType]


def sum_by_name(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sum of the processes' values of each name, such as gradients and counts, as one message."""
    if world_size() == 1:
        return dict(values)
    summed = sum_over_ranks(torch.cat([value.reshape(-1).double() for value in values.values()]))
    parts = summed.split([value.numel() for value in values.values()])
    return {
        name: part.reshape(value.shape).to(value.dtype)
        for (name, value), part in zip(values.items(), parts, strict=True)
    }


def gather_over_ranks(values: Tensor, dim: int = 0) -> Tensor:
    """Values of all processes in order of rank along an axis: (m, ...) -> (M, ...)."""
    return gather_by_name({"": values}, dim)[""]


def gather_by_name(values: Mapping[str, Tensor], dim: int = 0) -> dict[str, Tensor]:
    """The same of several tensors of any types, as one message: each (m, ...) -> (M, ...)."""
    if world_size() == 1 or not values:
        return dict(values)
    own = {name: value.detach().movedim(dim, 0).contiguous() for name, value in values.items()}
    rows = [v.reshape(len(v), v[0].numel()).view(torch.uint8) for v in own.values()]  # as bytes
    sent = torch.cat(rows, dim=1)
    received = [torch.empty_like(sent) for _ in range(world_size())]
    with _answered():
        dist.all_gather(received, sent)
    parts = torch.cat(received).split([row.shape[1] for row in rows], dim=1)
    return {
        name: part.flatten().clone().view(v.dtype).reshape(len(part), *v.shape[1:]).movedim(0, dim)
        for (name, v), part in zip(own.items(), parts, strict=True)
    }


def own_slice(values: Tensor) -> Tensor:
    """This process's part of what all hold: (M, ...) -> (m, ...), parts as equal as possible."""
    return values.tensor_split(world_size())[rank()]


def whole_of(own: Tensor, total: int) -> Tensor:
    """The inverse of `own_slice`, for (total, ...); differentiable in this process's values."""
    if world_size() == 1:
        return own
    places = own_slice(torch.arange(total, device=own.device))
    return sum_over_ranks(own.new_zeros(total, *own.shape[1:]).index_copy(0, places, own))


def part_of_mean(values: Tensor, counted: Tensor, total: Tensor) -> Tensor:
    """This process's part of the mean over the counted values of all: (...) -> ().

    The parts sum to the mean, and their gradients to its gradient.

    Args:
        values: of this process.
        counted: which of them count.
        total: number of those of all processes that count, (), which each knows without a message.
    """
    return torch.where(counted, values, 0.0).sum() / total


def any_rank(flag: bool) -> bool:
    """True if the flag is true in any process."""
    return bool(sum_over_ranks(torch.tensor(int(flag))))


def first_to_say(text: str) -> bool:
    """True in the first of the processes that wants to print a text; in all that have not met."""
    try:
        return dist.distributed_c10d._get_default_store().add(text, 1) == 1
    except (RuntimeError, ValueError):  # ValueError: they have not met
        return True


def from_first(content: bytes) -> bytes:
    """The first process's bytes, in every process; the others' are ignored."""
    if world_size() == 1:
        return content
    length = torch.tensor(len(content))
    length = from_first_tensor(length)
    sent = torch.frombuffer(bytearray(content or b"0"), dtype=torch.uint8)
    sent = sent if rank() == 0 else torch.empty(max(int(length), 1), dtype=torch.uint8)
    return from_first_tensor(sent).numpy().tobytes()[: int(length)]


def from_first_tensor(values: Tensor) -> Tensor:
    """The first process's tensor, in every process, which gives one of its shape and type."""
    if world_size() == 1:
        return values
    flags = values.dtype == torch.bool
    sent = (values.to(torch.uint8) if flags else values).clone(
        memory_format=torch.contiguous_format
    )
    with _answered():
        dist.broadcast(sent, src=0)
    return sent.to(values.dtype)


def sums_over_tasks(values: Mapping[str, Tensor], failed: Tensor) -> dict[str, Tensor]:
    """Sums over the tasks that have not failed, as one message: each (m, ...), (m,) -> (...)."""
    flat = torch.cat([value.reshape(len(failed), -1) for value in values.values()], dim=1)
    summed = sum_over_ranks(_sum_here(flat, failed)).to(flat.dtype)
    parts = summed.split([value[0].numel() for value in values.values()])
    return {
        name: part.reshape(value.shape[1:])
        for (name, value), part in zip(values.items(), parts, strict=True)
    }


def count_tasks(failed: Tensor) -> Tensor:
    """Number of tasks that have not failed: (m,) -> ()."""
    return sum_over_ranks((~failed).sum())


def mean_over_tasks(values: Tensor, failed: Tensor) -> Tensor:
    """Mean over the tasks that have not failed: (m, ...), (m,) -> (...); NaN where all have."""
    summed = sum_by_name({"values": _sum_here(values, failed), "tasks": (~failed).sum()})
    return (summed["values"] / summed["tasks"]).to(values.dtype)


def _sum_here(values: Tensor, failed: Tensor) -> Tensor:
    """Sum over this process's tasks that have not failed: (m, ...), (m,) -> (...), float64."""
    left_out = failed.view(-1, *[1] * (values.dim() - 1))
    return torch.where(left_out, 0.0, values).sum(0, dtype=torch.float64)


class _Sum(torch.autograd.Function):
    """Sum over the processes. Its gradient is this process's own part of the whole gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401
        del ctx
        wide = torch.float64 if values.is_floating_point() else torch.int64
        total = values.to(wide, copy=True, memory_format=torch.contiguous_format)
        with _answered():
            dist.all_reduce(total)
        return total.to(values.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401  # pyright: ignore[reportIncompatibleMethodOverride]
        del ctx
        return gradient


@contextmanager
def _threads_that_do_not_interrupt() -> Iterator[None]:
    """On Linux, threads that start in here wait for a core instead of interrupting another thread.

    In gloo one thread receives and another sends, and the first spins while the second holds a
    lock. If it wakes on that one's core, as it will where processes are as many as cores, both lose
    the rest of a scheduler's tick, of 4 ms: of two processes on two cores a sum of 60 kB took
    1.1 ms in the mean, and takes 0.2 ms.
    """
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def _answered() -> Iterator[None]:
    """Turn the errors of a message that a process did not answer into one of ours."""
    began = time.monotonic()
    try:
        yield
    except RuntimeError as error:
        if not first_to_say(LOST):
            raise LostProcessError("") from error
        late = time.monotonic() - began >= timeout_s()
        raise LostProcessError.of(launched_processes(), timeout_s() if late else None) from error
