"""Share of the gap from robust policy to oracle that adaptation closes, on two families.

    python -m experiments.evidence            # about an hour on two cores
    python -m experiments.evidence boat       # one of them: a quarter of an hour

Three seeds each of Meta-SGD; of PPO that observes the task (oracle), that is not (robust), and that
is fine-tuned on the same episodes (finetuned); and noise. All of them then meet the same 100 tasks
per split, with 1, 2, 5 and 20 episodes to adapt by, and are measured by their mean action; noise by
its noise. What was finished before is not run again.
`metarl report` makes a page of the same runs.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from experiments.studies import (
    PPO,
    TITLES,
    Study,
    StudyOptions,
    compare,
    known,
    share,
    train,
)
from metarl.evaluation.budgets import steps_text

FEW = 5
"""Episodes of which the table says what they close of the gap."""
LEARNED = ("meta-sgd", "finetuned", "robust", "oracle")


@dataclass(frozen=True)
class Evidence:
    """A family and what is trained on it."""

    family: str
    meta_sgd: str
    """Arguments of `metarl train --method meta-sgd`."""
    baseline: str
    """Arguments of `metarl baseline`, robust and oracle."""


EVIDENCE = {
    "payload-velocity": Evidence(
        "half-cheetah-payload-velocity",
        meta_sgd="--iterations 200 --outer.final-rate 1",
        baseline=f"--env-steps 4000000 {PPO}",
    ),
    "boat": Evidence(
        "experiments/own_robot/boat.py:family",
        meta_sgd="--iterations 200",
        baseline=f"--env-steps 2000000 {PPO}",
    ),
}


@dataclass(frozen=True)
class Options(StudyOptions):
    """Families, seeds and folders."""

    names: Positional[tuple[str, ...]] = tuple(EVIDENCE)
    """Families."""
    runs: Path = field(default=Path("runs/evidence"), kw_only=True)


def commands(options: Options, name: str) -> list[dict[Path, list[str]]]:
    """Training command of each run, by its folder: independent runs first, then the others."""
    wanted, folder = EVIDENCE[name], run_folder(options, name)
    first: dict[Path, list[str]] = {}
    second: dict[Path, list[str]] = {}
    for seed in options.seeds:
        same = ["--seed", str(seed), "--quiet"]
        learner = ["train", wanted.family, "--method", "meta-sgd", *shlex.split(wanted.meta_sgd)]
        first[folder("meta-sgd", seed)] = [*learner, *same]
        for baseline in ("robust", "oracle"):
            command = ["baseline", baseline, wanted.family, *shlex.split(wanted.baseline)]
            first[folder(baseline, seed)] = [*command, *same]
        start = ["--start", str(folder("robust", seed))]
        second[folder("finetuned", seed)] = ["baseline", "finetuned", wanted.family, *start, *same]
    first[folder("random", 0)] = ["baseline", "random", wanted.family, "--quiet"]
    return [first, second]


def run_folder(options: Options, name: str) -> Callable[[str, int], Path]:
    """Folder of a method's run with a seed."""
    return lambda method, seed: options.runs / f"{name}-{method}-{seed}"


def compared(options: Options, name: str) -> list[Path]:
    """Runs that the comparison holds, method by method."""
    folder = run_folder(options, name)
    runs = [folder(method, seed) for method in LEARNED for seed in options.seeds]
    return [*runs, folder("random", 0)]


def table(folder: Path) -> str:
    """Results of the comparisons, as Markdown."""
    lines = [
        "# Adaptation between a robust policy and an oracle",
        "",
        "Mean returns of the final policies by the mean action, on the same tasks. The robust "
        "policy never adapts; the oracle observes the task; both are Stable-Baselines3's PPO on "
        "the same batched worlds. The gap is the oracle's return minus the robust policy's, and a "
        "share of it is what Meta-SGD adds to the robust policy's return. The last column is the "
        "control: the share with parameters that adapted to another task. Brackets are 95 % t "
        "intervals over seeds and tasks, for the mean over seeds; a dash stands where the gap's "
        "own interval holds zero. `python -m experiments.evidence` trains and measures all of it.",
        "",
        "| family, tasks | environment steps: Meta-SGD, robust, oracle | robust | oracle "
        "| Meta-SGD: before, after 1, 5, 20 episodes | fine-tuned on 20 "
        "| share of the gap closed after 5 episodes | each seed | by another task's adaptation |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in EVIDENCE:
        path = folder / f"evidence-{name}.json"
        if path.exists():
            found = json.loads(path.read_text())
            lines += [row(found, split) for split in ("test", "extrapolation")]
    return "\n".join(lines) + "\n"


def row(found: dict[str, Any], split: str) -> str:
    """One line of the table: a comparison on one split."""
    curves = found["splits"][split]["curves"]
    mean = {
        (method, point["adaptation_episodes"]): point["mean"]["crossed"][0]
        for method, points in curves.items()
        for point in points
    }
    adapted = ", ".join(f"{mean['meta-sgd', n]:.0f}" for n in (0, 1, 5, 20))
    (point,) = (
        point
        for point in found["gap"][split]["closed"]["meta-sgd"]
        if point["adaptation_episodes"] == FEW
    )
    seeds = ", ".join(f"{own:.0%}" for own in point["share_by_run"] or [])
    other = share(point["share_of_another_task"])
    steps = ", ".join(
        steps_text(found["env_steps"][method]) for method in ("meta-sgd", "robust", "oracle")
    )
    return (
        f"| `{found['family']}`, {TITLES[split]} | {steps} | {mean['robust', 0]:.0f} "
        f"| {mean['oracle', 0]:.0f} | {adapted} | {mean['finetuned', 20]:.0f} "
        f"| **{share(point['share'])}** | {seeds or '-'} | {other} |"
    )


def main(options: Options) -> None:
    """Train what is missing, `jobs` at a time, then compare."""
    for name in known(options.names, EVIDENCE):
        for stage in commands(options, name):
            train(stage, options.jobs)
        study = Study(EVIDENCE[name].family, {})
        compare(options, name, study, compared(options, name), "evidence")
    (options.out / "evidence.md").write_text(table(options.out))
    print(table(options.out))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
