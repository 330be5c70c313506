"""What is printed before and after training: what it is, what came of it, what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.api.families import family_words
from metarl.api.run import results
from metarl.cli.tasks import example_task
from metarl.errors import Interrupted
from metarl.evaluation.labels import task_text
from metarl.methods.baselines import BASELINES, origins
from metarl.methods.config import TrainConfig
from metarl.methods.setup import device_of, family_of
from metarl.process import typed
from metarl.runs.checkpoint import load_policy
from metarl.runs.metrics_log import TENSORBOARD, read_metrics
from metarl.runs.run_folder import BEST
from metarl_envs import InputError, chosen_engine

if TYPE_CHECKING:
    from metarl.api import Run
    from metarl.api.training import Announce, Beginning
    from metarl.cli.options import NewRuns


def announcer(quiet: bool) -> Announce:
    """Prints what begins, or with `quiet` its folder alone."""

    def announce(beginning: Beginning) -> None:
        print(beginning.folder if quiet else announcement(beginning), flush=True)

    return announce


def announcement(beginning: Beginning) -> str:
    """The first lines of a run: family, method, device, seed, folder, and how much is to do."""
    folder, config, done, task = beginning
    left = config.iterations - done
    first = f" from iteration {done}" if done else ""
    title = origins()[config.method].title
    steps = config.meta_batch_size * config.episodes_per_task * config.horizon * left
    threads = f"{config.sim_threads} simulator threads"
    if config.method in BASELINES:
        on = f" on {task_text(family_of(config), task, 0)}" if task is not None else ""
        length = (
            f"{left} iterations{first} of {config.meta_batch_size} worlds x {config.horizon} steps "
            f"= {steps:,} steps, {threads}"
        )
        return (
            f"{config.family} | {title}{on} | seed {config.seed} | {folder}\n"
            f"{length if left else 'nothing to train'}"
        )
    device = device_of(config)
    simulator = threads if chosen_engine(config.engine, device) == "cpu" else "engine warp"
    collections = config.adaptation_steps + 1
    return (
        f"{config.family} | {title} | {device} | {simulator} | seed {config.seed} | {folder}\n"
        f"{left} iterations{first} of {config.meta_batch_size} tasks x {config.episodes_per_task} "
        f"episodes x {config.horizon} steps x {collections} collections = "
        f"{steps * collections:,} steps"
    )


def closing(run: Path, config: TrainConfig) -> list[str]:
    """The last lines of a run: what came of it, and the exact commands that come next."""
    first, *others = results(run, config) or [""]
    shown = [f"\n{first}", *others] if first else []
    own = family_words(config)
    if config.method in BASELINES:
        return [*shown, *_after_baseline(run, config, own)]
    task = example_task(family_of(config))
    return [
        *shown,
        *_validation(run, read_metrics(run), own),
        "next:",
        f"  {typed('metarl', 'evaluate', run, *own)}",
        f"  {typed('metarl', 'adapt', run, *own, '--task', task)}",
        f"  {typed('metarl', 'record', run, *own, '--task', task)}",
        f"  {going_on(run, config)}",
        f"  {typed('tensorboard', '--logdir', run / TENSORBOARD)}",
    ]


def _after_baseline(run: Path, config: TrainConfig, own: Sequence[str]) -> list[str]:
    saved = load_policy(run)
    task = saved.metadata.get("task")
    more = [f"  {going_on(run, config)}"] if saved.metadata["iteration"] else []
    if task is None:
        return ["next:", f"  {typed('metarl', 'evaluate', run, *own)}", *more]
    adapt = typed("metarl", "adapt", run, *own, "--task", *task_words(task))
    return ["next, on its own task:", f"  {adapt}", *more]


def going_on(run: Path, config: TrainConfig) -> str:
    """The command that trains a finished run for as long again."""
    words = ["metarl", "resume", run, "--iterations", 2 * config.iterations]
    return typed(*words, *family_words(config))


def task_words(task: Mapping[str, float | list[float]]) -> list[str]:
    """A task as `--task` reads it, every digit of it."""
    values = {name: value if isinstance(value, list) else [value] for name, value in task.items()}
    return [f"{name}={','.join(map(repr, entry))}" for name, entry in values.items()]


def each_seed(begin: Callable[..., Run], settings: Mapping[str, Any], options: NewRuns) -> int:
    """Train a run for each seed, and print the command that evaluates them together; 0.

    Args:
        begin: `metarl.train` or `metarl.baseline`, with what is the same for all runs.
        settings: that were given.
        options: of the command; without `seeds` there is one run.

    Raises:
        InputError: for a single seed beside several, or one twice.
        Interrupted: with what is done, and how to go on.
    """
    quiet, folder = options.quiet, options.run
    how = {"wandb": options.wandb, "progress": not quiet, "announce": announcer(quiet)}

    def train(settings: Mapping[str, Any], folder: Path | None) -> Run:
        run = begin(settings=settings, run=folder, **how)
        if not quiet:
            print("\n".join(closing(run.folder, run.config)))
        return run

    if not options.seeds:
        train(settings, folder)
        return 0
    if "seed" in settings:
        raise InputError("--seed and --seeds: give one of them")
    if len(set(options.seeds)) < len(options.seeds):
        raise InputError(f"--seeds {' '.join(map(str, options.seeds))}: each seed once")
    runs: list[Run] = []
    for position, seed in enumerate(options.seeds, start=1):
        own = folder and folder.with_name(f"{folder.name}-{seed}")
        try:
            runs.append(train({**settings, "seed": seed}, own))
        except Interrupted as stop:
            finished = ", ".join(str(run.folder) for run in runs) or "none yet"
            text = f"{stop}\nmetarl: finished: {finished}"
            if left := options.seeds[position:]:
                others = " ".join(map(str, left))
                text += f"\nmetarl: not begun: the same command with --seeds {others}"
            raise Interrupted(text) from None
    if not quiet:
        words = [*(run.folder for run in runs), *family_words(runs[0].config)]
        command = typed("metarl", "evaluate", *words)
        print(f"\n{len(runs)} seeds; to measure them together:\n  {command}")
    return 0


def _validation(run: Path, lines: list[dict[str, Any]], own: Sequence[str]) -> list[str]:
    """The last evaluation on validation tasks, and the best policy where the last is clearly worse.

    Every number is of the mean action; a value that was not finite is null in the log.
    """
    evaluated = [line for line in lines if "eval/return_post" in line]
    if not evaluated:
        return []
    last = evaluated[-1]

    def shown(name: str) -> str:
        return "none" if last[name] is None else f"{last[name]:.1f}"

    found = (
        f"  validation, iteration {last['iteration']}: return {shown('eval/return_pre')} before "
        f"adaptation, {shown('eval/return_post')} after, {shown('eval/return_other')} by another "
        "task's"
    )
    if not last["health/worse"] or not (run / BEST).is_dir():
        return [found]
    measure = typed("metarl", "evaluate", run / BEST, *own)
    return [
        found,
        f"  better was iteration {last['eval/best_iteration']:.0f}: "
        f"{last['eval/best_return_post']:.1f}; to measure it: {measure}",
    ]
