"""Environment steps per second of Meta-World on our engines, as a ratio to the package's own.

    python -m experiments.batched_metaworld

The package: as many processes as we have threads, each of which steps one environment of its own
through whole episodes and reports nothing until it is done. Ours: all training tasks twice, the
same episodes. Both take random actions and reset. Per second of the clock (which needs free
cores), and per second of a core, which others on the machine hardly change.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from torch import Generator
from tyro.conf import Positional

from experiments.bare_worlds import package_environment, side_by_side, wait_for_all
from metarl.process import prepare_process
from metarl.rollouts.threads import torch_threads
from metarl_envs import BatchEnv
from metarl_envs.families.sawyer import ENVIRONMENTS, batched_ml1
from metarl_envs.gym_worlds.metaworld import GOALS, STEPS


@dataclass(frozen=True)
class Options:
    """Environments, sizes and file."""

    names: Positional[tuple[str, ...]] = tuple(ENVIRONMENTS)
    """Environments."""
    processes: int = 2
    """Of the package, and simulator threads of ours."""
    episodes: int = 3
    """Of each of the package's processes in a measurement."""
    rounds: int = 3
    """Median ratios are reported."""
    out: Path = Path("experiments/results/batched_metaworld.json")
    """JSON file to write."""


class Speed(NamedTuple):
    """Steps of all worlds per second."""

    of_clock: float
    of_core: float


def ours(name: str, options: Options) -> Speed:
    """On our engine cpu."""
    family, generator = batched_ml1(name), Generator().manual_seed(0)
    env = BatchEnv(family, GOALS, 2, sim_threads=options.processes)
    env.set_tasks(family.sample_tasks(GOALS, generator, "train"))
    clock, core = time.perf_counter(), time.process_time()
    env.reset(generator)
    for _ in range(STEPS):
        env.step(2 * torch.rand(env.num_worlds, 4, generator=generator) - 1)
    steps = env.num_worlds * STEPS
    return Speed(steps / (time.perf_counter() - clock), steps / (time.process_time() - core))


def theirs(name: str, options: Options) -> Speed:
    """In processes that only step."""
    given = [(name, options.episodes, seed) for seed in range(options.processes)]
    clock, cores = side_by_side(stepping, given)
    steps = options.processes * options.episodes * STEPS
    return Speed(steps / clock, steps / sum(cores))


def stepping(pipe: Connection, name: str, episodes: int, seed: int) -> None:
    """Work of a process: wait for the others, step, send the seconds of a core that it took."""
    (goal,) = batched_ml1(name).parameters
    assert isinstance(goal.nominal, tuple)
    env = package_environment(name, goal.nominal)
    actions = np.random.default_rng(seed).uniform(-1, 1, (STEPS, 4))
    wait_for_all(pipe)
    core = time.process_time()
    for _ in range(episodes):
        env.reset()
        for action in actions:
            env.step(action)
    pipe.send(time.process_time() - core)


def main(options: Options) -> None:
    """Measure, print and write."""
    prepare_process()
    found: dict[str, Any] = {"processes": options.processes, "environments": {}}
    with torch_threads(1):
        for name in options.names:
            rounds = [(ours(name, options), theirs(name, options)) for _ in range(options.rounds)]
            row = found["environments"][name] = {}
            for i, unit in enumerate(Speed._fields):
                mine, plain = ([speeds[i] for speeds in side] for side in zip(*rounds, strict=True))
                ratios = [a / b for a, b in zip(mine, plain, strict=True)]
                row[unit] = {
                    "ratio": statistics.median(ratios),
                    "ours": statistics.median(mine),
                    "package": statistics.median(plain),
                }
            for unit, r in row.items():
                speeds = f"{r['ours']:.0f} and {r['package']:.0f}"
                said = f"{r['ratio']:.1f} x, {speeds} steps per second {unit.replace('_', ' ')}"
                print(f"{name}: {said}", flush=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
