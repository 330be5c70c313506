"""A CUDA graph without a GPU: torch's operations recorded once, then repeated.

Like a graph, a repetition reads and writes the very tensors of the recording, runs no Python, and
so knows nothing of attributes set to other tensors since; and like a recording's, its work may
not ask for a value.
"""

from __future__ import annotations

import dataclasses

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from metarl.rollouts.data import BELIEFS

ASKING = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.masked_select.default,
}
"""Operations that wait for the GPU."""


class Recording(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_mask = func in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default) and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if func in ASKING or by_mask:
            raise RuntimeError(f"{func} waits for the device")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def repeat(self):
        for func, args, kwargs, recorded in self.calls:
            if func._schema.is_mutable:
                func(*args, **kwargs)
            elif not func.is_view:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(recorded), tree_leaves(again), strict=True):
                    old.copy_(new)


def operations(work):
    """A capture as `collect` takes it."""
    with Recording() as recording:
        work()
    return recording.repeat


def every_time(work):
    """The capture of what cannot be recorded."""
    return work


def differing(one, other):
    """Names of what differs in two rollouts, where it means something."""
    per_step = {"observations", "actions"}
    return [
        field.name
        for field in dataclasses.fields(one)
        for a, b in [(getattr(one, field.name), getattr(other, field.name))]
        if field.name not in BELIEFS
        if not torch.equal(*((a[one.valid], b[one.valid]) if field.name in per_step else (a, b)))
    ]
