"""Parameter dicts as points of a vector space: expand, flatten, combine."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Params = dict[str, Tensor]
"""Parameters by name; with per-task parameters every tensor has a leading axis M.

The name of an entry says which loop may change it:

| name | what it is | meta-learned | adapted |
|-|-|-|-|
| `obs_*` | statistics of the observations | no | no |
| `adaptation.*` | the adaptation's own: learned rates, a learned optimiser | yes | no |
| `task.*` | per-task inputs and memory, the same at the start of every task | no | yes |
| all others | weights of the policy | yes | yes |

Among the weights, `weight_0`, `bias_0`, `weight_1`, ... are linear layers in order; the last of
them is the head, which gives the mean output, and `log_std` is the output's noise.
"""
STATISTICS, ADAPTATION, TASK = "obs_", "adaptation.", "task."


def learned(params: Mapping[str, Tensor]) -> Params:
    """Entries that the outer loop learns: weights and the adaptation's own."""
    return _without(params, STATISTICS, TASK)


def fixed(params: Mapping[str, Tensor]) -> Params:
    """Entries that the outer loop leaves fixed: normaliser statistics and per-task state."""
    return {name: value for name, value in params.items() if name.startswith((STATISTICS, TASK))}


def weights(params: Mapping[str, Tensor]) -> Params:
    """The policy's weights alone, which a gradient step of the inner loop changes."""
    return _without(params, STATISTICS, TASK, ADAPTATION)


def acting(params: Mapping[str, Tensor]) -> Params:
    """Entries that the policy acts by, without statistics: weights and per-task state."""
    return _without(params, STATISTICS, ADAPTATION)


def task_entries(params: Mapping[str, Tensor]) -> list[str]:
    """Names of the per-task inputs and memory."""
    return [name for name in params if name.startswith(TASK)]


def head(params: Mapping[str, Tensor]) -> tuple[str, str, str]:
    """Names of the head: weight and bias of the last linear layer, and the noise."""
    last = max(i for i in range(len(params)) if f"weight_{i}" in params)
    return f"weight_{last}", f"bias_{last}", "log_std"


def layers(params: Mapping[str, Tensor]) -> Params:
    """The linear layers, in order: weights and biases."""
    return {n: value for n, value in params.items() if n.startswith(("weight_", "bias_"))}


def dtype_of(params: Mapping[str, Tensor]) -> torch.dtype:
    """The type that all entries have."""
    return next(iter(params.values())).dtype


def statistics(params: Mapping[str, Tensor]) -> Params:
    """The observation normaliser's entries."""
    return {name: value for name, value in params.items() if name.startswith(STATISTICS)}


def _without(params: Mapping[str, Tensor], *prefixes: str) -> Params:
    return {name: value for name, value in params.items() if not name.startswith(prefixes)}


def expand(params: Mapping[str, Tensor], num_tasks: int) -> Params:
    """The same parameters for every task, as views: each (...) -> (M, ...)."""
    return {name: value.expand(num_tasks, *value.shape) for name, value in params.items()}


def detach(params: Mapping[str, Tensor]) -> Params:
    """The same values without gradient history."""
    return {name: value.detach() for name, value in params.items()}


def to(params: Mapping[str, Tensor], device: torch.device) -> Params:
    """The same values on another device."""
    return {name: value.to(device) for name, value in params.items()}


def flatten(params: Mapping[str, Tensor]) -> Tensor:
    """All entries as one vector, in the order of the dict: (D,)."""
    return torch.cat([value.reshape(-1) for value in params.values()])


def unflatten(vector: Tensor, like: Mapping[str, Tensor]) -> Params:
    """The inverse of `flatten` for parameters shaped as `like`: copies, not views.

    A view's address in memory is less aligned than that of a tensor read from a checkpoint, and
    alignment may choose another kernel; copies keep a resumed run bit-identical.
    """
    parts = vector.split([value.numel() for value in like.values()])
    return {
        name: part.reshape(value.shape).clone()
        for (name, value), part in zip(like.items(), parts, strict=True)
    }


def is_finite(params: Mapping[str, Tensor]) -> bool:
    """True if every entry is a finite number."""
    return bool(torch.stack([torch.isfinite(value).all() for value in params.values()]).all())
