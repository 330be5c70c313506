"""Tasks: M parameter settings of one task family as a struct of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


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
            raise ValueError("Tasks needs at least one named parameter, got none")
        lengths = {name: len(value) for name, value in self.values.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"Tasks: parameters differ in their leading axis: {lengths}")
        object.__setattr__(
            self,
            "values",
            {name: value.detach().to("cpu", torch.float64) for name, value in self.values.items()},
        )

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Tasks:
        """The chosen tasks; an integer keeps the task axis, so the result has length 1."""
        if isinstance(index, int):
            index = [index]
        if isinstance(index, Sequence):
            index = torch.as_tensor(index, dtype=torch.long)
        return Tasks({name: value[index].clone() for name, value in self.values.items()})

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
        return Tasks(
            {name: v.repeat_interleave(episodes_per_task, dim=0) for name, v in self.values.items()}
        )

    @staticmethod
    def concatenate(parts: Sequence[Tasks]) -> Tasks:
        """All tasks of `parts`, in order.

        Raises:
            ValueError: if the parts name different parameters.
        """
        names = [tuple(part.values) for part in parts]
        if len({frozenset(n) for n in names}) != 1:
            raise ValueError(f"Tasks.concatenate: parameter names differ: {names}")
        return Tasks({name: torch.cat([part.values[name] for part in parts]) for name in names[0]})

    def to_json(self) -> dict[str, list[Any]]:
        """Plain lists, exact under a JSON round trip (floats are written in full)."""
        return {name: value.tolist() for name, value in self.values.items()}

    @staticmethod
    def from_json(data: Mapping[str, Sequence[Any]]) -> Tasks:
        """The inverse of `to_json`."""
        return Tasks({k: torch.tensor(v, dtype=torch.float64) for k, v in data.items()})

    def describe(self, index: int) -> dict[str, float | list[float]]:
        """One task as plain numbers, for captions, `info` and logs."""
        return {name: value[index].tolist() for name, value in self.values.items()}
