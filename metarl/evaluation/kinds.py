"""Means over the tasks of each kind, such as each class of Meta-World's ML10."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def by_kind(
    kinds: Sequence[str], returns: Array, quantity: Array, *, success: bool
) -> dict[str, dict[str, float]] | None:
    """Mean return, and share of successful episodes, of each kind of tasks.

    Args:
        kinds: name of each of M tasks' kind; [] for tasks of one kind.
        returns: (..., M), NaN where all episodes diverged, which are left out.
        quantity: likewise.
        success: True if the quantity is a flag of success.

    Returns:
        Means by the names, in the order in which they first appear; None for tasks of one kind.
    """
    if not kinds:
        return None
    found = {}
    for name in dict.fromkeys(kinds):
        own = np.array([kind == name for kind in kinds])
        found[name] = {"return": float(np.nanmean(returns[..., own]))}
        if success:
            found[name]["success"] = float(np.nanmean(quantity[..., own]))
    return found
