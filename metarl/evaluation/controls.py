"""Controls of an adaptation: other parameters on the same task.

Policies that a step has moved may be better on every task, as they are after any step of plain
policy improvement. Only the return that a task's own adapted parameters reach beyond another
task's, or beyond the mean of all, comes from knowledge of the task.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarl.policies.params import Params, expand


def other_tasks(groups: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """For each of M tasks the index of one that is another task, each index once: (M,).

    Args:
        groups: (M,) which of the distinct tasks each one is; a finite family's tasks recur.

    Returns:
        A permutation of 0..M-1; None where one task fills more than half of the places, so that
        there is none.
    """
    _, first, inverse, counts = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    most = int(counts.max())
    if 2 * most > len(groups):
        return None
    # Equal tasks stand beside each other, so a shift by the longest row of them leads out of each.
    # Groups stand as drawn, not by their numbers: those may be sorted by the tasks' values, and
    # then everyone's partner would be the task most like its own.
    order = np.argsort(first[inverse], kind="stable")
    others = np.empty_like(order)
    others[order] = np.roll(order, -most)
    return others


def exchanged(adapted: Mapping[str, Tensor], others: NDArray[np.int64]) -> Params:
    """Every task with the parameters that another one adapted to, (M, ...) -> (M, ...)."""
    rows = torch.as_tensor(others)
    return {name: value[rows.to(value.device)] for name, value in adapted.items()}


def averaged(adapted: Mapping[str, Tensor]) -> Params:
    """Every task with the mean of all adapted parameters, (M, ...) -> (M, ...)."""
    count = len(next(iter(adapted.values())))
    return expand({name: value.mean(0) for name, value in adapted.items()}, count)
