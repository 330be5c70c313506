"""Adapting under a limit that stops episodes: does the robot learn to be stopped?

    python -m experiments.stopped_episodes

Trains four small policies of hopper-dynamics, and adapts each to held-out hoppers one world at a
time, as on a robot: with the region that a hopper should not leave as `metarl.Limits.unsafe`, and
without limits. Then it counts, by the mean action, the steps that each policy survives in that
region. What was finished before is not trained again. A few minutes on an idle core.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shlex
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

import metarl
from experiments.training_runs import is_trained, metarl_once
from metarl.deploy import MetaPolicy
from metarl.deploy.gradient_step import EPISODES, training_step_kl
from metarl.deploy.gym_rollouts import run_episode
from metarl.deploy.trial import RobotTrial
from metarl.runs.files import plain
from metarl.versions import git_commit, versions
from metarl_envs import MetaEnv, get_family

FAMILY = "hopper-dynamics"
TRAIN = f"train {FAMILY} --method meta-sgd --episodes-per-task 5 --iterations 20"
MIN_HEIGHT_M, MAX_PITCH_RAD = 0.8, 0.15
"""Of the torso. The environment ends an episode at 0.7 m and 0.2 rad: a robot is stopped before."""
POLICIES = ("before", "without_limits", "with_limits")


@dataclass(frozen=True)
class Options:
    """Policies, tasks and output."""

    seeds: tuple[int, ...] = (0, 1, 2, 3)
    """One policy each."""
    tasks: int = 4
    """Held-out hoppers, the same for all policies."""
    episodes: int = 10
    """Per gradient step."""
    steps: int = 5
    """Gradient steps: more than the policies were trained for, so that what is learned shows."""
    measured: int = 5
    """Episodes that each policy is measured on."""
    jobs: int = 2
    """Policies at a time."""
    runs: Path = Path("runs/stopped-episodes")
    """Folder for the trained policies."""
    out: Path = Path("experiments/results/stopped-episodes.json")
    """JSON file to write."""


def leaves_the_region(observation: NDArray[np.float64]) -> bool:
    """Height and pitch are the first two observations."""
    return bool(observation[0] < MIN_HEIGHT_M or abs(observation[1]) > MAX_PITCH_RAD)


LIMITS = metarl.Limits(unsafe=leaves_the_region)


def measure(
    policy: MetaPolicy, env: MetaEnv, task: dict[str, Any], episodes: int
) -> dict[str, float]:
    """Steps survived in the region, share of stops, and raw return, by the mean action."""
    env.reset(seed=1, options={"task": task})
    measured = [
        run_episode(env, RobotTrial(policy), policy.saved.config.horizon, LIMITS)
        for _ in range(episodes)
    ]
    return {
        "steps": float(np.mean([len(episode.rewards) for episode in measured])),
        "stopped": float(np.mean([bool(episode.stopped) for episode in measured])),
        "return": float(np.mean([episode.returned for episode in measured])),
    }


def adapt_and_measure(options: Options, seed: int) -> list[dict[str, Any]]:
    """One policy on all tasks."""
    torch.set_num_threads(1)
    policy = metarl.load(options.runs / f"{FAMILY}-{seed}")
    # The default, measured once instead of before each adaptation.
    cap = training_step_kl(policy.saved, min(options.episodes, EPISODES), options.steps)
    limits = {
        "without_limits": metarl.Limits(max_step_kl=cap),
        "with_limits": dataclasses.replace(LIMITS, max_step_kl=cap),
    }
    family = get_family(FAMILY)
    env, rows = MetaEnv(family), []
    tasks = family.sample_tasks(options.tasks, torch.Generator().manual_seed(0), "test")
    for index in range(options.tasks):
        task, row = tasks.describe(index), {}
        for name in POLICIES:
            env.reset(seed=0, options={"task": task})
            adapted = policy
            if name != "before":
                adapted = policy.adapt(
                    env, options.episodes, options.steps, seed=index, limits=limits[name]
                )
            report = adapted.adapted or {"collections": [], "step_kl": []}
            row[name] = measure(adapted, env, task, options.measured) | {
                "collections": report["collections"],
                "step_kl": report["step_kl"],
            }
        rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over the tasks of one policy."""
    return {
        name: {
            key: float(np.mean([row[name][key] for row in rows]))
            for key in ("steps", "stopped", "return")
        }
        for name in POLICIES
    }


def main(options: Options) -> None:
    """Train what is missing, adapt, print a table, write the figures."""
    for seed in options.seeds:
        run = options.runs / f"{FAMILY}-{seed}"
        command = [*shlex.split(TRAIN), "--seed", str(seed), "--run", str(run), "--quiet"]
        log = options.runs / f"{run.name}.log"
        if not metarl_once(command, done=is_trained(run), log=log):
            raise SystemExit(1)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        found = list(pool.map(adapt_and_measure, [options] * len(options.seeds), options.seeds))
    means = [summary(rows) for rows in found]
    print("steps survived, share of episodes stopped, raw return; by the mean action")
    for seed, mean in zip(options.seeds, means, strict=True):
        shown = "  ".join(
            f"{name.replace('_', ' ')}: {m['steps']:.1f}, {m['stopped']:.2f}, {m['return']:.0f}"
            for name, m in mean.items()
        )
        print(f"seed {seed}  {shown}")
    numbers = {
        "command": "python -m experiments.stopped_episodes",
        "trained_by": f"metarl {TRAIN}",
        "options": {k: v for k, v in vars(options).items() if k not in ("runs", "out", "jobs")},
        "region": {"min_height_m": MIN_HEIGHT_M, "max_pitch_rad": MAX_PITCH_RAD},
        "commit": git_commit(),
        "versions": versions(),
        "seeds": [
            {
                "seed": seed,
                "weights_sha256": metarl.load(options.runs / f"{FAMILY}-{seed}").saved.metadata[
                    "sha256"
                ],
                "mean": mean,
                "tasks": rows,
            }
            for seed, mean, rows in zip(options.seeds, means, found, strict=True)
        ],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(plain(numbers), indent=1) + "\n")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
