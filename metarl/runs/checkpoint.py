"""Run folders and their checkpoints: written whole or not at all, checked when read.

RUN/config.json                      the configuration, and the commands of the run
RUN/checkpoints/latest               name of the newest checkpoint, for people and scripts
RUN/checkpoints/000150/              a policy folder (see `metarl.runs.policy_folder`) with also
    training.safetensors, .json      the state of training (see `metarl.runs.training_files`)
RUN/best/                            a policy folder: the best so far on the validation tasks
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from metarl.errors import RunError
from metarl.methods.config import TrainConfig
from metarl.methods.setup import family_of, policy_of, starting_state
from metarl.outer.state import Generators, TrainState
from metarl.policies.params import Params
from metarl.process import typed
from metarl.runs.files import new_folder, read_json, remove_folder, replace_file, sync_file
from metarl.runs.policy_folder import (
    CONFIG,
    FORMAT,
    SavedPolicy,
    is_policy,
    read_policy,
    save_policy,
    write_policy,
)
from metarl.runs.run_folder import (
    BEST,
    CHECKPOINTS,
    METRICS,
    check_run,
    create_run,
    load_run_config,
    locked,
    update_run,
)
from metarl.runs.training_files import TRAINING_STATE, Stored, read_training, write_training
from metarl_envs.inputs.numbers import whole

__all__ = [
    "SavedPolicy",
    "checkpoints",
    "create_run",
    "drop_best_after",
    "load_baseline_checkpoint",
    "load_checkpoint",
    "load_policy",
    "load_run_config",
    "locked",
    "save_best",
    "save_checkpoint",
    "save_policy",
    "save_policy_checkpoint",
    "tidy",
    "update_run",
]

TRAINING_FORMAT, BASELINE_FORMAT = "metarl-training", "metarl-baseline-training"
LATEST = "latest"
LEFTOVERS = (f"{CHECKPOINTS}/*.tmp", *(f"{name}.*.tmp" for name in (BEST, CONFIG, METRICS)))
"""Names of what is being written."""
STREAM, OPTIMIZER, CHOICE = "generator.", "optimizer.", "choice."
COUNTERS = ("iteration", "env_steps", "refused_in_a_row", "refused")

T = TypeVar("T")
Training = tuple[Mapping[str, int], Mapping[str, Tensor]]
"""Counters and tensors of the state of training."""


def save_checkpoint(run: Path, config: TrainConfig, state: TrainState, *, keep: int = 5) -> Path:
    """Write RUN/checkpoints/<iteration>/, atomically, and drop all but the newest `keep`.

    A crash at any moment leaves the checkpoints that were there, or those and this one.
    """
    counters: dict[str, Any] = {name: getattr(state, name) for name in COUNTERS}
    noted: dict[str, Any] = {name: counters[name] for name in ("iteration", "env_steps")}
    noted |= {"observations": state.observed} if state.observed else {}
    with _new_checkpoint(run, state.iteration, keep) as folder:
        digest = write_policy(folder, _saved(config, state.params, noted))
        write_training(folder, TRAINING_FORMAT, counters, training_tensors(state), digest)
    return run / CHECKPOINTS / f"{state.iteration:06d}"


def save_policy_checkpoint(
    run: Path,
    config: TrainConfig,
    params: Params,
    noted: Mapping[str, Any],
    training: Training | None = None,
    *,
    keep: int = 5,
) -> Path:
    """As `save_checkpoint`, of a baseline.

    Args:
        run: the run's folder.
        config: of the run.
        params: one policy's parameters.
        noted: metadata with at least `iteration`, which names the checkpoint.
        training: the state of its training; None: it is not trained.
        keep: number of the newest checkpoints that stay.
    """
    with _new_checkpoint(run, int(noted["iteration"]), keep) as folder:
        digest = write_policy(folder, _saved(config, params, noted))
        if training is not None:
            write_training(folder, BASELINE_FORMAT, *training, digest)
    return run / CHECKPOINTS / f"{noted['iteration']:06d}"


def load_baseline_checkpoint(
    run: Path, counters: tuple[str, ...], like: Callable[[SavedPolicy], Mapping[str, Tensor]]
) -> Stored:
    """The newest intact checkpoint of a baseline, with the state of its training.

    Args:
        run: the run's folder.
        counters: that training keeps.
        like: from the policy to tensors of the names, shapes and types of the state.

    Raises:
        RunError: if there is no run, or no checkpoint that training can go on from.
    """
    check_run(run)
    return _newest(run, lambda folder: read_training(folder, BASELINE_FORMAT, counters, like))


def save_best(run: Path, config: TrainConfig, state: TrainState, return_post: float) -> Path:
    """Write RUN/best/, atomically, over the best before.

    Args:
        run: the run's folder.
        config: of the run.
        state: whose parameters are the best so far.
        return_post: their return after adaptation on the validation tasks.
    """
    family = family_of(config)
    tasks = "its training tasks" if family.is_finite else "validation tasks"
    if not family.holds_out:
        tasks += " (none is held out)"
    noted = {
        "iteration": state.iteration,
        "env_steps": state.env_steps,
        "chosen": f"best on {tasks}, iteration {state.iteration}",
        "eval_return_post": return_post,
        "observations": state.observed,
    }
    _check_is_there(run)
    with new_folder(run / BEST) as folder:
        write_policy(folder, _saved(config, state.params, noted))
    return run / BEST


def drop_best_after(run: Path, iteration: int) -> None:
    """Delete RUN/best/ if it is of a later iteration, which the run will repeat.

    A crash between the evaluation and the next checkpoint leaves it.
    """
    if (run / BEST / CONFIG).is_file():
        metadata = read_json(run / BEST / CONFIG).get("metadata")
        reached = metadata.get("iteration") if isinstance(metadata, dict) else None
        if not isinstance(reached, int) or reached > iteration:
            remove_folder(run / BEST)


@contextmanager
def _new_checkpoint(run: Path, iteration: int, keep: int) -> Iterator[Path]:
    """A folder to fill, which becomes the newest checkpoint if the block ends without error."""
    folder = run / CHECKPOINTS / f"{iteration:06d}"
    _check_is_there(run)
    folder.parent.mkdir(exist_ok=True)
    # Where a run resumes, it has the log up to there, after a power cut too.
    sync_file(run / METRICS)
    with new_folder(folder) as temporary:
        yield temporary
    _name_latest(folder)
    _prune(folder, keep)


def _check_is_there(run: Path) -> None:
    """Refuse to make a moved run's folder anew, with what comes after the move alone.

    Raises:
        RunError: if there is no such folder.
    """
    if not run.is_dir():
        again = typed("metarl", "resume", run)
        raise RunError(
            f"{run}: was moved or deleted while it was trained; move it back and continue with "
            f"`{again}`, or resume it where it is now"
        )


def tidy(run: Path) -> None:
    """Clear away what killed processes left half-written, in a run that is locked."""
    for pattern in LEFTOVERS:
        _clear(run, pattern)
    if newest := checkpoints(run)[:1]:
        _name_latest(*newest)


def _clear(folder: Path, pattern: str) -> None:
    """Delete files and folders by their names."""
    for path in folder.glob(pattern):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _name_latest(folder: Path) -> None:
    """Write the name of the newest checkpoint into the file beside it, if it is not there."""
    latest, content = folder.with_name(LATEST), f"{folder.name}\n".encode()
    if not latest.is_file() or latest.read_bytes() != content:
        replace_file(latest, content)


def load_checkpoint(run: Path, iteration: int | None = None) -> tuple[TrainConfig, TrainState]:
    """The state of a run after `iteration` iterations; None: of the newest intact checkpoint.

    Skips damaged checkpoints with a warning if an older intact one exists.

    Raises:
        RunError: if there is no run, no such checkpoint, or none that can be read.
        InputError: if the robot's actions now have another middle.
    """
    check_run(run)
    if iteration is None:
        return _newest(run, _read_checkpoint)
    folder = run / CHECKPOINTS / f"{whole('iteration', iteration):06d}"
    if not folder.is_dir():
        names = ", ".join(path.name for path in checkpoints(run)) or "none"
        raise RunError(f"{run}: no checkpoint of iteration {iteration}; there are: {names}")
    return _read_checkpoint(folder)


def load_policy(path: Path) -> SavedPolicy:
    """The policy in a policy folder, or in the newest intact checkpoint of a run.

    Raises:
        RunError: in one line, for anything that is not a valid policy.
    """
    if is_policy(path):
        return read_policy(path)
    check_run(path)
    if not (path / CHECKPOINTS).is_dir() and read_json(path / CONFIG).get("format") == FORMAT:
        return read_policy(path)  # which says what is missing
    return _newest(path, read_policy)


def checkpoints(run: Path) -> list[Path]:
    """The checkpoint folders of a run, newest first, unread."""
    folder = run / CHECKPOINTS
    entries = folder.iterdir() if folder.is_dir() else ()
    named = [path for path in entries if re.fullmatch(r"\d{6,}", path.name) and path.is_dir()]
    return sorted(named, key=lambda path: int(path.name), reverse=True)


def _newest(run: Path, read: Callable[[Path], T]) -> T:
    problems = []
    for folder in checkpoints(run):
        try:
            content = read(folder)
        except RunError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            warnings.warn(f"skipped a damaged checkpoint: {problem}", stacklevel=3)
        return content
    if problems:
        raise RunError(f"{run}: none of its checkpoints can be used; the newest: {problems[0]}")
    anew = typed("metarl", "resume", run)
    raise RunError(f"{run}: holds no finished checkpoint yet; `{anew}` starts it anew")


def _read_checkpoint(folder: Path) -> tuple[TrainConfig, TrainState]:
    def like(saved: SavedPolicy) -> dict[str, Tensor]:
        return training_tensors(starting_state(saved.config, seed=0))

    saved, counters, tensors = read_training(folder, TRAINING_FORMAT, COUNTERS, like)
    try:
        generators = Generators.from_state(_named(tensors, STREAM))
    except RuntimeError as error:
        raise RunError(f"{folder / TRAINING_STATE}: {error}") from None
    return saved.config, replace(
        TrainState(saved.params, generators, _named(tensors, OPTIMIZER), _named(tensors, CHOICE)),
        **counters,
    )


def training_tensors(state: TrainState) -> dict[str, Tensor]:
    """Tensors of a training state beside the policy, by name."""
    streams = {STREAM + name: value for name, value in state.generators.state().items()}
    optimizer = {OPTIMIZER + name: value for name, value in state.optimizer.items()}
    return streams | optimizer | {CHOICE + name: value for name, value in state.choice.items()}


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors with a prefix, by their names without it."""
    return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}


def _prune(newest: Path, keep: int) -> None:
    """Drop old checkpoints, but no higher numbers: damaged ones that a resumption skipped."""
    older = [path for path in checkpoints(newest.parents[1]) if int(path.name) < int(newest.name)]
    for path in older[max(keep, 1) - 1 :]:
        remove_folder(path)
    _clear(newest.parent, "*.tmp")


def _saved(config: TrainConfig, params: Params, noted: Mapping[str, Any]) -> SavedPolicy:
    return SavedPolicy(policy_of(config), params, config, dict(noted))
