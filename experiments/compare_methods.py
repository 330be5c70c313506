"""All methods on three families with equal environment steps and three seeds: a table, a figure.

    python -m experiments.compare_methods                    # about two hours on two cores
    python -m experiments.compare_methods --scale 8          # eight times the steps
    python -m experiments.compare_methods --methods promp maml-trpo --families navigation

Every run is `metarl train FAMILY --method METHOD --seed S`, the method's own recipe, cut off at the
family's budget of environment steps, and then evaluated on held-out tasks, those of every run the
same. Observations are raw in all of them, so that a recipe which standardises them has no
advantage. Nothing is tuned per family beyond the recipes and no iterate is picked. What was
finished before is not run again.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from experiments.compare_report import write_figure, write_table
from experiments.training_runs import metarl
from metarl.adaptation_curve import SplitEvaluation
from metarl.checkpoint import load_policy
from metarl.config import TrainConfig
from metarl.evaluation import evaluate, evaluation_generators
from metarl.intervals import crossed_interval
from metarl.methods import METHODS
from metarl.recipes import recipe
from metarl.statistics import mean_score
from metarl.versions import git_commit, versions
from metarl_envs import get_family

BUDGETS = {
    "navigation": 4_800_000,
    "half-cheetah-direction": 1_200_000,
    "half-cheetah-dynamics": 1_200_000,
}
"""Environment steps of a run at scale 1, over all tasks and collections."""
STEPS = 3


@dataclass(frozen=True)
class Options:
    """What is compared, and at what cost."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Names of methods."""
    families: tuple[str, ...] = tuple(BUDGETS)
    """Names of families."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""
    scale: float = 1.0
    """Factor on the families' budgets of environment steps."""
    tasks: int = 40
    """Held-out tasks that a run is evaluated on."""
    episodes: int = 20
    """Episodes per adaptation step in the evaluation."""
    jobs: int = 2
    """Runs at a time, each with one simulator thread and one torch thread."""
    runs: Path = Path("runs/compare")
    """Where the runs go."""
    out: Path = Path("experiments/results")
    """Where compare_methods.json, .md and .png go."""


def iterations(config: TrainConfig, budget: float) -> int:
    """Meta-iterations that the budget pays for, at least one."""
    collections = config.adaptation_steps + 1
    per_iteration = config.meta_batch_size * config.episodes_per_task * config.horizon * collections
    return max(1, int(budget // per_iteration))


def run_one(options: Options, family: str, method: str, seed: int) -> dict[str, Any]:
    """Train and evaluate, or read what an earlier call left."""
    folder = options.runs / f"{family}-{method}-{seed}-x{options.scale:g}"
    result = folder / "comparison.json"
    if result.exists():
        return json.loads(result.read_text())
    count = iterations(recipe(family, method), options.scale * BUDGETS[family])
    command = ["train", family, "--method", method, "--seed", str(seed)]
    command += ["--iterations", str(count), "--set", "policy.normalize_observations=false"]
    machine = ["--sim-threads", "1", "--run", str(folder), "--quiet"]
    finished = metarl([*command, *machine], folder.with_suffix(".log"))
    row: dict[str, Any] = {
        "family": family,
        "method": method,
        "seed": seed,
        "command": " ".join(["metarl", *command]),
        **dataclasses.asdict(finished),
    }
    if finished.error is None:
        row |= measure(options, folder)
    folder.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(row, indent=1) + "\n")
    value = "failed" if row["error"] else f"{row['returns'][0]:.1f} -> {row['returns'][1]:.1f}"
    took = f"{finished.wall_clock_s:5.0f} s"
    print(f"{family:24} {method:18} seed {seed}  {took}  {value}", flush=True)
    return row


def measure(options: Options, folder: Path) -> dict[str, Any]:
    """Mean return over held-out tasks before and after 1, 2 and 3 adaptation steps."""
    saved = load_policy(folder)
    found = evaluate(
        saved,
        splits=["test"],
        num_tasks=options.tasks,
        steps=STEPS,
        episodes_per_step=options.episodes,
    ).splits[0]
    return {
        "env_steps": saved.metadata["env_steps"],
        "commit": saved.metadata["commit"],
        "returns": np.nanmean(found.returns, axis=1).tolist(),
        "task_returns": found.returns.tolist(),  # (STEPS + 1, tasks)
        "failed_adaptations": found.failed_adaptations,
    }


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One method on one family: means over seeds and tasks, 95 % t intervals over both.

    Of a finite family, over seeds and the repetitions of its tasks.
    """
    sound = [row for row in rows if not row["error"]]
    summary: dict[str, Any] = {
        "family": rows[0]["family"],
        "method": rows[0]["method"],
        "seeds": len(sound),
        "failed": [row["error"] for row in rows if row["error"]],
    }
    if not sound:
        return summary
    returns = np.array([row["task_returns"] for row in sound])  # (seeds, STEPS + 1, tasks)
    kept = np.isfinite(returns).all(axis=(0, 1))
    groups = finite_groups(rows[0]["family"], returns.shape[-1])
    for k, name in ((0, "pre"), (1, "post_1"), (3, "post_3")):
        found = crossed_interval(
            mean_score,
            [returns[:, k, kept]],
            groups=None if groups is None else groups[kept],
        )
        summary[name] = list(found)
        summary[f"{name}_by_seed"] = [row["returns"][k] for row in sound]
    for name in ("wall_clock_s", "cpu_s", "env_steps"):
        summary[name] = float(np.mean([row[name] for row in sound]))
    return summary


def finite_groups(name: str, count: int) -> NDArray[np.int64] | None:
    """Which of a finite family's tasks each task of the evaluation is, (M,); else None."""
    family = get_family(name)
    if not family.is_finite:
        return None
    tasks = family.sample_tasks(count, evaluation_generators(0, "train")[0], "train")
    empty = np.zeros((1, count))
    return SplitEvaluation("train", tasks, empty, empty, 0, 0).groups[0]


def main(options: Options) -> None:
    """Run what is missing, `jobs` at a time, and write the results."""
    torch.set_num_threads(1)  # the evaluations run beside each other too
    wanted = [(f, m, s) for s in options.seeds for f in options.families for m in options.methods]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(lambda run: run_one(options, *run), wanted))
    summaries = [
        summarise([row for row in rows if (row["family"], row["method"]) == (family, method)])
        for family in options.families
        for method in options.methods
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    content = {
        "command": " ".join(["python -m experiments.compare_methods", *sys.argv[1:]]),
        "commit": git_commit(),
        "versions": versions(),
        "machine": {"python": platform.python_version(), "machine": platform.machine()},
        "budgets": {name: options.scale * BUDGETS[name] for name in options.families},
        "tasks": options.tasks,
        "episodes_per_step": options.episodes,
        "interval": (
            f"95 % t interval over {len(options.seeds)} seeds and the tasks"
            if len(options.seeds) > 1
            else "95 % t interval over tasks only (one seed)"
        ),
        "summaries": summaries,
        "runs": [{k: v for k, v in row.items() if k != "task_returns"} for row in rows],
    }
    path = options.out / "compare_methods.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(write_table(content, path.with_suffix(".md")))
    write_figure(content, path.with_suffix(".png"))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
