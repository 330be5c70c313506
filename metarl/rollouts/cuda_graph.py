"""CUDA graphs: work that is queued once and recorded, and from then on is a single launch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

from metarl_envs import without_garbage_collection


def cuda_graph(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """What does the work again, as a graph on a GPU. The work is done once, too.

    It must read and write tensors that stay where they are, ask for no value on the GPU, and
    launch no graph. Work that cannot be recorded is queued operation by operation each time, with
    one warning.
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
