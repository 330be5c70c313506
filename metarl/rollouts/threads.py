"""Who owns the cores, the simulator while collecting, torch while updating; and which device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from metarl.process import available_cores
from metarl_envs import InputError
from metarl_envs.inputs.numbers import whole


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Use `count` torch threads inside, and what was set before outside.

    Torch's idle OpenMP threads spin and take cores from the simulator's thread pool: collecting
    from 40 x 20 half-cheetahs on two cores took 1.46 s with one torch thread, 1.93 s with two
    (medians of four, libgomp's own spin count).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_named(name: str) -> torch.device:
    """The device "cpu" or "cuda"; "auto" is a GPU if there is one.

    Raises:
        InputError: for CUDA on a machine without it, or another name.
    """
    if name not in (allowed := ("auto", "cpu", "cuda")):
        raise InputError(f"device = '{name}': allowed are {', '.join(allowed)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device = 'cuda': torch finds no CUDA device; use --device cpu")
    available = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(available if name == "auto" else name)


def simulator_threads(given: int | None) -> int:
    """The number that was asked for; None: every core that this process may use.

    Raises:
        InputError: for less than 1.
    """
    return available_cores() if given is None else whole("sim_threads", given, 1)
