"""Counts of work on a device: operations that run there, and values that the host waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ASKING = {"_local_scalar_dense", "nonzero", "equal", "masked_select"}
"""Operations that hand the host a number, or a tensor of a size that the values decide."""
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
FREE = {
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_efficientzerotensor",
    "_unsafe_view",
    "_has_same_storage_numel",
    "is_same_size",
}
"""Operations beside views that run nothing on the device."""


class OperationCounts(TorchDispatchMode):
    """Counts of torch's operations while it is in force (`with OperationCounts() as counts`).

    On a GPU an operation is about one kernel: one that the host launches, in some microseconds,
    however few numbers it computes. A CUDA graph's replay is no operation. A wait lasts until the
    GPU has done all that was queued. Where the code asks a CPU what it does not ask a GPU, counts
    on the CPU show that question as a wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels = 0
        """Operations that compute or copy: all but views, allocations and questions."""
        self.waits = 0
        """Questions: a tensor's number, its truth, a mask as an index, a copy to the host."""

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 -- whatever the operation returns
        kwargs = kwargs or {}
        if waits_for_device(func, args, kwargs):
            self.waits += 1
        elif not func.is_view and operation_name(func) not in FREE:
            self.kernels += 1
        return func(*args, **kwargs)


def operation_name(func: Callable[..., Any]) -> str:
    """Such as "add" of `aten::add.Tensor`."""
    return func._schema.name.partition("::")[2]  # pyright: ignore


def waits_for_device(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bool:
    """True if the host needs the values of the operation's inputs before it can go on."""
    name = operation_name(func)
    if name == "_to_copy":
        device, source = kwargs.get("device"), args[0].device.type
        return source != "cpu" and device is not None and torch.device(device).type == "cpu"
    by_mask = name in INDEXING and any(
        isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
    )
    return name in ASKING or by_mask
