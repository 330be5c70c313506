"""Adaptation within the episode beside adaptation by gradient steps, on the same tasks.

    python -m experiments.in_episode            # all families: several hours on two cores
    python -m experiments.in_episode race-boat  # one of them

Three seeds each of teacher-student and the baselines frame-stack, robust and oracle, and of
Meta-SGD on the first family. All final policies then meet the same 100 tasks per split and are
measured by their mean action: return of the n-th episode of a trial, n = 0 being the first. What
was finished before is not run again.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from experiments.evidence import PPO, share
from experiments.evidence import TITLES as HELD_OUT
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
    splits: Sequence[str] = ("test", "extrapolation")
    """Tasks to measure on."""


def baselines(env_steps: int, *names: str) -> dict[str, str]:
    """Arguments of baselines with the same settings."""
    return dict.fromkeys(names, f"--env-steps {env_steps} {PPO}")


STUDIES = {
    "payload-velocity": Study(
        CHEETAH,
        {
            "teacher-student": "--iterations 250",
            "meta-sgd": "--iterations 200 --outer.final-rate 1",
            **baselines(2_500_000, "frame-stack", "robust", "oracle"),
        },
    ),
    "race-boat": Study(
        BOAT,
        {
            "teacher-student": "--iterations 180 --outer.teacher-share 0.278 "
            "--outer.reinforcement-share 0.444 --policy.init-std 0.15",
            **baselines(2_000_000, "frame-stack", "robust", "oracle"),
        },
    ),
    "direction": Study(
        "half-cheetah-direction",
        {
            "teacher-student": "--iterations 384 --outer.teacher-share 0.896 "
            "--outer.teacher-rate 0.002 --outer.goes-on 0.1",
            **baselines(4_000_000, "oracle"),
        },
        splits=("train",),
    ),
}
BASELINES = ("frame-stack", "robust", "oracle")
EPISODES = (0, 1, 2, 5, 20)
TITLES = {"train": "training tasks, all there are", **HELD_OUT}


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
    command += ["--out", str(comparison), "--splits", *STUDIES[name].splits]
    if ".py:" in STUDIES[name].family:
        command += ["--family", STUDIES[name].family]
    written = comparison / "comparison.json"
    if not metarl_once(command, done=written.exists(), log=comparison.with_suffix(".log")):
        raise SystemExit(1)
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(written, options.out / f"in-episode-{name}.json")
    write_summary([summarise(run) for run in runs], options.out / f"in-episode-{name}-runs.json")


def table(folder: Path) -> str:
    """Results of the comparisons, as Markdown."""
    numbers = ", ".join(str(n + 1) for n in EPISODES)
    lines = [
        "# Adaptation within the episode, and between episodes",
        "",
        f"Return of the final policies by the mean action, in episodes {numbers} of a trial on the "
        "same tasks: mean over seeds. Teacher-student carries its memory from episode to episode, "
        "and tries the beliefs of training tasks where that returns less than they do; "
        "Meta-SGD takes one gradient step on the episodes before; the frame stack sees its last "
        "steps; robust and oracle policies stay as they are. The share is of the gap between "
        "robust policy and oracle, with its 95 % t interval over seeds and tasks; a dash stands "
        "where the gap's own interval holds zero. The control is the share of the sixth episode "
        "with another task's adaptation. `python -m experiments.in_episode` trains and measures "
        "all of it.",
        "",
        f"| family, tasks | method | environment steps | return in episodes {numbers} "
        "| share closed in the 1st episode | 2nd | 6th | 21st | control |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, study in STUDIES.items():
        path = folder / f"in-episode-{name}.json"
        if path.exists():
            found = json.loads(path.read_text())
            lines += [
                row(found, split, method)
                for split in ("train", "test", "extrapolation")
                if split in found["splits"] and (split != "train" or len(found["splits"]) == 1)
                for method in study.methods
            ]
    return "\n".join(lines) + "\n"


def row(found: dict[str, Any], split: str, method: str) -> str:
    """One line of the table: a method on one split."""
    points = {p["adaptation_episodes"]: p for p in found["splits"][split]["curves"][method]}
    returns = [points[n]["mean"]["crossed"][0] for n in EPISODES if n in points]
    closed = (found["gap"] or {}).get(split, {}).get("closed", {}).get(method, [])
    shares = {point["adaptation_episodes"]: point for point in closed}
    cells = [share(shares[n]["share"]) if n in shares else "-" for n in (0, 1, 5, 20)]
    control = share(shares[5]["share_of_another_task"]) if 5 in shares else "-"
    return (
        f"| `{found['family']}`, {TITLES[split]} | {method} "
        f"| {steps_text(found['env_steps'][method])} "
        f"| {', '.join(f'{value:.0f}' for value in returns)} | {' | '.join(cells)} | {control} |"
    )


def main(options: Options) -> None:
    """Train what is missing, `jobs` at a time, then compare."""
    for name in options.names:
        if name not in STUDIES:
            raise SystemExit(f"{name}: not one of {', '.join(STUDIES)}")
    for name in options.names:
        commands = folders(options, name)
        with ThreadPoolExecutor(options.jobs) as pool:
            trained = pool.map(
                lambda run, command: metarl_once(
                    [*command, "--run", str(run)], done=is_trained(run), log=run.with_suffix(".log")
                ),
                commands.keys(),
                commands.values(),
            )
            if not all(trained):
                raise SystemExit(1)
        compare(options, name)
        page = options.out / "in_episode.md"
        page.write_text(table(options.out))
        print(page.read_text())


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
