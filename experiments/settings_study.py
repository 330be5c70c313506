"""Effect of each setting on two families where adaptation matters: a table for the guide.

    python -m experiments.settings_study payload-velocity            # over an hour on one core
    python -m experiments.settings_study boat --groups main          # the rows that the guide shows
    python -m experiments.settings_study payload-velocity --groups task-choice

Every row is one change of a method's recipe, trained with three seeds for the same environment
steps (a start from a robust policy counts that policy's steps) and measured on the same held-out
tasks by the mean action of the final policy: before adaptation, after its gradient steps on 5
episodes each, and with another task's adapted parameters. What was finished before is not trained
again.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from tyro.conf import Positional

from experiments.compare_methods import iterations
from experiments.studies import known
from experiments.training_runs import is_trained, metarl_once
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.intervals import crossed_interval
from metarl.evaluation.statistics import mean_score, paired_difference
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.settings import flag, shown
from metarl.runs.checkpoint import load_policy
from metarl.runs.files import replace_file
from metarl_envs import load_family

FAMILIES = {
    "payload-velocity": "half-cheetah-payload-velocity",
    "boat": "experiments/own_robot/boat.py:family",
}
PPO = "--worlds 128 --outer.minibatches 32 --outer.epochs 5 --outer.learning-rate 1e-3"
"""Of the robust policy, as in `experiments.evidence`."""


@dataclass(frozen=True)
class Variant:
    """One row: a method with some settings changed."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    from_robust: bool = False
    """Half of the steps train a robust policy to start from."""
    episodes: int = 5
    """Per gradient step when it is measured."""

    @property
    def trained(self) -> str:
        """As its run is called."""
        changed = "".join(f", {key}={value}" for key, value in self.settings.items())
        return self.method + changed + (", from a robust policy" if self.from_robust else "")

    @property
    def name(self) -> str:
        """As the table calls it."""
        return self.trained + (
            "" if self.episodes == 5 else f", a step on {self.episodes} episodes"
        )


VARIANTS = {
    "main": (
        Variant("meta-sgd"),
        Variant("maml-trpo"),
        Variant("meta-sgd", episodes=10),
        Variant("maml-trpo", episodes=10),
        Variant("meta-sgd", {"adaptation_steps": 2}),
        Variant("meta-sgd", {"policy.action_scale": 10.0}),
        Variant("meta-sgd", from_robust=True),
    ),
    "more": (
        Variant("meta-sgd", {"inner.init_rate": 0.3}),
        Variant("maml-trpo", {"adaptation_steps": 2}),
        Variant("maml-trpo", {"inner.inner_lr": 0.3}),
        Variant("maml-trpo", {"policy.action_scale": 10.0}),
        Variant("promp"),
        Variant("maml-trpo", {"inner.inner_lr": 0.03}),
        Variant("meta-sgd", {"inner.init_rate": 0.03}),
        Variant("meta-sgd", {"policy.action_scale": 1.0}),
    ),
    "task-choice": (
        Variant("meta-sgd"),
        Variant("meta-sgd", {"task_choice": "representative"}),
        Variant("meta-sgd", {"task_choice": "worst"}),
        Variant("meta-sgd", {"task_choice": "progress"}),
    ),
}
"""Rows by group, in their order; a row in two groups is one row."""


