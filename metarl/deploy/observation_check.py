"""Warning of observations unlike those of training: other units, order, or wrappers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.deploy.episodes import Episode
from metarl.runs.policy_folder import SavedPolicy
from metarl_envs import InputError
from metarl_envs.inputs.numbers import reals

SHIFT, SPREAD = 40.0, 30.0
"""Largest shift of an entry's mean, in standard deviations of training, and largest ratio of its
standard deviations: degrees for radians are 57 times. The largest of 60 first episodes on tasks of
extrapolation, over all families: 12 and 9 with untrained policies, 5 and 15 with a half-cheetah of
25 iterations (`python -m experiments.other_observations`)."""
ALIKE = 0.8
"""Least correlation, between the entries here and in training, of the logarithms of their standard
deviations within an episode. Below it, as behind most wrappers and orders, but also where a robot
falls at once, smaller differences count:"""
UNLIKE_SHIFT, UNLIKE_SPREAD = 15.0, 10.0
"""The largest of episodes below `ALIKE`, those of hoppers and walkers: 4 and 4."""
STILL = 20
"""Steps without any change after which a sensor counts as stuck."""
FLOOR = 1e-3
"""Least standard deviation that counts, as a share of 1 + |mean|: for entries that stood still."""
SHOWN = 3


@dataclass(frozen=True)
class Observed:
    """Statistics of the observations of training, each (O,)."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    std_within: NDArray[np.float64] | None
    """Within an episode, where that is known."""


def observed_in_training(saved: SavedPolicy) -> Observed | None:
    """Statistics saved with the policy, or those of its normaliser; None without either."""
    statistics: Any = saved.metadata.get("observations")
    try:
        arrays = [np.array(reals(name, statistics[name])) for name in ("mean", "std", "std_within")]
        if all(a.shape == (saved.policy.observation_size,) for a in arrays):
            return Observed(*arrays)
    except (InputError, KeyError, TypeError):  # an older policy
        pass
    known = saved.policy.statistics(saved.params)
    if known is None or float(known.samples) == 0:
        return None
    return Observed(known.mean.double().numpy(), known.variance.double().sqrt().numpy(), None)


def warn_of_other_observations(saved: SavedPolicy, episode: Episode) -> None:
    """Warn if the first episode on a robot shows other observations than training."""
    training = observed_in_training(saved)
    if training is None or episode.steps == 0:
        return
    lines = differences(training, episode.observations, saved.family.get("observation_names"))
    if lines:
        more = f", and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        warnings.warn(
            f"observations are not those of training: {'; '.join(lines[:SHOWN])}{more}: degrees "
            "instead of radians, another order, a sensor that stands still, or a wrapper that "
            "training did not have (NormalizeObservation, FlattenObservation)?",
            stacklevel=3,
        )


def differences(
    training: Observed, observations: NDArray[np.float64], names: Sequence[str] | None = None
) -> list[str]:
    """Entries of one episode, (T, O), far from training's, in words, the farthest first."""
    labels = [f"observation[{i}]" for i in range(len(training.mean))]
    if names is not None and len(names) == len(labels):
        labels = [a if a == b else f"{a} ({b})" for a, b in zip(labels, names, strict=True)]
    mean, std = observations.mean(0), observations.std(0)
    shift, spread = distances(training, observations)
    like = alike(training, observations) >= ALIKE
    most = (SHIFT, SPREAD) if like else (UNLIKE_SHIFT, UNLIKE_SPREAD)
    far = np.maximum(shift / most[0], spread / most[1])
    lines = [
        f"{labels[i]} has mean {mean[i]:.3g} +- {std[i]:.3g} here, {training.mean[i]:.3g} "
        f"+- {training.std[i]:.3g} in training"
        for i in np.argsort(-far, kind="stable").tolist()
        if far[i] > 1
    ]
    if training.std_within is not None and len(observations) > STILL:
        moved = training.std_within > FLOOR * (1 + np.abs(training.mean))
        lines += [
            f"{labels[i]} stands still at {mean[i]:.3g} here, and moved in training"
            for i in np.flatnonzero(moved & (np.ptp(observations, axis=0) == 0)).tolist()
        ]
    return lines


def distances(
    training: Observed, observations: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shift of each entry's mean and its spread, in standard deviations of training: each (O,)."""
    usual = np.maximum(training.std, FLOOR * (1 + np.abs(training.mean)))
    shift = np.abs(observations.mean(0) - training.mean) / usual
    return shift, observations.std(0) / usual


def alike(training: Observed, observations: NDArray[np.float64]) -> float:
    """Correlation of log standard deviations here and in training; 1 where all are the same."""
    mean, std = observations.mean(0), observations.std(0)
    within = training.std if training.std_within is None else training.std_within
    here = np.log(np.maximum(std, FLOOR * (1 + np.abs(mean))))
    there = np.log(np.maximum(within, FLOOR * (1 + np.abs(training.mean))))
    if np.ptp(here) == 0 or np.ptp(there) == 0:
        return 1.0
    return float(np.corrcoef(here, there)[0, 1])
