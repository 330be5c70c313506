"""Figures of finished runs, with their provenance, as one JSON file per experiment.

    python -m experiments.summarise runs/hc-dir-0 runs/hc-dir-1 --out experiments/results/NAME.json

Reads each run's `config.json`, `metrics.jsonl` and, where `metarl evaluate` was run, its
newest `evaluation/evaluation.json`. Nothing is picked: the training figure is the mean of the last
ten iterations, the evaluation that of the final policy.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from metarl.runs.checkpoint import load_policy
from metarl.runs.metrics_log import read_metrics
from metarl.runs.places import newest

LAST = 10


@dataclass(frozen=True)
class Options:
    """Runs and output."""

    runs: Positional[tuple[Path, ...]]
    """Run folders."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """JSON file to write."""


def summarise(run: Path) -> dict[str, Any]:
    """One run: provenance, cost, the last ten iterations, and the evaluation if there is one."""
    about = json.loads((run / "config.json").read_text())
    metrics = read_metrics(run)
    last = metrics[-LAST:]

    def mean(key: str) -> float:
        return round(sum(line[key] for line in last) / len(last), 3)

    evaluation = newest(run / "evaluation") / "evaluation.json"
    return {
        "run": run.name,
        "commands": about["commands"],
        "commit": about["commit"],
        "versions": about["versions"],
        "config": about["config"],
        "iterations": metrics[-1]["iteration"],
        "env_steps": metrics[-1]["rollout/env_steps"],
        "hours": round(sum(m["time/collect_s"] + m["time/update_s"] for m in metrics) / 3600, 3),
        "last_ten_iterations": {
            key: mean(key)
            for key in ("rollout/return_pre", "rollout/return_post", "rollout/adaptation_gain")
        },
        "faulted_episodes": sum(m["health/nonfinite_envs"] for m in metrics),
        "refused_updates": metrics[-1].get("health/refused_updates", 0),  # SB3 refuses none
        "weights_sha256": load_policy(run).metadata["sha256"],
        "evaluation": json.loads(evaluation.read_text()) if evaluation.exists() else None,
    }


def write_summary(runs: list[dict[str, Any]], path: Path) -> None:
    """Write the summaries of an experiment's runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "machine": platform.machine()}
    path.write_text(json.dumps({"machine": machine, "runs": runs}, indent=1) + "\n")


def main(options: Options) -> None:
    """Write the summary and print one line per run."""
    runs = [summarise(run) for run in options.runs]
    write_summary(runs, options.out)
    for run in runs:
        last = run["last_ten_iterations"]
        print(
            f"{run['run']}: {run['env_steps']:,} steps in {run['hours']:.2f} h, last ten "
            f"iterations: pre {last['rollout/return_pre']:.1f}, "
            f"post {last['rollout/return_post']:.1f}"
        )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
