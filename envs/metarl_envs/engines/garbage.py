"""Work during which Python collects no garbage, such as the recording of a CUDA graph."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect before the work and not during it; afterwards as it was before.

    Garbage may hold graphs and GPU memory, and freeing either while a graph is recorded makes the
    recording invalid ("operation not permitted when stream is capturing", pytorch#161037). PyTorch
    has not collected before a recording since 2.9.
    """
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
