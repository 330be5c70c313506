"""Tasks: M parameter settings of one task family as a struct of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import tensor, whole, wholes


@dataclass(frozen=True, eq=False)
class Tasks:
    """M tasks as named float64 arrays with a shared leading axis M.

    A task is one value of every parameter of its family, so M tasks are a struct of arrays.
    `Tasks` holds raw parameter values (the numbers a person types), never model fields: fields
    are derived from them, so this is all that a checkpoint or a log needs.
    """

    values: Mapping[str, Tensor]  # each (M,) or (M, d)

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError("Tasks needs at least one named parameter, got none")
        values = {name: _column(name, value) for name, value in self.values.items()}
        lengths = {name: len(value) for name, value in values.items()}
        if len(set(lengths.values())) != 1:
            raise InputError(f"Tasks: parameters differ in their leading axis: {lengths}")
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Tasks:
        """The chosen tasks; an integer keeps the task axis, so the result has length 1."""
        rows = index if isinstance(index, slice) else _rows(index, len(self))
        return Tasks({name: value[rows].clone() for name, value in self.values.items()})

    def __iter__(self) -> Iterator[Tasks]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tasks):
            return NotImplemented
        return self.values.keys() == other.values.keys() and all(
            torch.equal(value, other.values[name]) for name, value in self.values.items()
        )

    def __hash__(self) -> int:
        return hash(tuple((name, tuple(v.flatten().tolist())) for name, v in self.values.items()))

    def repeat(self, episodes_per_task: int) -> Tasks:
        """Each task `episodes_per_task` times in task-major order: world m*E + e has task m."""
        times = whole("episodes_per_task", episodes_per_task, least=1)
        return Tasks({name: v.repeat_interleave(times, dim=0) for name, v in self.values.items()})

    @staticmethod
    def concatenate(parts: Sequence[Tasks]) -> Tasks:
        """All tasks of `parts`, in order.

        Raises:
            InputError: if the parts name different parameters.
        """
        names = [tuple(part.values) for part in parts]
        if len({frozenset(n) for n in names}) != 1:
            raise InputError(f"Tasks.concatenate: parameter names differ: {names}")
        return Tasks({name: torch.cat([part.values[name] for part in parts]) for name in names[0]})

    def to_json(self) -> dict[str, list[Any]]:
        """Plain lists, exact under a JSON round trip (floats are written in full)."""
        return {name: value.tolist() for name, value in self.values.items()}

    @staticmethod
    def from_json(data: Mapping[str, Sequence[Any]]) -> Tasks:
        """The inverse of `to_json`."""
        return Tasks({name: tensor(name, value) for name, value in data.items()})

    def describe(self, index: int) -> dict[str, float | list[float]]:
        """One task as plain numbers, for captions, `info` and logs."""
        row = whole("index", index)
        return {name: value[row].tolist() for name, value in self.values.items()}


def _column(name: str, value: Any) -> Tensor:  # noqa: ANN401 - any type
    """One parameter's values as a tensor (M, ...), float64, on the CPU."""
    if isinstance(value, Tensor) and value.is_floating_point():
        found = value.detach().to("cpu", torch.float64)
    else:
        found = tensor(name, value)
    if found.dim() == 0:
        raise InputError(f"{name} = {float(found)}: must have one row per task, (M,) or (M, d)")
    return found


def _rows(index: Any, length: int) -> Tensor:  # noqa: ANN401 - any type
    """An index, several, or a mask (length,), as torch takes it."""
    given = np.asarray(index)
    if given.dtype == np.bool_ and given.ndim:
        if given.shape != (length,):
            raise InputError(f"mask of shape {given.shape}: must be ({length},), one for each task")
        return torch.from_numpy(given)
    return torch.tensor(wholes("index", given if given.ndim else [index]), dtype=torch.long)
