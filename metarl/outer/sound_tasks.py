"""Means over the tasks whose adaptation was finite: the others have no part in an update.

A failed task's adapted parameters are NaN to whoever adapts again to differentiate, and NaN times
a weight of 0 is NaN: values are chosen, never weighted. Tasks do not mix before the mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.policies.params import Params


def mean_over_tasks(values: Tensor, failed: Tensor) -> Tensor:
    """Mean over the tasks that have not failed: (M, ...), (M,) -> (...); NaN where all have."""
    return sum_over_tasks(values, failed) / (~failed).sum()


def sum_over_tasks(values: Tensor, failed: Tensor) -> Tensor:
    """Sum over the tasks that have not failed: (M, ...), (M,) -> (...)."""
    return torch.where(_like(failed, values), 0.0, values).sum(0)


def cut_gradients(params: Mapping[str, Tensor], failed: Tensor) -> Params:
    """The same parameters (M, ...), to which no gradient comes back from tasks that have failed.

    To leave them out of the mean is not enough: what is differentiated is a step that overflows,
    and a gradient of 0 times infinity is NaN, which parameters that all tasks share would get.
    """
    return {
        name: torch.where(_like(failed, value), value.detach(), value)
        for name, value in params.items()
    }


def _like(failed: Tensor, values: Tensor) -> Tensor:
    """(M,) -> (M, 1, ...)."""
    return failed.view(-1, *[1] * (values.dim() - 1))
