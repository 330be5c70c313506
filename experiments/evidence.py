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
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from experiments.summarise import summarise, write_summary
from experiments.training_runs import is_trained, metarl_once
from metarl.evaluation.budgets import steps_text

PPO = "--worlds 128 --outer.minibatches 32 --outer.epochs 5 --outer.learning-rate 1e-3"
"""Of robust and oracle: larger batches than the defaults, so that their runs take minutes."""
TITLES = {"test": "held out", "extrapolation": "extrapolation"}
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
    own: bool = False
    """It is in a file of its own."""


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
        own=True,
    ),
}


@dataclass(frozen=True)
class Options:
    """Families, seeds and folders."""

    names: Positional[tuple[str, ...]] = tuple(EVIDENCE)
    """Families."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each of whatever learns."""
    tasks: int = 100
    """Per split."""
    episodes: int = 20
    """That each point is measured on, and the most to adapt by."""
    jobs: int = 2
    """Runs at a time, each with one simulator thread and one torch thread."""
    runs: Path = Path("runs/evidence")
    """Folder for the runs."""
    out: Path = Path("experiments/results")
    """Folder for evidence-NAME.json (the comparison), evidence-NAME-runs.json and evidence.md."""


def commands(options: Options, name: str) -> list[dict[Path, list[str]]]:
    """Training command of each run, by its folder: independent runs first, then the others."""
    wanted, folder = EVIDENCE[name], run_folder(options, name)
    first: dict[Path, list[str]] = {}
    second: dict[Path, list[str]] = {}
    for seed in options.seeds:
        same = ["--seed", str(seed), "--quiet"]
        train = ["train", wanted.family, "--method", "meta-sgd", *shlex.split(wanted.meta_sgd)]
        first[folder("meta-sgd", seed)] = [*train, *same]
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


def compare(options: Options, name: str) -> None:
    """Evaluate all runs on the same tasks, and write the results."""
    folder = run_folder(options, name)
    runs = [folder(method, seed) for method in LEARNED for seed in options.seeds]
    runs.append(folder("random", 0))
    comparison = options.runs / f"{name}-comparison"
    budgets = [str(n) for n in (1, 2, 5) if n < options.episodes]
    sizes = ["--tasks", str(options.tasks), "--episodes", str(options.episodes)]
    command = ["evaluate", *map(str, runs), *sizes, "--budgets", *budgets]
    command += ["--out", str(comparison)]
    if EVIDENCE[name].own:
        command += ["--family", EVIDENCE[name].family]
    written = comparison / "comparison.json"
    if not metarl_once(command, done=written.exists(), log=comparison.with_suffix(".log")):
        raise SystemExit(1)
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(written, options.out / f"evidence-{name}.json")
    trained = [run for run in runs if (run / "metrics.jsonl").exists()]  # noise and finetuned: none
    write_summary([summarise(run) for run in trained], options.out / f"evidence-{name}-runs.json")


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


def share(interval: Sequence[float] | None) -> str:
    """Of the gap, with its interval; a dash where the gap itself may be nothing but chance."""
    if interval is None:
        return "-"
    return "{:.0%} [{:.0%}, {:.0%}]".format(*interval)


def main(options: Options) -> None:
    """Train what is missing, `jobs` at a time, then compare."""
    for name in options.names:
        if name not in EVIDENCE:
            raise SystemExit(f"{name}: not one of {', '.join(EVIDENCE)}")
    for name in options.names:
        with ThreadPoolExecutor(options.jobs) as pool:
            for stage in commands(options, name):
                trained = pool.map(
                    lambda run, command: metarl_once(
                        [*command, "--run", str(run)],
                        done=is_trained(run),
                        log=run.with_suffix(".log"),
                    ),
                    *zip(*stage.items(), strict=True),
                )
                if not all(trained):
                    raise SystemExit(1)
        compare(options, name)
    (options.out / "evidence.md").write_text(table(options.out))
    print(table(options.out))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
