"""Change of the parameters by adaptation: size per layer, and a plane of adapted policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metarl.policies.params import TASK, acting
from metarl_envs import Tasks

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """The way from meta-parameters to the adapted parameters of M tasks."""

    tasks: Tasks
    moved: dict[str, Array]
    """Per entry of the parameters, the length of its change over its own length before: (M,) each.
    Entries that start at zero (context parameters) are measured by the change's length alone."""
    places: Array  # (M, 2) the adapted parameters on the plane in which they differ most
    share: float
    """Of the variance between tasks, how much that plane shows, in [0, 1]."""


def what_changed(
    theta: Mapping[str, Tensor], adapted: Mapping[str, Tensor], tasks: Tasks
) -> Change:
    """Compare meta-parameters (...) with the adapted parameters (M, ...) of these tasks.

    Tasks whose adapted parameters are not finite must be left out before.
    """
    before, after = acting(theta), acting(adapted)
    moved, ways = {}, []
    for name, start in before.items():
        way = (after[name].double() - start.double()).reshape(len(tasks), -1)
        length = float(start.double().norm())
        relative = 1.0 if name.startswith(TASK) or length == 0 else 1 / length
        moved[name] = (way.norm(dim=1) * relative).cpu().numpy()
        ways.append(way.cpu().numpy())
    places, share = principal_plane(np.concatenate(ways, axis=1))
    return Change(tasks, moved, places, share)


def principal_plane(points: Array) -> tuple[Array, float]:
    """Points (M, D) on the plane of their two largest principal components, (M, 2), and its share.

    The share of the variance is 0 where all points are the same, or there is only one.
    """
    centred = points - points.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    total = float((s**2).sum())
    coordinates = np.zeros((len(points), 2))
    kept = min(2, len(s))
    coordinates[:, :kept] = u[:, :kept] * s[:kept]
    return coordinates, float((s[:2] ** 2).sum() / total) if total > 0 else 0.0
