"""Gains over the task parameters: along which axes to show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metarl.evaluation.results import SplitEvaluation
from metarl_envs import Parameter, TaskFamily

Array = NDArray[np.float64]
MAX_AXES = 4
GRID = 400


@dataclass(frozen=True)
class Axis:
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
        unit = "" if parameter.unit == "1" else f", {parameter.unit}"
        values = {
            result.split: result.tasks.values[parameter.name].reshape(len(result.tasks), -1).numpy()
            for result in results
        }
        gains = {result.split: result.gains[-1] for result in results}
        if parameter.shape == (2,):
            first, second = (f"{parameter.name}[{i}]{unit}" for i in range(2))
            plane = {split: (values[split], gains[split]) for split in values}
            axes.append(Axis(first, second, [], plane))
            continue
        mean = "mean of " if parameter.shape else ""
        line = {split: (values[split].mean(axis=1), gains[split]) for split in values}
        axes.append(Axis(f"{mean}{parameter.name}{unit}", None, trained(parameter, line), line))
    return axes


def trained(
    parameter: Parameter, line: dict[str, tuple[Array, Array]]
) -> list[tuple[float, float]]:
    """Where, between the smallest and the largest value shown, training tasks come from."""
    import torch

    shown = np.concatenate([values for values, _ in line.values()])
    margin = 0.03 * float(np.ptp(shown) or 1.0)
    grid = np.linspace(shown.min() - margin, shown.max() + margin, GRID)
    points = torch.as_tensor(grid).reshape(-1, *[1] * len(parameter.shape))
    inside = parameter.train.contains(points.expand(-1, *parameter.shape))
    flags = inside.reshape(GRID, -1).all(dim=1).numpy()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [
        (float(grid[a]), float(grid[b - 1]))
        for a, b in zip(edges[::2], edges[1::2], strict=True)
        if b - a > 1
    ]
