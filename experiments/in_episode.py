"""Adaptation within the episode beside adaptation by gradient steps, on the same tasks.

    python -m experiments.in_episode            # all families: several hours on two cores
    python -m experiments.in_episode race-boat  # one of them

Three seeds each of teacher-student, Meta-SGD, and the baselines frame-stack, robust and oracle. All
final policies then meet the same 100 tasks per split and are measured by their mean action: return
of the n-th episode of a trial, n = 0 being the first. What was finished before is not run again.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from experiments.evidence import PPO, share
from experiments.summarise import summarise, write_summary
from experiments.training_runs import is_trained, metarl_once
from metarl.evaluation.budgets import steps_text

BOAT = "experiments/own_robot/race_boat.py:family"
CHEETAH = "half-cheetah-payload-velocity"


@dataclass(frozen=True)
class Study:
    """A family, and the arguments of each method's training."""

    family: str
    methods: Mapping[str, str]
    """By name of the method or baseline; `metarl train` or `metarl baseline`."""


def baselines(env_steps: int, *names: str) -> dict[str, str]:
    """Arguments of baselines with the same settings."""
    return dict.fromkeys(names, f"--env-steps {env_steps} {PPO}")


STUDIES = {
    "payload-velocity": Study(
        CHEETAH,
        {
            "teacher-student": "--iterations 250 --outer.teacher-share 0.78",
            "meta-sgd": "--iterations 200 --outer.final-rate 1",
            **baselines(2_500_000, "frame-stack", "robust", "oracle"),
        },
    ),
    "race-boat": Study(
        BOAT,
        {
            "teacher-student": "--iterations 194 --outer.teacher-share 0.412 "
            "--outer.reinforcement-share 0.464",
            "meta-sgd": "--iterations 200",
            **baselines(2_000_000, "frame-stack", "robust", "oracle"),
        },
    ),
    "direction": Study(
        "half-cheetah-direction",
        {
            "teacher-student": "--iterations 384 --outer.teacher-share 0.896",
            **baselines(4_000_000, "robust", "oracle"),
        },
    ),
}
BASELINES = ("frame-stack", "robust", "oracle")
EPISODES = (0, 1, 2, 5, 20)


@dataclass(frozen=True)
class Options:
    """Families, seeds and folders."""

    names: Positional[tuple[str, ...]] = tuple(STUDIES)
    """Families."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of each method per seed."""
    tasks: int = 100
    """Per split."""
    jobs: int = 2
    """Runs at a time, each with one simulator thread and one torch thread."""
    runs: Path = Path("runs/in-episode")
    """Folder for the runs."""
    out: Path = Path("experiments/results")
    """Folder for in-episode-NAME.json (the comparison), in-episode-NAME-runs.json and the page."""


def folders(options: Options, name: str) -> dict[Path, list[str]]:
    """Training command of each run, by its folder."""
    study, commands = STUDIES[name], {}
    for method, arguments in study.methods.items():
        kind = ["baseline", method, study.family]
        if method not in BASELINES:
            kind = ["train", study.family, "--method", method]
        for seed in options.seeds:
            folder = options.runs / f"{name}-{method}-{seed}"
            commands[folder] = [*kind, *shlex.split(arguments), "--seed", str(seed), "--quiet"]
    return commands


def compare(options: Options, name: str) -> None:
    """Evaluate all runs on the same tasks, and write the results."""
    runs = list(folders(options, name))
    comparison = options.runs / f"{name}-comparison"
    command = ["evaluate", *map(str, runs), "--tasks", str(options.tasks)]
    command += ["--out", str(comparison)]
    if ".py:" in STUDIES[name].family:
        command += ["--family", STUDIES[name].family]
    written = comparison / "comparison.json"
    if not metarl_once(command, done=written.exists(), log=comparison.with_suffix(".log")):
        raise SystemExit(1)
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(written, options.out / f"in-episode-{name}.json")
    write_summary([summarise(run) for run in runs], options.out / f"in-episode-{name}-runs.json")
