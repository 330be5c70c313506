"""Continue a run, meta-trained or a baseline: `metarl resume`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from metarl import distributed
from metarl.api.families import checked_family, known
from metarl.api.run import Run, RunLike, folder_of
from metarl.api.together import Start, check_alone, shared
from metarl.api.training import (
    Announce,
    baseline_trained,
    given_settings,
    meta_trained,
    say_nothing,
)
from metarl.errors import RunError
from metarl.methods.baselines import BASELINES, RANDOM, iterations
from metarl.methods.config import Device, TrainConfig
from metarl.methods.setup import check_machine, check_shared
from metarl.process import command_line
from metarl.runs.checkpoint import checkpoints, load_checkpoint, load_policy, tidy
from metarl.runs.run_folder import load_run_config, locked, update_run
from metarl.training.trainer import initial_state
from metarl_envs import EngineName, InputError, TaskFamily


def resume(
    run: RunLike,
    *,
    iterations: int | None = None,
    env_steps: int | None = None,
    sim_threads: int | None = None,
    device: Device | None = None,
    engine: EngineName | None = None,
    family: str | TaskFamily | None = None,
    progress: bool = False,
    announce: Announce = say_nothing,
) -> Run:
    """Continue a run from its newest checkpoint, as if it had never stopped: `metarl resume`.

    Args:
        run: the run, or its folder.
        iterations: in total (None: as saved).
        env_steps: of a baseline, environment steps in total (None: as saved).
        sim_threads: simulator threads (None: as saved); results do not depend on it.
        device: of the meta-updates (None: as saved).
        engine: simulator (None: as saved).
        family: the run's family, if it is your own.
        progress: show it on stderr.
        announce: called when training continues.

    Raises:
        InputError: for a value that is not allowed.
        RunError: if there is no run, or no checkpoint to continue from.
        Interrupted, NonFiniteUpdateError, FaultError: as `train`.
    """
    distributed.join()
    folder = folder_of(run)
    chosen = given_settings(
        {"iterations": iterations, "sim_threads": sim_threads, "device": device, "engine": engine}
    )
    named = None if family is None else known(family)
    with shared(_going_on(folder, chosen, env_steps, named)) as (folder, config, state):
        if state is None:
            return _resume_baseline(folder, config, chosen, env_steps, named, progress, announce)
        if state.iteration >= config.iterations:
            return Run(folder, 0)
        return meta_trained(folder, config, state, progress, announce)


@contextmanager
def _going_on(
    folder: Path, chosen: Mapping[str, Any], env_steps: int | None, named: TaskFamily | None
) -> Iterator[Start]:
    """A run with the state of its newest checkpoint, locked; of a baseline without a state."""
    with locked(folder):
        tidy(folder)
        config = _saved_config(folder)
        if config.method in BASELINES:
            check_alone(f"metarl resume of the baseline {config.method}")
            yield Start(folder, config, None)
            return
        if env_steps is not None:
            raise InputError("--env-steps: for baselines only; use --iterations")
        if checkpoints(folder):
            _, state = load_checkpoint(folder)  # config.json may know of more iterations
        else:  # stopped before the first one
            checked_family(config, named)
            state = initial_state(config)
        config = _continued(folder, config, chosen, state.iteration, named)
        check_machine(config)
        check_shared(config)
        if state.iteration < config.iterations:
            update_run(folder, config, command_line())
        yield Start(folder, config, state)


def _saved_config(folder: Path) -> TrainConfig:
    """A run's configuration, from a checkpoint if config.json is missing."""
    try:
        return load_run_config(folder)
    except RunError:
        if not checkpoints(folder):
            raise
        return load_policy(folder).config


def _resume_baseline(
    folder: Path,
    config: TrainConfig,
    chosen: Mapping[str, Any],
    env_steps: int | None,
    named: TaskFamily | None,
    progress: bool,
    announce: Announce,
) -> Run:
    for name in ("device", "engine"):
        if name in chosen:
            raise InputError(f"--{name}: a baseline trains and simulates on the CPU; leave it out")
    if env_steps is not None:
        if "iterations" in chosen:
            raise InputError("--iterations and --env-steps: give one of them")
        chosen = {**chosen, "iterations": iterations(config, env_steps)}
    family = checked_family(config, named)
    metadata = load_policy(folder).metadata if checkpoints(folder) else {}
    if config.method == RANDOM or "start" in metadata:
        raise InputError(f"{folder}: this policy is not trained, so it cannot be resumed")
    done = int(metadata.get("iteration", 0))
    config = _continued(folder, config, chosen, done, named)
    if done >= config.iterations:
        return Run(folder, 0)
    values = metadata.get("task")
    if config.method == "scratch" and values is None:
        raise RunError(f"{folder}: stopped before its task was saved; train it again")
    import_module("stable_baselines3")  # a missing extra fails before anything is written
    update_run(folder, config, command_line())
    task = None if values is None else family.make_task(values)
    return baseline_trained(folder, config, task, progress, announce, done, resume=bool(metadata))


def _continued(
    folder: Path,
    config: TrainConfig,
    chosen: Mapping[str, Any],
    done: int,
    named: TaskFamily | None,
) -> TrainConfig:
    """The configuration of a run that continues after `done` iterations."""
    if chosen.get("iterations", done) < done:
        raise InputError(
            f"iterations = {chosen['iterations']}: {folder} has done {done} already; give the "
            f"total, at least {done}"
        )
    return dataclasses.replace(config, **chosen, origin=checked_family(config, named).origin)
