"""Meta-train a policy or train a baseline; each call makes one run folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from torch import Generator

from metarl import distributed
from metarl.api.families import family_words, known
from metarl.api.new_runs import begun_before, new_run
from metarl.api.run import Run, RunLike, folder_of
from metarl.api.together import Start, check_alone, shared
from metarl.errors import Interrupted
from metarl.methods.baselines import ENV_STEPS, RANDOM, baseline_recipe, iterations
from metarl.methods.config import TrainConfig, with_settings
from metarl.methods.families import recipe
from metarl.methods.settings import BASELINE_SETTINGS
from metarl.methods.setup import check_machine, check_shared, family_of
from metarl.outer.state import TrainState
from metarl.process import command_line, typed
from metarl.runs import wandb_logging
from metarl.runs.checkpoint import (
    checkpoints,
    load_checkpoint,
    save_checkpoint,
    save_policy_checkpoint,
    tidy,
)
from metarl.runs.run_folder import locked, update_run
from metarl.training.given_teacher import check_has_teacher, with_teacher
from metarl.training.trainer import initial_state
from metarl.training.trainer import train as train_loop
from metarl.training.warm_start import load_start, state_from, untrained_params
from metarl_envs import InputError, TaskFamily, Tasks, unknown_name
from metarl_envs.inputs.numbers import whole

Number = float | Sequence[float]


class Beginning(NamedTuple):
    """A run whose training begins or continues."""

    folder: Path
    config: TrainConfig
    iteration: int
    """Iterations done already."""
    task: Tasks | None = None
    """The task of the baseline scratch."""


Announce = Callable[[Beginning], None]


def say_nothing(beginning: Beginning) -> None:
    """Announce nothing."""
    del beginning


def train(
    family: str | TaskFamily,
    *,
    method: str = "maml-trpo",
    start: RunLike | None = None,
    teacher: RunLike | None = None,
    settings: Mapping[str, Any] | None = None,
    wandb: str | None = None,
    run: str | Path | None = None,
    progress: bool = False,
    announce: Announce = say_nothing,
    **options: Any,  # noqa: ANN401 - each of its own type
) -> Run:
    """Meta-train a policy on a task family into a new run folder: `metarl train`.

    In a program that torchrun started in several processes, they train one run together: each calls
    this with the same arguments, and the first one writes. Where torchrun starts them again after a
    fault, the run goes on from its newest checkpoint.

    Several seeds: `[metarl.train(family, seed=seed) for seed in (0, 1, 2)]`. Ctrl-C raises
    `metarl.errors.Interrupted` once the iteration is finished and saved; `metarl.resume` continues.

    Args:
        family: a family's name, FILE.py:NAME (the file is run), or the family itself.
        method: meta-learning method; `metarl methods` lists them.
        start: a run or policy to start from; its network is kept.
        teacher: a run or policy that observes the task, such as of the baseline oracle, for the
            method teacher-student; None: the run trains one first.
        settings: by dotted name, such as {"outer.clip": 0.2}; the others come from the recipe.
            `metarl train FAMILY --method METHOD --help-all` lists them.
        wandb: also log to this project of Weights & Biases.
        run: folder to make (None: runs/FAMILY-METHOD-SEED).
        progress: show it on stderr.
        announce: called when training begins.
        **options: settings without a dot in their names, such as iterations=100, seed=3,
            device="cpu"; None: as in the recipe.

    Raises:
        InputError: for a value that is not allowed, before anything is written.
        RunError: if the folder cannot be made.
        Interrupted, NonFiniteUpdateError, FaultError, LostProcessError: as
            `metarl.training.trainer.train`.
    """
    distributed.join()
    chosen, family = given_settings(options, settings), known(family)
    begun = _begun(family, method, start, teacher, chosen, wandb, run)
    with shared(begun) as (folder, config, state):
        assert state is not None
        return meta_trained(folder, config, state, progress, announce)


@contextlib.contextmanager
def _begun(
    family: TaskFamily,
    method: str,
    start: RunLike | None,
    teacher: RunLike | None,
    chosen: Mapping[str, Any],
    wandb: str | None,
    run: str | Path | None,
) -> Iterator[Start]:
    """A new run, or the one that this launch began before torchrun started it again."""
    config = train_config(family, method, chosen)
    if wandb is not None:
        wandb_logging.check(wandb)
    state = None
    if start is not None:
        config, state = state_from(folder_of(start), config, chosen)
    if teacher is None:
        check_has_teacher(config)
    else:
        config, state = with_teacher(folder_of(teacher), config, state, chosen)
    state = initial_state(config) if state is None else state
    if (before := begun_before(run, config)) is not None:
        with locked(before):
            tidy(before)
            if checkpoints(before):
                _, state = load_checkpoint(before)
            update_run(before, config, command_line())
            yield Start(before, config, state)
        return

    def keep_start(folder: Path) -> None:  # a run stopped at once resumes from it
        if start is not None or teacher is not None:
            save_checkpoint(folder, config, state)

    with new_run(run, config, wandb, keep_start) as folder:
        yield Start(folder, config, state)


def given_settings(
    options: Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Settings from keywords, where None means left out, and from a mapping."""
    return {n: value for n, value in options.items() if value is not None} | dict(settings or {})


