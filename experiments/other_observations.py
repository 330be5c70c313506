"""Distance of a first episode's observations from training's, as they are and behind wrappers.

    python -m experiments.other_observations            # all families, untrained policies
    python -m experiments.other_observations RUN ...    # trained ones

Prints, over episodes on tasks of every split: the largest differences that
`metarl.deploy.observation_check` looks at, and the share of episodes that it warns of: as they are
(false alarms), in degrees, standardised by Gymnasium's NormalizeObservation from scratch, and with
their two halves exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from torch import Generator
from tyro.conf import Positional

import metarl
from metarl.deploy.observation_check import Observed, alike, differences, distances
from metarl.methods.families import recipe
from metarl.methods.setup import env_of, family_of
from metarl.outer.state import initial_params
from metarl.policies.base import Policy
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.runs.checkpoint import SavedPolicy
from metarl.training.metrics import observation_statistics
from metarl_envs import FAMILIES
from metarl_envs.family import Split


@dataclass(frozen=True)
class Options:
    """Policies and number of tasks."""

    policies: Positional[tuple[Path, ...]] = ()
    """Run or policy folders; none: an untrained policy of every family."""
    tasks: int = 30
    """Of each split, with two episodes each."""


def standardised(observed: NDArray[np.float64]) -> NDArray[np.float64]:
    """By the mean and variance of the steps until then: (T, O) -> (T, O)."""
    count = np.arange(1, len(observed) + 1)[:, None]
    mean = np.cumsum(observed, 0) / count
    variance = np.cumsum(observed**2, 0) / count - mean**2
    return (observed - mean) / np.sqrt(np.maximum(variance, 0) + 1e-8)


def halves_exchanged(observed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Such as velocities before positions: (T, O) -> (T, O)."""
    return np.roll(observed, observed.shape[1] // 2, axis=1)


VIEWS = {
    "as they are": lambda observed: observed,
    "degrees": np.rad2deg,
    "standardised": standardised,
    "halves exchanged": halves_exchanged,
}


def untrained(family: str) -> SavedPolicy:
    """A policy before its first iteration."""
    config = recipe(family)
    policy = Policy.for_family(FAMILIES[family], config.policy)
    params = initial_params(policy, config.inner, Generator().manual_seed(0))
    return SavedPolicy(policy, params, config, {})


def episodes(saved: SavedPolicy, split: Split, tasks: int, count: int, seed: int) -> Rollouts:
    """By the meta-policy with its noise, on tasks of a split."""
    family = family_of(saved.config)
    env = env_of(saved.config, tasks, count)
    streams = [Generator().manual_seed(seed + i) for i in range(3)]
    env.set_tasks(family.sample_tasks(tasks, streams[0], split))
    return Collector(env, saved.policy).collect(expand(saved.params, tasks), streams[1], streams[2])


def main(options: Options) -> None:
    """Print the distances and the shares of warnings."""
    found = [(str(p), metarl.load(p).saved) for p in options.policies]
    for name, saved in found or [(name, untrained(name)) for name in FAMILIES]:
        statistics = observation_statistics(episodes(saved, "train", 20, 10, seed=0))
        training = Observed(*(np.array(statistics[n]) for n in ("mean", "std", "std_within")))
        for split in family_of(saved.config).splits[1:]:
            rollouts = episodes(saved, split, options.tasks, 2, seed=100)
            observed = [
                rollouts.observations[m, e, rollouts.valid[m, e]].double().numpy()
                for m in range(options.tasks)
                for e in range(2)
                if bool(rollouts.valid[m, e].any())
            ]
            far = np.array([[d.max() for d in distances(training, s)] for s in observed])
            like = [alike(training, s) for s in observed]
            warned = {
                view: np.mean([bool(differences(training, look(s))) for s in observed])
                for view, look in VIEWS.items()
            }
            shares = ", ".join(f"{view} {share:.0%}" for view, share in warned.items())
            print(
                f"{name} {split}: shift {far[:, 0].max():.1f}, spread {far[:, 1].max():.1f}, "
                f"correlation {min(like):.2f}; warned: {shares}",
                flush=True,
            )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
