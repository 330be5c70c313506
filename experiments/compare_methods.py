"""All methods on three families with equal environment steps and three seeds: a table, a figure.

    python -m experiments.compare_methods                    # about two hours on two cores
    python -m experiments.compare_methods --scale 8          # eight times the steps
    python -m experiments.compare_methods --methods promp maml-trpo --families navigation

Every run is `metarl train FAMILY --method METHOD --seed S`, the method's own recipe, cut off at the
family's budget of environment steps, and then evaluated, as it would be deployed, on the same tasks
as all others, held-out ones where the family has any: after as many adaptation steps as it was
trained for, and with another task's adapted parameters. Observations are raw in all of them, so
that a recipe which standardises them has no advantage. Nothing is tuned per family beyond the
recipes and no iterate is picked. A run that was finished before is only evaluated.
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
from experiments.training_runs import is_trained, metarl
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.intervals import crossed_interval
from metarl.evaluation.labels import verdict
from metarl.evaluation.results import task_groups
from metarl.evaluation.statistics import Interval, Scores, mean_score
from metarl.evaluation.streams import evaluation_generators
from metarl.methods.config import TrainConfig
from metarl.methods.families import recipe
from metarl.methods.meta import METHODS
from metarl.runs.checkpoint import load_policy
from metarl.runs.files import replace_file
from metarl.versions import git_commit, versions
from metarl_envs import get_family

BUDGETS = {
    "navigation": 4_800_000,
    "half-cheetah-direction": 1_200_000,
    "half-cheetah-dynamics": 1_200_000,
}
"""Environment steps of a run at scale 1, over all tasks and collections."""
STEPS = 3
"""Adaptation steps of the curves in the JSON; the table compares methods as they were trained."""


@dataclass(frozen=True)
class Options:
    """Methods, families and budgets."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Names of methods."""
    families: tuple[str, ...] = tuple(BUDGETS)
    """Names of families."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""
    scale: float = 1.0
    """Factor on the families' budgets of environment steps."""
    tasks: int = 40
    """Tasks of an evaluation."""
    episodes: int = 20
    """Episodes per adaptation step in the evaluation."""
    jobs: int = 2
    """Runs at a time, each with one simulator thread and one torch thread."""
    runs: Path = Path("runs/compare")
    """Folder for the runs."""
    out: Path = Path("experiments/results")
    """Folder for compare_methods.json, .md and .png."""


