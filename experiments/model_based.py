"""Models that adapt: what GrBAL and ReBAL gain on a robot that breaks, beside those that do not.

    python -m experiments.model_based                        # hours on two cores
    python -m experiments.model_based half-cheetah-crippled  # one family

Five seeds each of GrBAL, the same model without adaptation ("plain") and robust PPO with as many
environment steps, of teacher-student with the many that a simulator gives, and of ReBAL on the
base. All final policies are measured by the mean action on dead actuators that training never met
(extrapolation) and on those that it met; "unadapted" is GrBAL's own model, which then takes no
step. Beside returns: the error of predictions over 1, 5 and 10 steps before and after adaptation,
steps until an actuator that dies in mid-episode no longer shows, and how often per second one robot
gets an action. What was finished before is not run again.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Generator
from tyro.conf import Positional

from experiments.model_measures import (
    AHEAD,
    Change,
    among_others,
    errors_ahead,
    frequency,
    in_order,
    lived,
    of_another,
    plans,
    recovery,
    unadapted,
)
from experiments.studies import StudyOptions, known, train
from metarl.evaluation.intervals import crossed_interval
from metarl.evaluation.statistics import mean_score, paired_difference
from metarl.methods.setup import family_of
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl.runs.files import plain
from metarl.versions import git_commit, versions
from metarl_envs import Split

ADAPTIVE = ("grbal", "rebal")
STUDENT = "teacher-student"
OTHERS = {f"{method}, another's": method for method in ADAPTIVE}
"""Controls: the same models, adapted to the last steps of another task's robot."""
ROWS = ("grbal", "unadapted", *OTHERS, "plain", "rebal", "robust", STUDENT)

FEW_STEPS = "--outer.epochs 10 --outer.learning-rate 1e-3 --outer.final-rate 0.1"
"""Of robust PPO."""


@dataclass(frozen=True)
class Broken:
    """A family of robots with a dead actuator, and the sizes of its trainings."""

    change: Change | None = None
    """In mid-episode; None: none is measured, as where rewards depend on how far a robot has come.
    """
    planned: str = "--meta-batch-size 8 --iterations 30 --policy.init-std 0.1 --evaluate-every 0"
    """Arguments of the models' trainings: 48,000 environment steps."""
    robust: str = f"--env-steps 48000 --worlds 2 --outer.minibatches 4 {FEW_STEPS}"
    """Arguments of robust PPO's training, with as many steps: small iterations, so that it has
    many."""
    taught: str | None = "--iterations 100 --evaluate-every 0"
    """Arguments of teacher-student's training. None: its figures are on the robots' page."""
    adaptive: tuple[str, ...] = ("grbal",)
    """Methods of `ADAPTIVE` that are trained."""


FAMILIES = {
    "base-reversed": Broken(
        planned="--iterations 12 --policy.init-std 0.3 --policy.plan-color 2 --evaluate-every 0",
        robust="--env-steps 23040 --worlds 24 --outer.epochs 5 --outer.learning-rate 1e-3",
        taught=None,
        adaptive=ADAPTIVE,
    ),
    "half-cheetah-crippled": Broken(
        Change("dead_actuator", 3.0, 100), planned=f"{Broken.planned} --policy.plan-steps 30"
    ),
    "ant-crippled": Broken(Change("dead_leg", 3.0, 100)),
}


@dataclass(frozen=True)
class Options(StudyOptions):
    """Families, seeds and folders."""

    names: Positional[tuple[str, ...]] = tuple(FAMILIES)
    """Families."""
    seeds: tuple[int, ...] = field(default=(0, 1, 2, 3, 4), kw_only=True)
    """One run of each method per seed."""
    tasks: int = field(default=30, kw_only=True)
    """Per split."""
    runs: Path = field(default=Path("runs/model_based"), kw_only=True)


def commands(options: Options, name: str) -> dict[Path, list[str]]:
    """Training command of each run, by its folder."""
    broken = FAMILIES[name]
    methods = {
        **{
            method: f"train {name} --method {method} {broken.planned}" for method in broken.adaptive
        },
        "plain": f"train {name} --method grbal --policy.adapts nothing {broken.planned}",
        "robust": f"baseline robust {name} {broken.robust}",
    }
    if broken.taught is not None:
        methods[STUDENT] = f"train {name} --method {STUDENT} {broken.taught}"
    return {
        options.runs / f"{name}-{method}-{seed}": [
            *shlex.split(words), "--seed", str(seed), "--quiet"
        ]
        for method, words in methods.items()
        for seed in options.seeds
    }  # fmt: skip


def policies(options: Options, name: str) -> dict[str, list[SavedPolicy]]:
    """Final policies by row, one per seed."""

    def of(method: str) -> list[SavedPolicy]:
        return [load_policy(options.runs / f"{name}-{method}-{seed}") for seed in options.seeds]

    broken = FAMILIES[name]
    taught = broken.taught is not None
    found = {m: of(m) for m in (*broken.adaptive, "plain", "robust", *[STUDENT] * taught)}
    found["unadapted"] = [unadapted(saved) for saved in found["grbal"]]
    for row, method in OTHERS.items():
        if method in broken.adaptive:
            found[row] = [of_another(saved) for saved in found[method]]
    return {row: found[row] for row in ROWS if row in found}


