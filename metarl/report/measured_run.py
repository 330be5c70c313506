"""One run as a report shows it: read and evaluated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl.errors import RunError
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.grouping import run_name
from metarl.evaluation.results import Evaluation
from metarl.methods.baselines import origins
from metarl.report.parameter_change import Change, what_changed
from metarl.runs.checkpoint import SavedPolicy
from metarl.runs.files import read_json
from metarl.runs.metrics_log import read_metrics
from metarl.runs.policy_folder import CONFIG
from metarl_envs import TaskFamily

MIN_CHANGE_TASKS = 3
"""Fewest adapted policies for a figure of the change by adaptation."""


@dataclass(frozen=True)
class Sizes:
    """Numbers of tasks, episodes and steps that a report measures."""

    tasks: int = 100
    """Per split."""
    episodes: int = 20
    """Per gradient step."""
    steps: int | None = None
    """Gradient steps; None: as many as in training."""
    budgets: tuple[int, ...] = ()
    """Further points: adaptation to only the first n of the episodes."""
    seed: int = 0
    sim_threads: int = 1


@dataclass(frozen=True)
class Subject:
    """A run with its evaluation."""

    name: str
    """Of its folder."""
    folder: Path
    saved: SavedPolicy
    commands: list[str]
    metrics: list[dict[str, Any]]
    """One line per iteration; empty for a policy without its run."""
    evaluation: Evaluation
    change: Change | None
    """None where it does not adapt, or fewer than three adapted policies are finite."""

    @property
    def family(self) -> TaskFamily:
        """The family that it was trained on."""
        return self.evaluation.family

    @property
    def method(self) -> str:
        """The title of the method, or of the baseline."""
        return origins()[self.saved.config.method].title

    @property
    def label(self) -> str:
        """Method and seed, for legends."""
        return f"{self.method}, seed {self.saved.config.seed}"

    @property
    def hours(self) -> float:
        """Wall-clock time of all iterations."""
        parts = ("time/collect_s", "time/update_s")
        return sum(line.get(part) or 0.0 for line in self.metrics for part in parts) / 3600


def slug(name: str) -> str:
    """A name for files: all but letters, digits, dots and dashes becomes an underscore."""
    return re.sub(r"[^\w.-]", "_", name)


def study(folder: Path, saved: SavedPolicy, sizes: Sizes, progress: str | None = None) -> Subject:
    """Measure a run (or a policy folder), whose policy is given; `progress` as for `evaluate`.

    Raises:
        RunError: if other files in the folder are damaged.
        InputError: for impossible sizes.
    """
    steps = saved.config.adaptation_steps if sizes.steps is None else sizes.steps
    evaluation = evaluate(
        saved,
        num_tasks=sizes.tasks,
        steps=steps,
        episodes_per_step=sizes.episodes,
        budgets=sizes.budgets,
        seed=sizes.seed,
        sim_threads=sizes.sim_threads,
        progress=progress,
    )
    about = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    commands = about.get("commands", [])
    if not isinstance(commands, list) or not all(isinstance(c, list) for c in commands):
        raise RunError(f"{folder / CONFIG}: 'commands' must be a list of lists; it is corrupt")
    return Subject(
        name=run_name(folder),
        folder=folder,
        saved=saved,
        commands=[" ".join(map(str, command)) for command in commands],
        metrics=read_metrics(folder),
        evaluation=evaluation,
        change=_change(saved, evaluation),
    )


def _change(saved: SavedPolicy, evaluation: Evaluation) -> Change | None:
    split = "test" if evaluation.family.holds_out else "train"
    adapted = next(result.adapted for result in evaluation.splits if result.split == split)
    if adapted is None or len(adapted.tasks) < MIN_CHANGE_TASKS:
        return None
    return what_changed(saved.params, adapted.params, adapted.tasks)