def iterations(config: TrainConfig, budget: float) -> int:
    """Meta-iterations that the budget pays for, at least one."""
    collections = config.adaptation_steps + 1
    per_iteration = config.meta_batch_size * config.episodes_per_task * config.horizon * collections
    return max(1, int(budget // per_iteration))


def run_one(options: Options, family: str, method: str, seed: int) -> dict[str, Any]:
    """Train and evaluate, as far as an earlier call has not."""
    folder = options.runs / f"{family}-{method}-{seed}-x{options.scale:g}"
    row: dict[str, Any] = {"family": family, "method": method, "seed": seed}
    row |= trained(options, folder, row)
    if row["error"] is None:
        row |= measured(options, folder)
    value = "failed"
    if row["error"] is None:
        value = f"{row['returns'][0]:.1f} -> {row['returns'][row['trained_steps']]:.1f}"
    print(f"{family:24} {method:18} seed {seed}  {value}", flush=True)
    return row


def trained(options: Options, folder: Path, row: dict[str, Any]) -> dict[str, Any]:
    """Train, unless that was done: the command, its error if it failed, and what it cost.

    FOLDER.json keeps these beside the run. A run that came about without it has no known cost; one
    that failed is not tried again before its FOLDER.json is deleted.
    """
    record = folder.with_name(f"{folder.name}.json")
    known = json.loads(record.read_text()) if record.exists() else None
    if known and known["error"]:
        return known
    if is_trained(folder):
        commands = json.loads((folder / "config.json").read_text())["commands"]
        unknown = {"command": " ".join(commands[0]), "wall_clock_s": None, "cpu_s": None}
        return known or {**unknown, "error": None}
    count = iterations(recipe(row["family"], row["method"]), options.scale * BUDGETS[row["family"]])
    command = ["train", row["family"], "--method", row["method"], "--seed", str(row["seed"])]
    command += ["--iterations", str(count), "--policy.normalize-observations", "False"]
    machine = ["--sim-threads", "1", "--run", str(folder), "--quiet"]
    finished = metarl([*command, *machine], folder.with_name(f"{folder.name}.log"))
    found = {"command": " ".join(["metarl", *command]), **dataclasses.asdict(finished)}
    replace_file(record, f"{json.dumps(found, indent=1)}\n".encode())
    return found


def measured(options: Options, folder: Path) -> dict[str, Any]:
    """Returns before and after 1, 2 and 3 adaptation steps, and those of the controls.

    Read from RUN/comparison.json if these weights were measured in these sizes before.
    """
    saved = load_policy(folder)
    steps = max(STEPS, saved.config.adaptation_steps)
    how = {
        "weights": saved.metadata["sha256"],
        "tasks": options.tasks,
        "episodes_per_step": options.episodes,
        "steps": steps,
        "by": "mean action",
    }
    path = folder / "comparison.json"
    if path.exists() and (found := json.loads(path.read_text())).get("measured") == how:
        return found
    evaluation = evaluate(
        saved,
        splits=["test"],
        num_tasks=options.tasks,
        steps=steps,
        episodes_per_step=options.episodes,
    )
    (result,) = evaluation.splits
    controls = result.controls
    of_mean = controls.averaged if controls else None
    found = {
        "measured": how,
        "policy": evaluation.policy,
        "env_steps": saved.metadata["env_steps"],
        "commit": saved.metadata["commit"],
        "trained_steps": saved.config.adaptation_steps,
        "returns": np.nanmean(result.returns, axis=1).tolist(),
        "task_returns": result.returns.tolist(),  # (steps + 1, tasks)
        "task_returns_of_another_task": controls and controls.other.tolist(),  # likewise
        "task_returns_of_mean": None if of_mean is None else of_mean.tolist(),
        "failed_adaptations": result.failed_adaptations,
    }
    replace_file(path, f"{json.dumps(found, indent=1)}\n".encode())
    return found


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One method on one family: means over seeds and tasks, 95 % t intervals over both.

    Of a finite family, over seeds and the repetitions of its tasks.
    """
    finished = [row for row in rows if not row["error"]]
    summary: dict[str, Any] = {
        "family": rows[0]["family"],
        "method": rows[0]["method"],
        "seeds": len(finished),
        "failed": [row["error"] for row in rows if row["error"]],
    }
    if not finished:
        return summary
    returns = np.array([row["task_returns"] for row in finished])  # (seeds, steps + 1, tasks)
    others, means = (
        np.array([row[f"task_returns_of_{name}"] for row in finished], dtype=float)
        for name in ("another_task", "mean")
    )  # likewise, or (seeds,) of NaN where there are no controls
    controlled = others.ndim == returns.ndim
    kept = np.isfinite(returns).all(axis=(0, 1))
    if controlled:
        kept &= np.isfinite(others[:, 1:]).all(axis=(0, 1))
        kept &= np.isfinite(means[:, 1:]).all(axis=(0, 1))
    groups = finite_groups(rows[0]["family"], returns.shape[-1])

    def interval(scores: Scores) -> Interval:
        return crossed_interval(
            mean_score,
            [scores[:, kept]],
            groups=None if groups is None else groups[kept],
        )

    steps = finished[0]["trained_steps"]
    gain = interval(returns[:, steps] - returns[:, 0])
    over = interval(returns[:, steps] - others[:, steps]) if controlled else None
    summary |= {
        "trained_steps": steps,
        "pre": interval(returns[:, 0]),
        "post": interval(returns[:, steps]),
        "post_by_seed": [row["returns"][steps] for row in finished],
        "gain": gain,
        "another_task": interval(others[:, steps]) if controlled else None,
        "gain_over_another_task": over,
        "mean_of_tasks": interval(means[:, steps]) if controlled else None,
        "verdict": verdict(gain, over),
        "curve": [interval(returns[:, k]) for k in range(returns.shape[1])],
        "commits": sorted({row["commit"] or "unknown" for row in finished}),
    }
    for name in ("wall_clock_s", "cpu_s", "env_steps"):
        values = [row[name] for row in finished if row[name] is not None]
        summary[name] = float(np.mean(values)) if values else None
    return summary


def finite_groups(name: str, count: int) -> NDArray[np.int64] | None:
    """Index of each evaluated task among a finite family's tasks, (M,); else None."""
    family = get_family(name)
    if family.holds_out:
        return None
    return task_groups(family.sample_tasks(count, evaluation_generators(0, "train")[0], "train"))[0]


def tasks_text(name: str, count: int) -> str:
    """Tasks that a family's returns are means over: held out, or trained on."""
    groups = finite_groups(name, count)
    if groups is None:
        return f"{count} held-out tasks"
    return f"{count} runs of the {groups.max() + 1} tasks trained on, nothing held out"


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
        "tasks": {name: tasks_text(name, options.tasks) for name in options.families},
        "measured_by": "mean action",
        "episodes_per_step": options.episodes,
        "interval": (
            f"95 % t interval over {len(options.seeds)} seeds and the tasks"
            if len(options.seeds) > 1
            else "95 % t interval over tasks only (one seed)"
        ),
        "summaries": summaries,
        "runs": [
            {k: v for k, v in row.items() if not k.startswith("task_returns")} for row in rows
        ],
    }
    path = options.out / "compare_methods.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(write_table(content, path.with_suffix(".md")))
    write_figure(content, path.with_suffix(".png"))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
