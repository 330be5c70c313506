"""A pretended GPU: a device "gpu" with real values, and notes of what would fail or wait on one.

Its tensors keep their values in `raw`, on the CPU. To import this registers a backend with torch,
for the life of the process: see `test_pretended_gpu.py`.
"""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("gpu")
GPU = torch.device("gpu", 0)
OURS = ("metarl", "metarl_envs")
ASKING = {"_local_scalar_dense", "nonzero", "equal", "masked_select"}
"""Operations whose result the host waits for."""
INDEXING = {"index", "index_put_", "_index_put_impl_"}
WORKER = ThreadPoolExecutor(1)
"""Computes: in another thread torch.func's transformations of the caller are not in force."""


class Note(NamedTuple):
    """Something that a GPU cannot do, or that takes time there."""

    kind: str
    """"wait": the host asks for a value; "copy": between host and GPU; "mixed": an operation on
    tensors of both, which fails on a GPU. A number () of the host is none."""
    operation: str
    place: str
    """Place in our packages, such as "warp.py:WarpEngine.step"."""


NOTES: Counter[Note] = Counter()


def note(kind: str, operation: str) -> None:
    frame, place = sys._getframe(1), "?"
    while frame is not None and place == "?":
        path = Path(frame.f_code.co_filename)
        ours = any(part in OURS for part in path.parts) and "tests" not in path.parts
        if ours and path.name != "operation_counts.py":  # that one only passes operations on
            name = frame.f_code.co_qualname.partition(".<locals>")[0]
            place = f"{path.name}:{name}"
        frame = frame.f_back
    NOTES[Note(kind, operation, place)] += 1


def of_kind(kind: str, notes: Counter[Note]) -> dict[str, int]:
    """The notes of a kind as text, with how often each was made."""
    return {f"{n.operation} in {n.place}": count for n, count in notes.items() if n.kind == kind}


class OnGpu(torch.Tensor):
    """A tensor on the pretended GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    raw: torch.Tensor

    @staticmethod
    def holding(raw):
        made = torch.Tensor._make_wrapper_subclass(
            OnGpu,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=GPU,
        )
        made.raw = raw
        return made

    def __repr__(self):
        return f"gpu({self.raw})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return run(function, *args, **(kwargs or {}))

    # What torch does to these without an operation that we would see:
    def __getitem__(self, key):
        return torch.Tensor.__getitem__(self, _index(key))

    def __setitem__(self, key, value):
        torch.Tensor.__setitem__(self, _index(key), value)

    def tolist(self):
        note("wait", "tolist")
        return self.raw.tolist()

    def numpy(self, *, force=False):
        if not force:
            raise TypeError("can't convert a gpu tensor to numpy. Use Tensor.cpu() first")
        note("wait", "numpy")
        return self.raw.numpy().copy()


def run(function, *args, **kwargs):
    """An operation with the values of its tensors; its result is on the device that it should."""
    name = function._schema.name.removeprefix("aten::")
    _judge(name, args, kwargs)
    if name in ("_copy_from", "_copy_from_and_resize"):
        source, target = _raw(args[0]), _raw(args[1])
        WORKER.submit(target.copy_, source).result()
        return args[1]
    raw_args, raw_kwargs = tree_map(_raw, (args, kwargs))
    raw_kwargs.pop("pin_memory", None)
    result = WORKER.submit(function, *raw_args, **raw_kwargs).result()
    if name == "copy_":
        return args[0]
    device = kwargs.get("device")
    if name == "_local_scalar_dense" or (device is not None and torch.device(device).type == "cpu"):
        return result
    own = {id(t.raw): t for t in tree_leaves((args, kwargs)) if isinstance(t, OnGpu)}

    def wrapped(x):
        if not isinstance(x, torch.Tensor):
            return x
        return own[id(x)] if id(x) in own else OnGpu.holding(x)

    return tree_map(wrapped, result)


def _judge(name, args, kwargs) -> None:
    """Note what is wrong with an operation, if anything is."""
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    gpu = [t for t in tensors if t.device.type == "gpu"]
    host = [t for t in tensors if t.device.type == "cpu" and t.dim() > 0]
    device = kwargs.get("device")
    if name == "_to_copy":
        if device is not None and torch.device(device).type != tensors[0].device.type:
            note("copy", name)
    elif gpu and host:
        copies = name in INDEXING or name in ("copy_", "_copy_from", "_copy_from_and_resize")
        note("copy" if copies else "mixed", name)
    by_mask = name in INDEXING and any(
        index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
    )
    if name in ASKING or by_mask:
        note("wait", name)


def _raw(x):
    if isinstance(x, OnGpu):
        return x.raw
    return torch.device("cpu") if isinstance(x, torch.device) and x.type == "gpu" else x


def _index(key):
    """An index with its lists on the GPU, where torch puts them."""

    def one(k):
        if not isinstance(k, (list, range)):
            return k
        note("copy", "list index")
        return OnGpu.holding(host_tensor(list(k)))

    return tuple(one(k) for k in key) if isinstance(key, tuple) else one(key)


host_tensor = torch.tensor


def tensor(data, *args, device=None, **kwargs):
    """`torch.tensor`, whose values come from the host."""
    if device is None or torch.device(device).type != "gpu":
        return host_tensor(data, *args, device=device, **kwargs)
    note("copy", "torch.tensor")
    return OnGpu.holding(host_tensor(data, *args, **kwargs))


class GpuGenerator:
    """A source of random numbers on the pretended GPU: drawn on the CPU, without a copy."""

    device = GPU

    def __init__(self, seed):
        self.raw = torch.Generator().manual_seed(seed)


def drawing(function):
    """`torch.randn` and its like, which take our generators too."""

    def draw(*args, generator=None, device=None, **kwargs):
        if isinstance(generator, GpuGenerator):
            return OnGpu.holding(function(*args, generator=generator.raw, **kwargs))
        return function(*args, generator=generator, device=device, **kwargs)

    return draw


def gru(sequences, hidden, weights, *options):
    """`torch.gru` of one layer as a loop; on a GPU it is one call of cuDNN."""
    into, across, bias, across_bias = weights
    hidden, found = hidden[0], []
    for x in sequences.unbind(0):
        r, z, n = (x @ into.mT + bias).chunk(3, dim=-1)
        hr, hz, hn = (hidden @ across.mT + across_bias).chunk(3, dim=-1)
        candidate = torch.tanh(n + torch.sigmoid(r + hr) * hn)
        hidden = candidate + torch.sigmoid(z + hz) * (hidden - candidate)
        found.append(hidden)
    return torch.stack(found), hidden.unsqueeze(0)


def lstm(sequences, start, weights, *options):
    """`torch.lstm` of one layer as a loop."""
    into, across, bias, across_bias = weights
    (hidden, cell), found = (value[0] for value in start), []
    for x in sequences.unbind(0):
        gates = x @ into.mT + bias + hidden @ across.mT + across_bias
        i, f, g, o = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        found.append(hidden)
    return torch.stack(found), hidden.unsqueeze(0), cell.unsqueeze(0)


def on_either(host, pretended):
    """A function of sequences that is `pretended` on the pretended GPU."""

    def choose(sequences, *arguments):
        function = pretended if sequences.device.type == "gpu" else host
        return function(sequences, *arguments)

    return choose


torch.tensor = tensor
torch.gru, torch.lstm = on_either(torch.gru, gru), on_either(torch.lstm, lstm)
for sampler in ("randn", "rand", "randint", "randperm"):
    setattr(torch, sampler, drawing(getattr(torch, sampler)))
_library = torch.library.Library("_", "IMPL")
_library.fallback(run, "PrivateUse1")
