"""A trained run: its folder, its policy, its log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl.deploy import MetaPolicy
from metarl.methods.baselines import origins
from metarl.methods.config import TrainConfig
from metarl.process import counted
from metarl.runs.checkpoint import load_policy
from metarl.runs.metrics_log import read_metrics
from metarl.runs.run_folder import load_run_config
from metarl.training.trained_teacher import teacher_of

LAST = 10
"""Iterations at the end of a run whose mean is its result."""
NOT_ADAPTING = {
    "scratch": "trained on one task; it does not adapt",
    "robust": "it does not adapt: one policy for all tasks",
    "frame-stack": "it does not adapt its weights: it reads the last steps",
    "oracle": "it does not adapt: it observes the task",
    "finetuned": "it does not adapt in training, but on each task in metarl evaluate",
}
"""Baselines that do not adapt in training, with a remark for each."""


@dataclass(frozen=True)
class Run:
    """A run folder after training."""

    folder: Path
    trained: int
    """Iterations of the call that returned this; 0: the run was complete."""

    @property
    def config(self) -> TrainConfig:
        """Everything that determines the run."""
        return load_run_config(self.folder)

    @property
    def policy(self) -> MetaPolicy:
        """The policy of its newest checkpoint, as `metarl.load` gives it."""
        return MetaPolicy(load_policy(self.folder))

    @property
    def teacher(self) -> MetaPolicy:
        """The teacher of a teacher-student run: what its student would return if it knew the task.

        Saved to a folder it is evaluated, recorded and compared as an oracle, and teaches again
        (`metarl train --teacher FOLDER`).

        Raises:
            InputError: for another method, or a teacher that reads the task through a latent.
        """
        return MetaPolicy(teacher_of(self.folder))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The log: one object for each iteration; non-finite values are None."""
        return read_metrics(self.folder)

    def __str__(self) -> str:
        config = self.config
        title = origins()[config.method].title
        first = f"{config.family} | {title} | seed {config.seed} | {self.folder}"
        return "\n".join([first, *results(self.folder, config)])


def results(run: Path, config: TrainConfig) -> list[str]:
    """First and last returns of a run, as lines; none if nothing was trained.

    Means over the iterations' training episodes, with action noise; the last of the same phase.
    """
    lines = read_metrics(run)
    if not lines:
        return []
    adapts = config.method not in NOT_ADAPTING
    phase = lines[-1].get("train/phase")
    last = [line for line in lines[-LAST:] if line.get("train/phase") == phase]
    return [
        f"{counted(len(lines), 'iteration')}, {lines[-1]['rollout/env_steps']:,} environment steps",
        f"  first iteration:     {_returns(lines[:1], config)}",
        f"  mean of the last {len(last):>2}: {_returns(last, config)}",
        *([] if adapts else [f"  {NOT_ADAPTING[config.method]}"]),
    ]


def _returns(lines: list[dict[str, Any]], config: TrainConfig) -> str:
    def mean(name: str) -> float:
        values = [line[name] for line in lines if line.get(name) is not None]
        return sum(values) / len(values) if values else float("nan")

    before = f"return {mean('rollout/return_pre'):.1f}"
    if config.method in NOT_ADAPTING:
        return before
    after, gain = mean("rollout/return_post"), mean("rollout/adaptation_gain")
    if config.outer.within_episode:
        return f"{before} in the first episode of an iteration, {after:.1f} in the last"
    return f"{before} before adaptation, {after:.1f} after, gain {gain:+.1f}"


RunLike = Run | Path | str
"""A run, or the folder of a run or a policy."""


def folder_of(run: RunLike) -> Path:
    """The folder of a run."""
    return run.folder if isinstance(run, Run) else Path(run)
