"""Axes along which gains are shown: the task parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.evaluation.results import SplitEvaluation
from metarl_envs import Parameter, TaskFamily

Array = NDArray[np.float64]
MAX_AXES = 4
GRID = 400


class Axis(NamedTuple):
    """One panel: gains against one number of the task, or two."""

    horizontal: str
    vertical: str | None
    """None: the gain itself is vertical."""
    trained: list[tuple[float, float]]
    """Intervals of the horizontal axis that the training range covers."""
    gains: dict[str, tuple[Array, Array]]
    """Per split: values, (M,) or (M, 2), and gains, (M,)."""


def task_axes(family: TaskFamily, results: Sequence[SplitEvaluation]) -> list[Axis]:
    """A plane for a parameter of two numbers, else one axis for each of the first parameters.

    A longer vector is shown by the mean of its entries.
    """
    axes = []
    for parameter in family.parameters[:MAX_AXES]:
        gains = {}
        for result in results:
            values = result.tasks.values[parameter.name].reshape(len(result.tasks), -1).numpy()
            shown = values if parameter.shape == (2,) else values.mean(axis=1)
            gains[result.split] = shown, result.gains[-1]
        if parameter.shape == (2,):
            axes.append(Axis(with_unit(parameter, "[0]"), with_unit(parameter, "[1]"), [], gains))
        else:
            label = f"{'mean of ' if parameter.shape else ''}{with_unit(parameter)}"
            every = np.concatenate([values for values, _ in gains.values()])
            axes.append(Axis(label, None, trained(parameter, every), gains))
    return axes


def with_unit(parameter: Parameter, entry: str = "") -> str:
    """A parameter's name, or that of one of its entries, with its unit."""
    return f"{parameter.name}{entry}{'' if parameter.unit == '1' else f', {parameter.unit}'}"


def trained(parameter: Parameter, shown: Array) -> list[tuple[float, float]]:
    """Intervals of the values shown from which training tasks are drawn."""
    margin = 0.03 * float(np.ptp(shown) or 1.0)
    grid = np.linspace(shown.min() - margin, shown.max() + margin, GRID)
    points = torch.as_tensor(grid).reshape(-1, *[1] * len(parameter.shape))
    inside = parameter.train.contains(points.expand(-1, *parameter.shape))
    flags = inside.reshape(GRID, -1).all(dim=1).numpy().astype(int)
    edges = np.flatnonzero(np.diff(flags, prepend=0, append=0))
    return [
        (float(grid[a]), float(grid[b - 1]))
        for a, b in zip(edges[::2], edges[1::2], strict=True)
        if b - a > 1
    ]