def train_config(family: str | TaskFamily, method: str, chosen: Mapping[str, Any]) -> TrainConfig:
    """The recipe of family and method with the chosen settings.

    Raises:
        InputError: for a value that is not allowed, an unknown family, method or setting, a device
            or size that this machine does not have, or tasks that the processes of a launch cannot
            share.
    """
    config = with_settings(recipe(known(family).name, method), chosen)
    check_machine(config)
    check_shared(config)
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
    """Train a baseline to compare meta-learning with, as a run like any other: `metarl baseline`.

    Args:
        name: "random", "scratch", "robust", "frame-stack", "finetuned" or "oracle".
        family: see `train`.
        env_steps: environment steps in total, rounded up to whole iterations (None: 2,000,000).
        worlds: in parallel, each with its own task (None: 64; scratch: 8).
        start: finetuned: the run to start from (None: a robust policy is trained first).
        task: scratch: the task, such as {"velocity": 1.5} (None: sampled from test).
        settings: by dotted name, such as {"outer.clip": 0.1}; see BASELINE_SETTINGS.
        run: folder to make (None: runs/FAMILY-NAME-SEED).
        wandb, progress, announce, **options: see `train`.

    Raises:
        InputError: for a value that is not allowed, or an option of another baseline.
        ModuleNotFoundError: without Stable-Baselines3 (the extra sb3).
        RunError, Interrupted, FaultError: as `train`.
    """
    check_alone(f"metarl baseline {name}")
    if wandb is not None:
        wandb_logging.check(wandb)
    for option, value, owner in (("start", start, "finetuned"), ("task", task, "scratch")):
        if value is not None and name != owner:
            raise InputError(f"--{option}: for the baseline {owner}, not for {name}")
    config = baseline_config(name, family, given_settings(options, settings), env_steps, worlds)
    only_task = chosen_task(config, task) if name == "scratch" else None
    params, metadata = None, {"iteration": 0, "env_steps": 0}
    if start is not None:
        policy, config = load_start(folder_of(start), config)
        params, metadata = policy.params, metadata | {"start": policy.metadata["sha256"]}
    elif name == RANDOM:
        params = untrained_params(config)
    else:
        check_machine(config)
        import_module("stable_baselines3")  # a missing extra fails before anything is written

    def keep_policy(folder: Path) -> None:
        if params is not None:
            save_policy_checkpoint(folder, config, params, metadata)
        elif only_task is not None:
            from metarl.sb3.training import save_untrained  # an extra, and slow to import

            save_untrained(config, folder, only_task)

    with new_run(run, config, wandb if params is None else None, keep_policy) as folder:
        if params is None:
            return baseline_trained(folder, config, only_task, progress, announce)
        announce(Beginning(folder, config, config.iterations))
        return Run(folder, 0)


def baseline_config(
    name: str,
    family: str | TaskFamily,
    chosen: Mapping[str, Any],
    env_steps: int | None = None,
    worlds: int | None = None,
) -> TrainConfig:
    """A baseline's recipe on a family with the chosen settings; see `baseline`.

    Raises:
        InputError: for a value that is not allowed, or a setting that baselines do not have.
    """
    for setting in chosen:
        if setting not in BASELINE_SETTINGS:
            raise unknown_name(f"setting of {name}", setting, BASELINE_SETTINGS)
    config = with_settings(baseline_recipe(known(family).name, name), chosen)
    if worlds is not None:
        config = dataclasses.replace(config, meta_batch_size=whole("worlds", worlds, 1))
    count = iterations(config, ENV_STEPS if env_steps is None else env_steps)
    return dataclasses.replace(config, iterations=count)


def chosen_task(config: TrainConfig, task: Mapping[str, Number] | Tasks | None) -> Tasks:
    """The task to train on: as given, or the first test task of the seed."""
    family = family_of(config)
    if task is None:
        return family.sample_tasks(1, Generator().manual_seed(config.seed), "test")
    return task if isinstance(task, Tasks) else family.make_task(task)


def meta_trained(
    folder: Path, config: TrainConfig, state: TrainState, progress: bool, announce: Announce
) -> Run:
    """Meta-train from a state to the end, in a locked folder."""
    if distributed.rank() == 0:
        announce(Beginning(folder, config, state.iteration))
    with _naming_resume(folder, config):
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
    with _naming_resume(folder, config):
        train_baseline(config, folder, task=task, resume=resume, quiet=not progress)
    return Run(folder, config.iterations - done)


@contextlib.contextmanager
def _naming_resume(folder: Path, config: TrainConfig) -> Iterator[None]:
    """Add the command that continues the run to the message of `Interrupted`."""
    try:
        yield
    except Interrupted as stop:
        command = typed("metarl", "resume", folder, *family_words(config))
        raise Interrupted(f"{stop}\nmetarl: continue with: {command}") from None
