"""Processes that share a meta-batch, and the only reductions over all of its tasks.

Each process owns an equal slice of the meta-batch. Sums and counts are reduced over the processes,
never means: slices may lose different numbers of tasks. Today there is one process, in which
`sum_over_ranks` and `gather_over_ranks` are the identity. Three things do not pass through here
yet: the observation normaliser (`update_normaliser`), the counter `env_steps`, and the metrics of
rollouts and inner loops (`rollout_metrics`, `inner_metrics`).

A task whose adaptation was not finite has failed and does not count. Its values and gradients are
NaN, and NaN times a weight of 0 is NaN: values are selected, never weighted.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rank() -> int:
    """Index of this process, 0 for the one that writes files."""
    return 0


def world_size() -> int:
    """Number of processes."""
    return 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum of the processes' values: (...) -> (...); differentiable in this process's values."""
    return values


def gather_over_ranks(values: Tensor) -> Tensor:
    """Values of all tasks in order of rank, from this process's: (m, ...) -> (M, ...)."""
    return values


def own_slice(values: Tensor) -> Tensor:
    """The inverse of `gather_over_ranks`: (M, ...) -> (m, ...)."""
    return values.chunk(world_size())[rank()]


def any_rank(flag: bool) -> bool:
    """True if the flag is true in any process."""
    return bool(sum_over_ranks(torch.tensor(int(flag))))


def sum_over_tasks(values: Tensor, failed: Tensor) -> Tensor:
    """Sum over the tasks that have not failed: (m, ...), (m,) -> (...)."""
    left_out = failed.view(-1, *[1] * (values.dim() - 1))
    return sum_over_ranks(torch.where(left_out, 0.0, values).sum(0))


def count_tasks(failed: Tensor) -> Tensor:
    """Number of tasks that have not failed: (m,) -> ()."""
    return sum_over_ranks((~failed).sum())


def mean_over_tasks(values: Tensor, failed: Tensor) -> Tensor:
    """Mean over the tasks that have not failed: (m, ...), (m,) -> (...); NaN where all have."""
    return sum_over_tasks(values, failed) / count_tasks(failed)
