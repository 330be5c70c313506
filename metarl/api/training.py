"""Train, or train a baseline: each call makes one run folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Generator

from metarl.api.families import family_words, known
from metarl.api.memory import check_memory
from metarl.api.run import Run, RunLike, default_folder, folder_of
from metarl.errors import Interrupted
from metarl.methods.baselines import ENV_STEPS, RANDOM, baseline_recipe, iterations
from metarl.methods.config import TrainConfig, with_settings
from metarl.methods.families import recipe
from metarl.methods.settings import BASELINE_SETTINGS
from metarl.methods.setup import check_machine, family_of
from metarl.outer.state import TrainState
from metarl.process import command_line, typed
from metarl.runs import wandb_logging
from metarl.runs.checkpoint import save_checkpoint, save_policy_checkpoint
from metarl.runs.run_folder import create_run, locked
from metarl.training.trainer import initial_state
from metarl.training.trainer import train as train_loop
from metarl.training.warm_start import load_start, state_from, untrained_params
from metarl_envs import InputError, TaskFamily, Tasks, unknown_name
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
    start: RunLike | None = None,
    settings: Mapping[str, Any] | None = None,
    wandb: str | None = None,
    run: str | Path | None = None,
    progress: bool = False,
    announce: Announce = say_nothing,
    **options: Any,  # noqa: ANN401 - each of its own type
) -> Run:
    """Meta-train a policy on a task family into a new run folder: `metarl train`.

    Several seeds: `[metarl.train(family, seed=seed) for seed in (0, 1, 2)]`. Ctrl-C stops after
    the iteration, once it is saved, by raising `metarl.errors.Interrupted`; `metarl.resume` goes
    on.

    Args:
        family: a family's name, FILE.py:NAME (the file is run), or the family itself.
        method: how to meta-learn; `metarl methods` lists them.
        start: a run or policy to begin with; its network is kept.
        settings: by their dotted names, such as {"outer.clip": 0.2}; what is left out comes from
            the recipe. `metarl train FAMILY --method METHOD --help-all` lists them.
        wandb: a project of Weights & Biases to log to, too.
        run: the folder to make (None: runs/FAMILY-METHOD-SEED).
        progress: show it on stderr.
        announce: told when everything is ready.
        **options: settings whose names have no dot, such as iterations=100, seed=3, horizon=200,
            device="cpu"; None: as in the recipe.

    Raises:
        InputError: for a value that is not allowed, before anything is written.
        RunError: if the folder cannot be made.
        Interrupted, NonFiniteUpdateError, FaultError: as `metarl.training.trainer.train`.
    """
    given = given_settings(options, settings)
    config = train_config(family, method, given)
    check_memory(config)
    if wandb is not None:
        wandb_logging.check(wandb)
    if start is None:
        state = initial_state(config)
    else:
        config, state = state_from(folder_of(start), config, given)
    folder = default_folder(config) if run is None else Path(run)
    create_run(folder, config, command_line())
    if wandb is not None:
        wandb_logging.begin(folder, wandb)
    with locked(folder):
        if start is not None:  # so that a run that is stopped at once resumes from there
            save_checkpoint(folder, config, state)
        return meta_trained(folder, config, state, progress, announce)


def given_settings(
    options: Mapping[str, Any], settings: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Settings given as keywords, where None means not given, and in a mapping."""
    # By identity: 0 is a value that was given, and has to be refused where it is wrong.
    return {name: value for name, value in options.items() if value is not None} | {
        **(settings or {})
    }


def train_config(family: str | TaskFamily, method: str, given: Mapping[str, Any]) -> TrainConfig:
    """The family's recipe under a method, with the settings that were given.

    Raises:
        InputError: for a value that is not allowed, an unknown family, method or setting, or CUDA
            without a GPU.
    """
    config = with_settings(recipe(known(family).name, method), given)
    check_machine(config)
    return config


def baseline(
    name: str,
    family: str | TaskFamily,
    *,
    env_steps: int | None = None,
    worlds: int | None = None,
    start: RunLike | None = None,
    task: Mapping[str, Number] | Tasks | None = None,
    settings: Mapping[str, Any] | None = None,
    wandb: str | None = None,
    run: str | Path | None = None,
    progress: bool = False,
    announce: Announce = say_nothing,
    **options: Any,  # noqa: ANN401 - each of its own type
) -> Run:
    """Train what meta-learning is measured against, as a run like any other: `metarl baseline`.

    Args:
        name: "random", "scratch", "robust", "finetuned" or "oracle".
        family: see `train`.
        env_steps: environment steps in all, rounded up to whole iterations (None: 2,000,000).
        worlds: at a time, each with a task of its own (None: 64; scratch: 8).
        start: for finetuned, the policy to start from.
        task: for scratch, the only task, such as {"velocity": 1.5} (None: drawn from test).
        settings: by their dotted names, such as {"outer.clip": 0.1}; see BASELINE_SETTINGS.
        wandb: a project of Weights & Biases to log to, too.
        run: the folder to make (None: runs/FAMILY-NAME-SEED).
        progress: show it on stderr.
        announce: told when everything is ready.
        **options: settings whose names have no dot: horizon, seed, sim_threads, ...

    Raises:
        InputError: for a value that is not allowed, or one of another baseline.
        ModuleNotFoundError: without Stable-Baselines3 (the extra sb3).
        RunError, Interrupted, FaultError: as `train`.
    """
    for option, value, owner in (("start", start, "finetuned"), ("task", task, "scratch")):
        if value is not None and name != owner:
            raise InputError(f"--{option}: for the baseline {owner}, not for {name}")
    config = baseline_config(name, family, given_settings(options, settings), env_steps, worlds)
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
    env_steps: int | None = None,
    worlds: int | None = None,
) -> TrainConfig:
    """A baseline's recipe on a family, with the settings that were given; see `baseline`.

    Raises:
        InputError: for a value that is not allowed, or a setting that means nothing to a baseline.
    """
    for setting in given:
        if setting not in BASELINE_SETTINGS:
            raise unknown_name(f"setting of {name}", setting, BASELINE_SETTINGS)
    config = with_settings(baseline_recipe(known(family).name, name), given)
    if worlds is not None:
        config = dataclasses.replace(config, meta_batch_size=whole("worlds", worlds, 1))
    return for_env_steps(config, ENV_STEPS if env_steps is None else env_steps)


def for_env_steps(config: TrainConfig, env_steps: int) -> TrainConfig:
    """A baseline's configuration with as many iterations as these steps take."""
    count = iterations(config, whole("env_steps", env_steps, least=1))
    return dataclasses.replace(config, iterations=count)


def chosen_task(config: TrainConfig, task: Mapping[str, Number] | Tasks | None) -> Tasks:
    """The only task to train on: as given, or the first test task of the seed."""
    family = family_of(config)
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
