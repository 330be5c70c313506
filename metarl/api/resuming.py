"""Continue a run, meta-trained or a baseline: `metarl resume`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metarl.api.families import checked_family, known
from metarl.api.run import Run, RunLike, folder_of
from metarl.api.training import (
    Announce,
    baseline_trained,
    for_env_steps,
    meta_trained,
    require_sb3,
    say_nothing,
)
from metarl.errors import RunError
from metarl.methods.baselines import BASELINES, RANDOM
from metarl.methods.config import Device, TrainConfig
from metarl.methods.setup import check_machine
from metarl.process import command_line
from metarl.runs.checkpoint import checkpoints, load_checkpoint, load_policy
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
        iterations: in all, those already done included (None: as saved).
        env_steps: of a baseline, environment steps in all (None: as saved).
        sim_threads: simulator threads (None: as saved); the result does not depend on it.
        device: where meta-updates run (None: as saved).
        engine: what simulates (None: as saved).
        family: the run's family, if it is one of your own.
        progress: show it on stderr.
        announce: told when everything is ready, unless nothing is left to do.

    Raises:
        InputError: for a value that is not allowed.
        RunError: if there is no run, or no checkpoint that training can go on from.
        Interrupted, NonFiniteUpdateError, FaultError: as `train`.
    """
    folder = folder_of(run)
    given = {
        "iterations": iterations,
        "sim_threads": sim_threads,
        "device": device,
        "engine": engine,
    }
    given = {name: value for name, value in given.items() if value is not None}
    named = None if family is None else known(family)
    with locked(folder):
        began = _begun_as(folder)
        if began.method in BASELINES:
            return _resume_baseline(folder, began, given, env_steps, named, progress, announce)
        if env_steps is not None:
            raise InputError(
                "--env-steps: for baselines; how long this run trains is said by --iterations"
            )
        if checkpoints(folder):
            config, state = load_checkpoint(folder)
        else:  # stopped before the first one
            config = began
            checked_family(config, named)
            state = initial_state(config)
        config = _continued(folder, config, given, state.iteration, named)
        check_machine(config)
        if state.iteration >= config.iterations:
            return Run(folder, 0)
        update_run(folder, config, command_line())
        return meta_trained(folder, config, state, progress, announce)


def _begun_as(folder: Path) -> TrainConfig:
    """A run's configuration; its checkpoints can do without the run's config.json."""
    try:
        return load_run_config(folder)
    except RunError:
        if not checkpoints(folder):
            raise
        return load_policy(folder).config


def _resume_baseline(
    folder: Path,
    began: TrainConfig,
    given: Mapping[str, Any],
    env_steps: int | None,
    named: TaskFamily | None,
    progress: bool,
    announce: Announce,
) -> Run:
    for name in ("device", "engine"):
        if name in given:
            raise InputError(f"--{name}: a baseline trains and simulates on the CPU")
    if env_steps is not None:
        if "iterations" in given:
            raise InputError("--iterations and --env-steps: give one of them")
        given = {**given, "iterations": for_env_steps(began, env_steps).iterations}
    family = checked_family(began, named)
    saved = load_policy(folder) if checkpoints(folder) else None
    if began.method == RANDOM or (saved and "start" in saved.metadata):
        raise InputError(f"{folder}: a policy that nothing trains, so there is nothing to go on")
    done = 0 if saved is None else int(saved.metadata["iteration"])
    config = _continued(folder, began, given, done, named)
    if done >= config.iterations:
        return Run(folder, 0)
    noted = None if saved is None else saved.metadata.get("task")
    if began.method == "scratch" and noted is None:
        raise RunError(f"{folder}: stopped before it noted its task; train it anew")
    require_sb3()
    update_run(folder, config, command_line())
    task = None if noted is None else family.make_task(noted)
    return baseline_trained(folder, config, task, progress, announce, done, saved is not None)


def _continued(
    folder: Path,
    config: TrainConfig,
    given: Mapping[str, Any],
    done: int,
    named: TaskFamily | None,
) -> TrainConfig:
    """The configuration with which a run goes on after `done` iterations."""
    if given.get("iterations", done) < done:
        raise InputError(
            f"iterations = {given['iterations']}: {folder} has done {done} already; it is the "
            "number in all"
        )
    return dataclasses.replace(config, **given, origin=checked_family(config, named).origin)