def measured(options: Options, name: str) -> dict[str, Any]:
    """All figures of a family."""
    found = policies(options, name)
    family = family_of(found["grbal"][0].config)
    document: dict[str, Any] = {
        "family": name,
        "tasks": options.tasks,
        "rows": {row: {} for row in found},
    }
    splits: Sequence[Split] = ("test", "extrapolation")
    for split in splits:
        drawn = family.sample_tasks(options.tasks, Generator().manual_seed(1), split)
        tasks, scores = in_order(drawn), {}
        among = among_others(family, tasks)
        for row, seeds in found.items():
            robots = among if row in OTHERS else tasks
            episodes = [lived(saved, robots, seed=2) for saved in seeds]
            returns = [e.task_returns()[-len(tasks) :] for e in episodes]
            scores[row] = torch.stack(returns).double().numpy()
            entry = {
                "mean": crossed_interval(mean_score, [scores[row]]),
                "runs": scores[row].mean(1),
                "steps": [saved.metadata["env_steps"] for saved in seeds],
            }
            if plans(seeds[0]) and row not in OTHERS:
                ahead = [errors_ahead(s, e) for s, e in zip(seeds, episodes, strict=True)]
                entry["errors"] = np.mean(ahead, axis=0)
            document["rows"][row][split] = entry
        document.setdefault("gains", {})[split] = {
            better: {
                row: crossed_interval(paired_difference, [scores[better], scores[row]])
                for row in scores
                if row != better
            }
            for better in FAMILIES[name].adaptive
        }
    some = -(-options.tasks // 3)
    before = family.sample_tasks(some, Generator().manual_seed(3), "train")
    for row, seeds in found.items():
        if row in OTHERS:
            continue
        if change := FAMILIES[name].change:
            times = [recovery(saved, before, change, seed=4) for saved in seeds]
            document["rows"][row]["recovery"] = times
        if plans(seeds[0]):
            document["rows"][row]["hz"] = frequency(seeds[0], family)
    return document


def page(folder: Path) -> str:
    """Results as Markdown."""
    lines = [
        "# Models that adapt",
        "",
        "Returns of the first episode by the mean action, on tasks held out and in "
        "extrapolation; crippled robots have finitely many tasks, of which the first are those of "
        "training and the second are dead actuators that training never met. 95 % t intervals "
        "over seeds and tasks. *unadapted* is GrBAL's model without its step, *plain* a "
        "model that was trained without one; *another's* are the models of GrBAL and ReBAL, "
        "adapted to the last steps of a robot of another task. Errors are mean squared, in "
        "deviations of each observation, in extrapolation. Until back: steps after a change in "
        "mid-episode from which on rewards are as if the robot had always been broken. "
        "`python -m experiments.model_based` trains and measures all of it.",
    ]
    for path in sorted(folder.glob("model-based-*.json")):
        found = json.loads(path.read_text())
        seeds = len(found["rows"]["grbal"]["test"]["runs"])
        lines += [
            "",
            f"## {found['family']}, {seeds} seeds, {found['tasks']} tasks of each kind",
            "",
            "| policy | environment steps | held out | GrBAL gains over it | ReBAL gains over it "
            "| extrapolation | GrBAL gains | ReBAL gains "
            f"| error over {', '.join(map(str, AHEAD))} steps | steps until back | Hz |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_row(found, row) for row in ROWS if row in found["rows"]]
    return "\n".join(lines) + "\n"


def _row(found: dict[str, Any], row: str) -> str:
    one = found["rows"][row]
    cells = [row, f"{max(one['test']['steps']):,}"]
    for split in ("test", "extrapolation"):
        gains = [found["gains"][split].get(better, {}).get(row) for better in ADAPTIVE]
        mean = one.get(split, {}).get("mean")
        cells += [_interval(interval) for interval in (mean, *gains)]
    errors = one.get("extrapolation", {}).get("errors")
    cells.append(", ".join(f"{e:.3f}" for e in errors) if errors else "-")
    times = one.get("recovery", [])
    cells.append(", ".join("never" if s is None else str(s) for s in times) or "-")
    cells.append(f"{one['hz']:.0f}" if "hz" in one else "-")
    return f"| {' | '.join(cells)} |"


def _interval(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else "{:.3g} [{:.3g}, {:.3g}]".format(*interval)


def main(options: Options) -> None:
    """Train what is missing, measure, and write the results."""
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in known(options.names, FAMILIES):
        train(commands(options, name), options.jobs)
        document = measured(options, name) | {"commit": git_commit(), "versions": versions()}
        written = options.out / f"model-based-{name}.json"
        written.write_text(json.dumps(plain(document), indent=1) + "\n")
    (options.out / "model_based.md").write_text(page(options.out))
    print(page(options.out))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
