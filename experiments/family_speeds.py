"""Environment steps per second of each robot family, as a ratio to the half-cheetah's.

    python -m experiments.family_speeds

One simulator thread, 128 worlds, random actions, resets included. Before and after each family the
half-cheetah is timed, so that a machine whose speed drifts still gives a fair ratio.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Generator
from tyro.conf import Positional

from metarl.process import prepare_process
from metarl.rollouts.threads import torch_threads
from metarl_envs import BatchEnv, get_family

REFERENCE = "half-cheetah-direction"
ROBOTS = (
    *("puck-slide", "arm-reach", "arm-encoder", "base-reversed", "navigate-hidden"),
    *("quadrotor-wind", "quadruped-load"),
)


@dataclass(frozen=True)
class Options:
    """Families, sizes and file."""

    names: Positional[tuple[str, ...]] = ROBOTS
    """Families."""
    worlds: int = 128
    """Robots at a time."""
    seconds: float = 2.0
    """Of each measurement, at least."""
    rounds: int = 3
    """The median ratio is reported."""
    out: Path = Path("experiments/results/family_speeds.json")
    """JSON file to write."""


def steps_per_second(name: str, worlds: int, seconds: float) -> float:
    """Environment steps of all worlds per second, under random actions."""
    family, generator = get_family(name), Generator().manual_seed(0)
    env = BatchEnv(family, worlds, 1, sim_threads=1)
    env.set_tasks(family.sample_tasks(worlds, generator, "train"))
    env.reset(generator)
    span = env.action_high - env.action_low
    began, steps = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        env.step(env.action_low + span * torch.rand(worlds, len(span), generator=generator))
        steps += 1
        if steps % family.horizon == 0:
            env.reset(generator)
    return worlds * steps / elapsed


def ratio(name: str, options: Options) -> float:
    """Speed of a family over the half-cheetah's, timed before and after it."""

    def speed(family: str) -> float:
        return steps_per_second(family, options.worlds, options.seconds)

    before, found, after = speed(REFERENCE), speed(name), speed(REFERENCE)
    return 2 * found / (before + after)


def main(options: Options) -> None:
    """Measure, print and write."""
    prepare_process()
    with torch_threads(1):
        found = {}
        for name in options.names:
            found[name] = statistics.median(ratio(name, options) for _ in range(options.rounds))
            print(f"{name}: {found[name]:.2f} of {REFERENCE}", flush=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
