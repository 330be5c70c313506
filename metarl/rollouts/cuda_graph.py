"""CUDA graphs: recorded work that is repeated by a single launch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

from metarl_envs import without_garbage_collection


def cuda_graph(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Capture `work` as a CUDA graph and return its replay. Runs `work` once as warm-up.

    It must read and write tensors at fixed addresses, read no value back from the GPU, and launch
    no graph. Work that cannot be recorded is queued operation by operation each time, with one
    warning.
    """
    work()  # libraries set themselves up at first use, which cannot be recorded
    with torch.cuda.device(device):
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with (
                without_garbage_collection(),
                torch.cuda.graph(
                    graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"
                ),
            ):
                work()
        except RuntimeError as error:
            cause = str(error.__context__ or error).strip().partition("\n")[0]
            warnings.warn(
                f"a time step could not be recorded as a CUDA graph ({cause}): it is queued "
                "operation by operation, which is slower with few worlds",
                stacklevel=2,
            )
            return work
        finally:
            torch.cuda.set_stream(stream)  # a recording that fails to end leaves its own in force
    return graph.replay
