"""Environment steps per second of Meta-World through our worker processes, as a share of bare ones.

    python -m experiments.metaworld_speeds

Bare: as many processes, each of which steps its share of the same environments of the package by
itself, one after the other, and reports nothing until it is done. Ours: the family of the package's
environments, whose workers send observations, rewards and successes after every step. Both run
random actions from a reset on; the reset is outside of the time, and of each pair of measurements
the first is ours and bare in turn, so that a machine whose speed drifts gives a fair share. With
more processes than free cores the share says little. For our own engines see
`experiments.batched_metaworld`.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Generator
from tyro.conf import Positional

from experiments.bare_worlds import package_environment, side_by_side, wait_for_all
from metarl.process import prepare_process
from metarl.rollouts.threads import torch_threads
from metarl_envs import BatchEnv
from metarl_envs.builders.metaworld import packaged_ml1
from metarl_envs.gym_worlds.metaworld import drawn_goals

WORLDS = 100
"""Environments in a process, as in training by the recipe in two processes, 20 tasks x 10 episodes:
what a step costs besides is for all of them."""


@dataclass(frozen=True)
class Options:
    """Classes, sizes and file."""

    names: Positional[tuple[str, ...]] = ("reach-v3", "push-v3", "pick-place-v3")
    """Classes."""
    processes: int = 2
    """Of each kind."""
    worlds: int = WORLDS
    """Environments in each process."""
    steps: int = 100
    """Of each environment in a measurement, at most 500."""
    rounds: int = 3
    """The median share is reported."""
    out: Path = Path("experiments/results/metaworld_speeds.json")
    """JSON file to write."""


def ours(name: str, options: Options) -> float:
    """Steps of all worlds per second through the family."""
    family, generator = packaged_ml1(name), Generator().manual_seed(0)
    worlds = options.processes * options.worlds
    env = BatchEnv(family, worlds, 1, sim_threads=options.processes)
    env.set_tasks(family.sample_tasks(worlds, generator, "train"))
    env.reset(generator)
    actions = 2 * torch.rand(options.steps, worlds, 4, generator=generator) - 1
    began = time.perf_counter()
    for action in actions:
        env.step(action)
    return worlds * options.steps / (time.perf_counter() - began)


def bare(name: str, options: Options) -> float:
    """Steps of all worlds per second in processes that only step."""
    given = [(name, options.worlds, options.steps, seed) for seed in range(options.processes)]
    taken, _ = side_by_side(stepping, given)
    return options.processes * options.worlds * options.steps / taken


def stepping(pipe: Connection, name: str, worlds: int, steps: int, seed: int) -> None:
    """Work of a bare process: reset the worlds, wait for the others, step."""
    goals = drawn_goals([name], 0)[name]
    envs = [package_environment(name, goals[number % len(goals)]) for number in range(worlds)]
    for env in envs:
        env.reset()
    random = np.random.default_rng(seed)
    actions = random.uniform(-1, 1, (steps, worlds, 4)).astype(np.float32)
    wait_for_all(pipe)
    for row in actions:
        for env, action in zip(envs, row, strict=True):
            env.step(action)
    pipe.send(None)


def share(name: str, options: Options) -> tuple[float, float, float]:
    """(share, ours, bare): the median share, and median steps per second."""
    pairs = []
    for number in range(options.rounds):
        order = (ours, bare) if number % 2 else (bare, ours)
        found = {measure: measure(name, options) for measure in order}
        pairs.append((found[ours], found[bare]))
    mine, plain = np.array(pairs).T
    return (
        statistics.median((mine / plain).tolist()),
        statistics.median(mine.tolist()),
        statistics.median(plain.tolist()),
    )


def main(options: Options) -> None:
    """Measure, print and write."""
    prepare_process()
    found = {"processes": options.processes, "worlds": options.worlds, "classes": {}}
    with torch_threads(1):
        for name in options.names:
            part, mine, plain = share(name, options)
            found["classes"][name] = {"share": part, "ours": mine, "bare": plain}
            print(f"{name}: {part:.0%} ({mine:.0f} of {plain:.0f} steps/s)", flush=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
