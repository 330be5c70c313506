"""Commands that the campaigns disturb, as small as they can be, and what they must leave behind."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metarl.errors import RunError
from metarl.methods.baselines import BASELINES
from metarl.methods.meta import METHODS
from metarl.runs.checkpoint import checkpoints, load_policy
from metarl.runs.files import sha256
from metarl.runs.metrics_log import read_metrics
from metarl.runs.run_folder import BEST, CONFIG
from metarl.versions import git_commit, versions

SIZES = ("--meta-batch-size", "2", "--episodes-per-task", "2", "--device", "cpu")
EVERY = 2
"""Iterations from checkpoint to checkpoint."""
COMMON = ("--horizon", "5", "--checkpoint-every", str(EVERY), "--sim-threads", "1", "--quiet")
LEARNING = ("--iterations", "6", "--evaluate-every", "2", "--evaluation-tasks", "2")
PLANNING = ("--outer.steps", "4", "--policy.candidates", "8", "--policy.rounds", "1")
OWN_SIZES = {
    "cma-es": ("--meta-batch-size", "4", "--outer.population", "4"),
    "grbal": PLANNING,
    "rebal": PLANNING,
}
"""Of methods that need others; the last of two options counts."""
BASELINE = ("--worlds", "2", "--env-steps", "60", "--outer.minibatches", "2")  # six iterations too
MEASURED = ("--sim-threads", "1", "--episodes", "2", "--tasks", "2", "--quiet")
TASK = ("--task", "goal=0.3,-0.2")
UNTRAINED = ("random", "finetuned")
"""Baselines that have nothing to resume of their own."""
TMP = ".tmp"


@dataclass(frozen=True)
class Training:
    """A command that trains, and its run."""

    name: str
    """Method or baseline, such as "promp" or "promp --start"."""
    words: tuple[str, ...]
    """The command without its folder."""

    def command(self, run: Path) -> list[str]:
        """Train into a new folder."""
        return [*self.words, "--run", str(run)]

    def again(self, run: Path) -> list[str]:
        """Go on after a fault: resume what has begun, train otherwise."""
        if (run / CONFIG).exists() or checkpoints(run):
            return ["resume", str(run), "--quiet"]
        return self.command(run)


@dataclass(frozen=True)
class Writing:
    """A command that makes files of a run that is there."""

    name: str
    words: tuple[str, ...]
    """The command without the run and the place."""
    place: str
    """Name of the file or folder to write."""
    unlike: tuple[str, ...] = field(default=())
    """Names of files that differ from call to call."""

    def command(self, run: Path, out: Path) -> list[str]:
        """Make the files."""
        return [self.words[0], str(run), *self.words[1:], "--out", str(out / self.place)]


def trainings(names: Sequence[str], start: Path) -> list[Training]:
    """Each learner's training; all of them without names.

    Args:
        names: of methods and baselines, or "promp --start".
        start: an existing run, to start from.
    """
    every = [
        *(
            Training(
                name,
                (
                    *("train", "navigation", "--method", name, *SIZES, *COMMON, *LEARNING),
                    *OWN_SIZES.get(name, ()),
                ),
            )
            for name in METHODS
        ),
        *(
            Training(name, ("baseline", name, "navigation", *BASELINE, *COMMON))
            for name in BASELINES
            if name not in UNTRAINED
        ),
        Training(
            "promp --start",
            (
                *("train", "navigation", "--method", "promp", *SIZES, *COMMON, *LEARNING),
                *("--start", str(start)),
            ),
        ),
    ]
    return [training for training in every if not names or training.name in names]


def writings(names: Sequence[str]) -> list[Writing]:
    """The commands that measure, adapt, report and export; all of them without names."""
    page = ("report", *MEASURED, "--budgets", "1", "--videos", "0")
    every = [
        Writing("evaluate", ("evaluate", *MEASURED), "evaluation"),
        Writing("adapt", ("adapt", *TASK, "--episodes", "2", "--sim-threads", "1"), "adapted"),
        Writing("report", page, "report"),
        Writing("export", ("export",), "policy.onnx"),
    ]
    return [writing for writing in every if not names or writing.name in names]


def result_of(run: Path) -> dict[str, Any]:
    """All of a run that its seed decides: parameters, optimiser, streams, metrics, best policy.

    A checkpoint that a stop by a signal saved between the others may be there as well.
    """
    newest, *_ = checkpoints(run)
    files = ("model.safetensors", "training.safetensors")
    best = run / BEST
    return {
        "checkpoints": [path.name for path in checkpoints(run) if int(path.name) % EVERY == 0],
        "latest": (run / "checkpoints" / "latest").read_text(),
        "newest": {name: sha256((newest / name).read_bytes()) for name in files},
        "metrics": [
            {name: value for name, value in line.items() if not name.startswith("time/")}
            for line in read_metrics(run)
        ],
        "best": sha256((best / files[0]).read_bytes()) if best.is_dir() else None,
    }


def half_written(run: Path) -> list[str]:
    """Files and folders of a run that have their final names but are not whole."""
    found = []
    for folder in [*checkpoints(run), *([run / BEST] if (run / BEST).is_dir() else [])]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                load_policy(folder)
                _check_training(folder)
            except (RunError, UserWarning) as error:
                found.append(str(error))
    config = run / CONFIG
    if config.exists():
        try:
            json.loads(config.read_bytes())
        except ValueError as error:
            found.append(f"{config}: {error}")
    latest = run / "checkpoints" / "latest"
    if latest.exists() and not (latest.parent / latest.read_text().strip()).is_dir():
        found.append(f"{latest}: names {latest.read_text()!r}")
    return found


def _check_training(folder: Path) -> None:
    """Refuse a checkpoint whose state of training is not the one that it tells of."""
    about = folder / "training.json"
    if not about.exists():
        if folder.name == BEST:
            return
        raise RunError(f"{folder}: no training.json")
    told = json.loads(about.read_bytes())
    if sha256((folder / "training.safetensors").read_bytes()) != told["sha256"]:
        raise RunError(f"{folder}: training.safetensors is not the one that training.json tells of")


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder by its path, but of what is being written."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(TMP in part for part in path.relative_to(folder).parts)
    }


def leftovers(folder: Path) -> list[str]:
    """Names of what killed processes left half-written."""
    return [path.name for path in folder.rglob(f"*{TMP}*") if TMP not in path.parent.name]


def provenance(wall_s: float, seed: int) -> dict[str, Any]:
    """Entries of every campaign's result file: its cost, its draws, and the code it ran on."""
    return {
        "seconds": round(wall_s),
        "seed": seed,
        "commit": git_commit(),
        "versions": versions(),
    }
