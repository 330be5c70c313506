"""Studies: methods and baselines trained on a family with several seeds, then compared.

Each run is a `metarl` command with one simulator thread and one torch thread; all final policies
then meet the same tasks. What was finished before is not run again.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.summarise import summarise, write_summary
from experiments.training_runs import is_trained, metarl_once
from metarl.evaluation.budgets import steps_text

PPO = "--worlds 128 --outer.minibatches 32 --outer.epochs 5 --outer.learning-rate 1e-3"
"""Of robust and oracle: larger batches than the defaults, so that their runs take minutes."""
TITLES = {"test": "held out", "extrapolation": "extrapolation"}
BASELINES = ("frame-stack", "robust", "oracle", "random")
ONCE = ("random",)
"""Baselines that nothing is learned by: one run, whatever the seeds."""


@dataclass(frozen=True)
class Study:
    """A family, and the arguments of each method's training."""

    family: str
    methods: Mapping[str, str]
    """By name of the method or baseline; `metarl train` or `metarl baseline`."""
    splits: Sequence[str] = ("test", "extrapolation")
    """Tasks to measure on."""
    evaluation: str = ""
    """Further arguments of `metarl evaluate`."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Seeds, sizes and folders."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of each method per seed."""
    tasks: int = 100
    """Per split."""
    episodes: int = 20
    """That each point is measured on, and the most to adapt by."""
    jobs: int = 2
    """Runs at a time, each with one simulator thread and one torch thread."""
    runs: Path
    """Folder for the runs."""
    out: Path = Path("experiments/results")
    """Folder for PREFIX-NAME.json (the comparison), PREFIX-NAME-runs.json and the page."""


def commands(options: StudyOptions, name: str, study: Study) -> dict[Path, list[str]]:
    """Training command of each run, by its folder."""
    found = {}
    for method, arguments in study.methods.items():
        kind = ["baseline", method, study.family]
        if method not in BASELINES:
            kind = ["train", study.family, "--method", method]
        for seed in options.seeds[:1] if method in ONCE else options.seeds:
            folder = options.runs / f"{name}-{method}-{seed}"
            found[folder] = [*kind, *shlex.split(arguments), "--seed", str(seed), "--quiet"]
    return found


def run(options: StudyOptions, name: str, study: Study, prefix: str) -> None:
    """Train what is missing, compare, and write the results.

    Raises:
        SystemExit: if a command failed; its complaints are beside its run.
    """
    wanted = commands(options, name, study)
    train(wanted, options.jobs)
    compare(options, name, study, list(wanted), prefix)


def train(wanted: Mapping[Path, list[str]], jobs: int) -> None:
    """Run the training commands whose folders hold no finished run, `jobs` at a time.

    Raises:
        SystemExit: if one failed.
    """
    with ThreadPoolExecutor(jobs) as pool:
        trained = pool.map(
            lambda run, command: metarl_once(
                [*command, "--run", str(run)], done=is_trained(run), log=run.with_suffix(".log")
            ),
            wanted.keys(),
            wanted.values(),
        )
        if not all(trained):
            raise SystemExit(1)


def compare(
    options: StudyOptions,
    name: str,
    study: Study,
    runs: Sequence[Path],
    prefix: str,
) -> None:
    """Evaluate runs on the same tasks, and write PREFIX-NAME.json and PREFIX-NAME-runs.json.

    Args:
        options: sizes and folders.
        name: of the study.
        study: its family and splits.
        runs: of all methods and seeds.
        prefix: of the files.

    Raises:
        SystemExit: if the evaluation failed.
    """
    comparison = options.runs / f"{name}-comparison"
    command = ["evaluate", *map(str, runs), "--tasks", str(options.tasks)]
    command += ["--episodes", str(options.episodes), "--out", str(comparison)]
    command += ["--splits", *study.splits, *shlex.split(study.evaluation)]
    if ".py:" in study.family:
        command += ["--family", study.family]
    written = comparison / "comparison.json"
    if not metarl_once(command, done=written.exists(), log=comparison.with_suffix(".log")):
        raise SystemExit(1)
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(written, options.out / f"{prefix}-{name}.json")
    learned = [folder for folder in runs if (folder / "metrics.jsonl").exists()]
    write_summary(
        [summarise(folder) for folder in learned], options.out / f"{prefix}-{name}-runs.json"
    )


def known(names: Sequence[str], studies: Mapping[str, Any]) -> Sequence[str]:
    """The names, each one of the studies.

    Raises:
        SystemExit: for another name.
    """
    for name in names:
        if name not in studies:
            raise SystemExit(f"{name}: not one of {', '.join(studies)}")
    return names


def returns(found: dict[str, Any], split: str, method: str) -> dict[int, list[float]]:
    """Mean return over seeds, with its interval, by the number of episodes before."""
    curve = found["splits"][split]["curves"][method]
    return {point["adaptation_episodes"]: point["mean"]["crossed"] for point in curve}


def shares(found: dict[str, Any], split: str, method: str, key: str = "share") -> dict[int, Any]:
    """Share of the gap that a method closes, by the number of episodes before."""
    closed = (found["gap"] or {}).get(split, {}).get("closed", {}).get(method, [])
    return {point["adaptation_episodes"]: point[key] for point in closed}


def method_row(
    found: dict[str, Any],
    split: str,
    method: str,
    title: str,
    episodes: Sequence[int],
    digits: str = ".0f",
) -> str:
    """One line of a table: a method on one split.

    Family and tasks, method, environment steps, returns and shares by number of episodes before,
    and the share that is closed after five episodes with another task's adaptation.
    """
    mean, closed = returns(found, split, method), shares(found, split, method)
    cells = [share(closed[n]) if n in closed else "-" for n in episodes]
    others = shares(found, split, method, "share_of_another_task")
    control = share(others[5]) if 5 in others else "-"
    shown = ", ".join(f"{mean[n][0]:{digits}}" for n in episodes if n in mean)
    return (
        f"| `{found['family']}`, {title} | {method} | {steps_text(found['env_steps'][method])} "
        f"| {shown} | {' | '.join(cells)} | {control} |"
    )


def share(interval: Sequence[float] | None) -> str:
    """Of the gap, with its interval; a dash where the gap itself may be nothing but chance."""
    if interval is None:
        return "-"
    return "{:.0%} [{:.0%}, {:.0%}]".format(*interval)
