"""Environment steps per second of SB3's PPO: batched worlds against one environment per worker.

    python -m experiments.benchmark_sb3                  # about four minutes; nothing else running
    python -m experiments.benchmark_sb3 --worlds 16 64 --json experiments/results/benchmark_sb3.json

The same algorithm with the same settings and the same number of worlds collects and learns on

- `batched`: `metarl.sb3.vec_env.TaskVecEnv`, all worlds in one simulator call;
- `workers`: SB3's `SubprocVecEnv` over `gymnasium.make(...)`, one process per environment;
- `loop`: SB3's `DummyVecEnv` over the same, one after another in this process.

The environments are Gymnasium's own HalfCheetah-v5, whose physics and observations are those of our
family bit for bit, so that nothing of ours slows the other side down. The three take turns, round
by round, so that a machine that slows down slows all of them. Ratios are of medians.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from metarl.process import available_cores
from metarl.sb3.vec_env import TaskVecEnv
from metarl.versions import git_commit, version_of, versions
from metarl_envs import get_family

FAMILY, GYMNASIUM_ID = "half-cheetah-velocity", "HalfCheetah-v5"


@dataclass(frozen=True)
class Options:
    """Sizes of the measured batches."""

    worlds: tuple[int, ...] = (16, 64)
    """Numbers of worlds."""
    horizon: int = 100
    """Steps per episode, and per world and iteration."""
    epochs: int = 10
    """Passes of PPO's update; SB3's own number."""
    batch_size: int = 400
    """Of an update's minibatches."""
    rounds: int = 5
    """Iterations that are measured, after one that is not."""
    sim_threads: int = available_cores()
    """Simulator threads of the batched worlds."""
    torch_threads: int = 1
    """Of all three; one is fastest for networks of this size."""
    json: Path | None = None
    """Write the figures here too."""


class Stopwatch(BaseCallback):
    """Duration of the latest collection."""

    def __init__(self) -> None:
        super().__init__()
        self.collect_s, self._began_s = 0.0, 0.0

    def _on_rollout_start(self) -> None:
        self._began_s = time.perf_counter()

    def _on_rollout_end(self) -> None:
        self.collect_s = time.perf_counter() - self._began_s

    def _on_step(self) -> bool:
        return True


def make_single(horizon: int) -> Callable[[], gymnasium.Env[Any, Any]]:
    """Factory of one worker's environment."""
    return lambda: gymnasium.make(GYMNASIUM_ID, max_episode_steps=horizon)


def make_envs(options: Options, worlds: int) -> dict[str, VecEnv]:
    """The three vector environments."""
    singles = [make_single(options.horizon)] * worlds
    family = get_family(FAMILY)
    return {
        "batched": TaskVecEnv(
            family, worlds, horizon=options.horizon, sim_threads=options.sim_threads
        ),
        "workers": SubprocVecEnv(singles),
        "loop": DummyVecEnv(singles),
    }


def measure(options: Options, worlds: int) -> dict[str, dict[str, float]]:
    """Median environment steps per second of whole iterations and of collections alone."""
    envs = make_envs(options, worlds)
    samples = worlds * options.horizon
    models = {
        name: PPO(
            "MlpPolicy",
            env,
            n_steps=options.horizon,
            batch_size=min(options.batch_size, samples),
            n_epochs=options.epochs,
            seed=0,
            device="cpu",
        )
        for name, env in envs.items()
    }
    total: dict[str, list[float]] = {name: [] for name in models}
    collect: dict[str, list[float]] = {name: [] for name in models}
    for measured in [False] + [True] * options.rounds:
        for name, model in models.items():
            watch = Stopwatch()
            began_s = time.perf_counter()
            model.learn(samples, callback=watch, reset_num_timesteps=False)
            elapsed_s = time.perf_counter() - began_s
            if measured:
                total[name].append(samples / elapsed_s)
                collect[name].append(samples / watch.collect_s)
    for env in envs.values():
        env.close()
    return {
        name: {
            "steps_per_s": statistics.median(total[name]),
            "collection_steps_per_s": statistics.median(collect[name]),
        }
        for name in models
    }


def with_ratios(worlds: int, figures: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The figures of one number of worlds, with how much faster the batched worlds are."""
    ratios = {
        name: {key: figures["batched"][key] / figures[name][key] for key in figures[name]}
        for name in figures
        if name != "batched"
    }
    return {"worlds": worlds, "figures": figures, "batched_over": ratios}


def main(options: Options) -> None:
    """Measure every number of worlds and print a line for each environment."""
    torch.set_num_threads(options.torch_threads)
    rows = []
    print("worlds  environments   steps/s  ratio  collection  ratio")
    for worlds in options.worlds:
        row = with_ratios(worlds, measure(options, worlds))
        rows.append(row)
        for name, found in row["figures"].items():
            ratio = row["batched_over"].get(name, dict.fromkeys(found, 1.0))
            print(
                f"{worlds:>6}  {name:<12}  {found['steps_per_s']:>8,.0f}  "
                f"{ratio['steps_per_s']:>5.2f}  {found['collection_steps_per_s']:>10,.0f}  "
                f"{ratio['collection_steps_per_s']:>5.2f}",
                flush=True,
            )
    if options.json is not None:
        content = {
            "command": " ".join(["python -m experiments.benchmark_sb3", *sys.argv[1:]]),
            "commit": git_commit(),
            "versions": versions() | {"stable_baselines3": version_of("stable_baselines3")},
            "machine": {"cores": available_cores(), "machine": platform.machine()},
            "settings": {
                "family": FAMILY,
                "gymnasium": GYMNASIUM_ID,
                "horizon": options.horizon,
                "epochs": options.epochs,
                "batch_size": options.batch_size,
                "rounds": options.rounds,
                "sim_threads": options.sim_threads,
                "torch_threads": options.torch_threads,
            },
            "rows": rows,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
