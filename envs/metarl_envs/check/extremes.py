"""The lowest and highest value of each task parameter, as tasks that are otherwise nominal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl_envs.distributions import within_any
from metarl_envs.family import TaskFamily
from metarl_envs.parameters import Parameter
from metarl_envs.tasks import Tasks

DRAWN = 64
"""Values that are drawn to find the extremes: a distribution does not say where it ends."""


@dataclass(frozen=True)
class Extremes:
    """One number of a parameter at both ends of what was drawn."""

    parameter: Parameter
    entry: int | None
    """Index in a vector; None for a number."""
    low: Tasks  # M = 1
    high: Tasks  # M = 1

    @property
    def label(self) -> str:
        """The number's name: "gear" or "gear[2]"."""
        return self.parameter.name + ("" if self.entry is None else f"[{self.entry}]")

    def value(self, task: Tasks) -> float:
        """The number in one task."""
        return float(task.values[self.parameter.name].flatten()[self.entry or 0])


def extremes(family: TaskFamily) -> list[Extremes]:
    """Both ends of every number that varies, of the training ranges."""
    generator = Generator().manual_seed(0)
    found = []
    for parameter in family.parameters:
        drawn = parameter.train.sample(DRAWN, parameter.shape, generator)  # (DRAWN,) or (DRAWN, d)
        for entry in range(parameter.shape[0]) if parameter.shape else [None]:
            column = drawn if entry is None else drawn[:, entry]
            ends = [_task(family, parameter, entry, drawn[i]) for i in _ends(column)]
            found.append(Extremes(parameter, entry, *ends))
    return found


def _ends(column: Tensor) -> tuple[int, int]:
    return int(column.argmin()), int(column.argmax())


def _task(family: TaskFamily, parameter: Parameter, entry: int | None, drawn: Tensor) -> Tasks:
    """The nominal task with one number replaced, or its whole vector where that is not allowed."""
    value = drawn
    if entry is not None:
        alone = torch.tensor(parameter.nominal, dtype=torch.float64)
        alone[entry] = drawn[entry]
        if bool(within_any((parameter.train,), alone[None]).all()):
            value = alone
    nominal = family.nominal_tasks()
    return Tasks({**nominal.values, parameter.name: value[None]})