@dataclass(frozen=True)
class Options:
    """Families, seeds, budget and folders."""

    names: Positional[tuple[str, ...]] = tuple(FAMILIES)
    """Families."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""
    env_steps: int = 2_000_000
    """Of each run."""
    groups: tuple[str, ...] = tuple(VARIANTS)
    """Groups of rows; the file keeps the others."""
    tasks: int = 100
    """Held-out tasks of an evaluation."""
    jobs: int = 1
    """Runs at a time, each with one simulator thread and one torch thread."""
    runs: Path = Path("runs/settings")
    """Folder for the runs."""
    out: Path = Path("experiments/results")
    """Folder for settings.json."""


def train(options: Options, name: str, variant: Variant, seed: int) -> Path:
    """One run, unless it is there."""
    family, steps = FAMILIES[name], options.env_steps
    slug = variant.trained.replace(", ", "_").replace(" ", "-").replace("=", "-")
    run = options.runs / f"{name}_{slug}_{seed}"
    start: list[str] = []
    if variant.from_robust:
        steps //= 2
        robust = options.runs / f"{name}_robust_{seed}"
        command = ["baseline", "robust", family, "--env-steps", str(steps), *shlex.split(PPO)]
        _ran(robust, [*command, "--seed", str(seed), "--quiet"])
        start = ["--start", str(robust)]
    config = with_settings(recipe(load_family(family).name, variant.method), variant.settings)
    command = ["train", family, "--method", variant.method, *start, "--seed", str(seed), "--quiet"]
    for key, value in variant.settings.items():
        command += [flag(key), *shown(value).split()]
    _ran(run, [*command, "--iterations", str(iterations(config, steps))])
    return run


def _ran(run: Path, command: list[str]) -> None:
    done, log = is_trained(run), run.with_suffix(".log")
    if not metarl_once([*command, "--run", str(run)], done=done, log=log):
        raise SystemExit(1)


def measured(options: Options, run: Path, episodes: int) -> dict[str, Any]:
    """Task returns of a run's final policy: before, after, and with another task's parameters."""
    kept = run / f"settings-study-{episodes}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    saved = load_policy(run)
    evaluation = evaluate(
        saved,
        splits=["test"],
        num_tasks=options.tasks,
        steps=saved.config.adaptation_steps,
        episodes_per_step=episodes,
    )
    (split,) = evaluation.splits
    assert split.controls is not None
    found = {
        "before": split.returns[0].tolist(),
        "after": split.returns[-1].tolist(),
        "other": split.controls.other[-1].tolist(),
        "failed_adaptations": split.failed_adaptations,
        "env_steps": saved.metadata["env_steps"],
        "episodes": saved.config.adaptation_steps * episodes,
    }
    replace_file(kept, f"{json.dumps(found)}\n".encode())
    return found


def summarised(options: Options, name: str, variant: Variant) -> dict[str, Any]:
    """Means and 95 % t intervals over seeds and tasks of one row."""
    runs = [train(options, name, variant, seed) for seed in options.seeds]
    rows = [measured(options, run, variant.episodes) for run in runs]
    before, after, other = (
        np.array([row[key] for row in rows], dtype=float) for key in ("before", "after", "other")
    )
    kept = np.isfinite(before + after + other).all(axis=0)

    def interval(scores: np.ndarray) -> list[float]:
        return list(crossed_interval(mean_score, [scores[:, kept]]))

    found = {
        "family": FAMILIES[name],
        "variant": variant.name,
        "env_steps": rows[0]["env_steps"] * (2 if variant.from_robust else 1),
        "episodes": rows[0]["episodes"],
        "before": interval(before),
        "after": interval(after),
        "after_by_seed": after[:, kept].mean(axis=1).tolist(),
        "other": interval(other),
        "own_less_other": interval(after - other),
        "left_out_tasks": int((~kept).sum()),
    }
    print(row_text(found), flush=True)
    return found


def difference(options: Options, name: str, variant: Variant, other: Variant) -> list[float]:
    """Difference of the returns after adaptation, with its 95 % t interval over seeds and tasks."""
    after = [
        np.array(
            [
                measured(options, train(options, name, one, seed), one.episodes)["after"]
                for seed in options.seeds
            ],
            dtype=float,
        )
        for one in (variant, other)
    ]
    kept = np.isfinite(sum(after)).all(axis=0)
    return list(crossed_interval(paired_difference, [scores[:, kept] for scores in after]))


def row_text(row: Mapping[str, Any]) -> str:
    """A row of the guide's table."""
    seeds = ", ".join(f"{value:.0f}" for value in row["after_by_seed"])
    low, high = row["after"][1:]
    return (
        f"| {row['variant']} | {row['before'][0]:.0f} | **{row['after'][0]:.0f}** "
        f"[{low:.0f}, {high:.0f}] | {seeds} | {row['other'][0]:.0f} | {row['episodes']} |"
    )


def main(options: Options) -> None:
    """Train what is missing, measure, and write the table's numbers."""
    torch.set_num_threads(1)
    path = options.out / "settings.json"
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = {(row["family"], row["variant"]): row for row in before}
    wanted = {v.name: v for group in known(options.groups, VARIANTS) for v in VARIANTS[group]}
    for name in known(options.names, FAMILIES):
        with ThreadPoolExecutor(options.jobs) as pool:
            found = list(pool.map(summarised, repeat(options), repeat(name), wanted.values()))
        for row, variant in zip(found, wanted.values(), strict=True):
            if (unchanged := Variant(variant.method, episodes=variant.episodes)) != variant:
                row["more_than_unchanged"] = difference(options, name, variant, unchanged)
        rows |= {(row["family"], row["variant"]): row for row in found}
        content = {"seeds": options.seeds, "tasks": options.tasks, "rows": list(rows.values())}
        replace_file(path, f"{json.dumps(content, indent=1)}\n".encode())


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
