"""Train, or train a baseline: each call makes one run folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Generator

from metarl.adaptation.losses import InnerLoss
from metarl.api.families import family_words, known
from metarl.api.memory import check_memory
from metarl.api.run import Run, RunLike, default_folder, folder_of
from metarl.errors import Interrupted
from metarl.methods.baselines import ENV_STEPS, RANDOM, baseline_recipe, iterations
from metarl.methods.config import Device, TrainConfig, with_settings
from metarl.methods.families import recipe
from metarl.methods.settings import BASELINE_SETTINGS, SETTINGS
from metarl.outer.state import TrainState
from metarl.process import command_line, typed
from metarl.runs import wandb_logging
from metarl.runs.checkpoint import save_checkpoint, save_policy_checkpoint
from metarl.runs.run_folder import create_run, locked
from metarl.training.baseline_start import load_start, untrained_params
from metarl.training.trainer import initial_state
from metarl.training.trainer import train as train_loop
from metarl.training.warm_start import state_from
from metarl_envs import EngineName, InputError, TaskFamily, Tasks, unknown_name
from metarl_envs.inputs.numbers import whole

Number = float | Sequence[float]


class Beginning(NamedTuple):
    """A run as its training begins or goes on."""

    folder: Path
    config: TrainConfig
    iteration: int
    """Iterations done before."""
    task: Tasks | None = None
    """The only task of a baseline from scratch."""


Announce = Callable[[Beginning], None]


def say_nothing(beginning: Beginning) -> None:
    """Announce nothing."""
    del beginning


def train(
    family: str | TaskFamily,
    *,
    method: str = "maml-trpo",
    iterations: int | None = None,
    meta_batch_size: int | None = None,
    episodes_per_task: int | None = None,
    horizon: int | None = None,
    adaptation_steps: int | None = None,
    inner_lr: float | None = None,
    inner_loss: InnerLoss | None = None,
    first_order: bool = False,
    max_kl: float | None = None,
    gae_lambda: float | None = None,
    seed: int | None = None,
    start: RunLike | None = None,
    settings: Mapping[str, Any] | None = None,
    device: Device | None = None,
    engine: EngineName | None = None,
    sim_threads: int | None = None,
    checkpoint_every: int | None = None,
    wandb: str | None = None,
    run: str | Path | None = None,
    progress: bool = False,
) -> Run:
    """Meta-train a policy on a task family into a new run folder: `metarl train`.

    Several seeds: `[metarl.train(family, seed=seed) for seed in (0, 1, 2)]`. Ctrl-C stops after
    the iteration, once it is saved, by raising `metarl.errors.Interrupted`; `metarl.resume` goes
    on.

    Args:
        family: a family's name, FILE.py:NAME (the file is run), or the family itself.
        method: how to meta-learn; `metarl methods` lists them.
        iterations: meta-iterations. What is None comes from the family's recipe.
        meta_batch_size: tasks per meta-iteration.
        episodes_per_task: before and after each adaptation step.
        horizon: steps per episode.
        adaptation_steps: inner adaptation steps.
        inner_lr: size of an inner gradient step.
        inner_loss: "log_prob" as in MAML, "ratio" as in ProMP, "clipped" as in PPO.
        first_order: drop second derivatives.
        max_kl: radius of the outer trust region, nats.
        gae_lambda: bias-variance balance of the advantages, 0 to 1.
        seed: root of all random numbers.
        start: a run or policy to begin with; its network is kept.
        settings: any other setting by its name, such as {"outer.clip": 0.2}.
        device: where meta-updates run: "auto", "cpu" or "cuda".
        engine: what simulates: "auto", "cpu" or "warp"; auto is warp on a GPU.
        sim_threads: simulator threads (None: all cores); the result does not depend on it.
        checkpoint_every: iterations between checkpoints.
        wandb: a project of Weights & Biases to log to, too.
        run: the folder to make (None: runs/FAMILY-METHOD-SEED).
        progress: show it on stderr.

    Raises:
        InputError: for a value that is not allowed, before anything is written.
        RunError: if the folder cannot be made.
        Interrupted, NonFiniteUpdateError, FaultError: as `metarl.training.trainer.train`.
    """
    given = {
        "iterations": iterations,
        "meta_batch_size": meta_batch_size,
        "episodes_per_task": episodes_per_task,
        "horizon": horizon,
        "adaptation_steps": adaptation_steps,
        "inner_lr": inner_lr,
        "inner_loss": inner_loss,
        "first_order": first_order or None,
        "max_kl": max_kl,
        "gae_lambda": gae_lambda,
        "seed": seed,
        "device": device,
        "engine": engine,
        "sim_threads": sim_threads,
        "checkpoint_every": checkpoint_every,
    }
    config = train_config(family, method, given, settings or {})
    folder = None if run is None else Path(run)
    return train_run(config, folder, start, tuple(settings or ()), wandb=wandb, progress=progress)


def train_config(
    family: str | TaskFamily,
    method: str,
    given: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> TrainConfig:
    """The family's recipe under a method, with what was given.

    Args:
        family: see `train`.
        method: by name.
        given: options by their names; None: not given.
        settings: any other settings by their dotted names.

    Raises:
        InputError: for a value that is not allowed, an unknown family, method or setting, or CUDA
            without a GPU.
    """
    config = recipe(known(family).name, method)
    # By identity: 0 is a value that was given, and has to be refused where it is wrong.
    options = {SETTINGS[name]: value for name, value in given.items() if value is not None}
    config = with_settings(with_settings(config, options), settings)
    config.check_machine()
    return config


def train_run(
    config: TrainConfig,
    folder: Path | None = None,
    start: RunLike | None = None,
    chosen: Sequence[str] = (),
    *,
    wandb: str | None = None,
    progress: bool = False,
    announce: Announce = say_nothing,
) -> Run:
    """Meta-train what a configuration says, in a new folder.

    Args:
        config: of the run.
        folder: to make; None: named after the configuration.
        start: a run or policy to begin with.
        chosen: names of settings that a person chose, which a start may not overrule.
        wandb: project of Weights & Biases.
        progress: show it.
        announce: told when everything is ready.
    """
    check_memory(config)
    if wandb is not None:
        wandb_logging.check(wandb)
    if start is None:
        state = initial_state(config)
    else:
        config, state = state_from(folder_of(start), config, chosen)
    folder = folder or default_folder(config)
    create_run(folder, config, command_line())
    if wandb is not None:
        wandb_logging.begin(folder, wandb)
    with locked(folder):
        if start is not None:  # so that a run that is stopped at once resumes from there
            save_checkpoint(folder, config, state)
        return meta_trained(folder, config, state, progress, announce)


def baseline(
    name: str,
    family: str | TaskFamily,
    *,
    env_steps: int | None = None,
    worlds: int | None = None,
    horizon: int | None = None,
    start: RunLike | None = None,
    task: Mapping[str, Number] | Tasks | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    sim_threads: int | None = None,
    wandb: str | None = None,
    run: str | Path | None = None,
    progress: bool = False,
    announce: Announce = say_nothing,
) -> Run:
    """Train what meta-learning is measured against, as a run like any other: `metarl baseline`.

    Args:
        name: "random", "scratch", "robust", "finetuned" or "oracle".
        family: see `train`.
        env_steps: environment steps in all, rounded up to whole iterations (None: 2,000,000).
        worlds: at a time, each with a task of its own (None: 64; scratch: 8).
        horizon: steps per episode (None: the family's).
        start: for finetuned, the policy to start from.
        task: for scratch, the only task, such as {"velocity": 1.5} (None: drawn from test).
        seed: root of all random numbers.
        settings: any other setting by its name, such as {"outer.clip": 0.1}.
        sim_threads: simulator threads (None: all cores); the result does not depend on it.
        wandb: a project of Weights & Biases to log to, too.
        run: the folder to make (None: runs/FAMILY-NAME-SEED).
        progress: show it on stderr.
        announce: told when everything is ready.

    Raises:
        InputError: for a value that is not allowed, or one of another baseline.
        ModuleNotFoundError: without Stable-Baselines3 (the extra sb3).
        RunError, Interrupted, FaultError: as `train`.
    """
    for option, value, owner in (("start", start, "finetuned"), ("task", task, "scratch")):
        if value is not None and name != owner:
            raise InputError(f"--{option}: for the baseline {owner}, not for {name}")
    given = {
        "seed": seed,
        "meta_batch_size": None if worlds is None else whole("worlds", worlds, 1),
        "horizon": horizon,
        "sim_threads": sim_threads,
    }
    config = baseline_config(name, family, given, settings or {}, env_steps)
    if wandb is not None:
        wandb_logging.check(wandb)
    only = chosen_task(config, task) if name == "scratch" else None
    ready, noted = None, {"iteration": 0, "env_steps": 0}
    if start is not None:
        started, config = load_start(folder_of(start), config)
        ready, noted = started.params, noted | {"start": started.metadata["sha256"]}
    elif name == RANDOM:
        ready = untrained_params(config)
    else:
        check_memory(config)
        require_sb3()
    folder = Path(run) if run is not None else default_folder(config)
    create_run(folder, config, command_line())
    if wandb is not None and ready is None:
        wandb_logging.begin(folder, wandb)
    with locked(folder):
        if ready is None:
            return baseline_trained(folder, config, only, progress, announce)
        announce(Beginning(folder, config, config.iterations))
        save_policy_checkpoint(folder, config, ready, noted)
        return Run(folder, 0)


def baseline_config(
    name: str,
    family: str | TaskFamily,
    given: Mapping[str, Any],
    settings: Mapping[str, Any],
    env_steps: int | None = None,
) -> TrainConfig:
    """A baseline's recipe on a family, with what was given; see `train_config`.

    Raises:
        InputError: for a value that is not allowed, or a setting that means nothing to a baseline.
    """
    for setting in settings:
        if setting not in BASELINE_SETTINGS:
            raise unknown_name(f"setting of {name}", setting, BASELINE_SETTINGS)
    options = {setting: value for setting, value in given.items() if value is not None}
    config = with_settings(baseline_recipe(known(family).name, name), {**options, **settings})
    return for_env_steps(config, ENV_STEPS if env_steps is None else env_steps)


def for_env_steps(config: TrainConfig, env_steps: int) -> TrainConfig:
    """A baseline's configuration with as many iterations as these steps take."""
    count = iterations(config, whole("env_steps", env_steps, least=1))
    return dataclasses.replace(config, iterations=count)


def chosen_task(config: TrainConfig, task: Mapping[str, Number] | Tasks | None) -> Tasks:
    """The only task to train on: as given, or the first test task of the seed."""
    family = config.task_family()
    if task is None:
        return family.sample_tasks(1, Generator().manual_seed(config.seed), "test")
    return task if isinstance(task, Tasks) else family.make_task(task)


def require_sb3() -> None:
    """Fail before anything is written if Stable-Baselines3 is missing.

    Raises:
        ModuleNotFoundError: which the command line answers with the extra to install.
    """
    import stable_baselines3

    del stable_baselines3


def meta_trained(
    folder: Path, config: TrainConfig, state: TrainState, progress: bool, announce: Announce
) -> Run:
    """Meta-train from a state to the end, in a folder that is locked."""
    announce(Beginning(folder, config, state.iteration))
    with _saying_how_to_go_on(folder, config):
        train_loop(config, state, folder, quiet=not progress)
    return Run(folder, config.iterations - state.iteration)


def baseline_trained(
    folder: Path,
    config: TrainConfig,
    task: Tasks | None,
    progress: bool,
    announce: Announce,
    done: int = 0,
    resume: bool = False,
) -> Run:
    """Train a baseline to the end, from its newest checkpoint with `resume`, in a locked folder."""
    from metarl.sb3.training import train_baseline  # an extra, and slow to import

    announce(Beginning(folder, config, done, task))
    with _saying_how_to_go_on(folder, config):
        train_baseline(config, folder, task=task, resume=resume, quiet=not progress)
    return Run(folder, config.iterations - done)


@contextlib.contextmanager
def _saying_how_to_go_on(folder: Path, config: TrainConfig) -> Iterator[None]:
    try:
        yield
    except Interrupted as stop:
        command = typed("metarl", "resume", folder, *family_words(config))
        raise Interrupted(f"{stop}\nmetarl: continue with: {command}") from None
