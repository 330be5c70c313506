"""Limit torch's CPU threads while the simulator runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Use `count` torch threads inside; the old number comes back outside.

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
