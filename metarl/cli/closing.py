"""Lines printed before and after training: the run, its results and the next commands."""

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
from metarl.process import counted, typed
from metarl.runs.checkpoint import load_policy
from metarl.runs.metrics_log import TENSORBOARD, read_metrics
from metarl.runs.run_folder import BEST
from metarl_envs import InputError, chosen_engine

if TYPE_CHECKING:
    from metarl.api import Run
    from metarl.api.training import Announce, Beginning
    from metarl.cli.options import NewRuns


def announcer(quiet: bool) -> Announce:
    """A printer of the runs that begin, or with `quiet` of their folders."""

    def announce(beginning: Beginning) -> None:
        print(beginning.folder if quiet else announcement(beginning), flush=True)

    return announce


def announcement(beginning: Beginning) -> str:
    """The first lines of a run: family, method, device, seed, folder, and its size."""
    folder, config, done, task = beginning
    device, iterations = device_of(config), config.iterations - done
    cpu = chosen_engine(config.engine, device) == "cpu"
    header = (
        config.family,
        origins()[config.method].title
        + (f" on {task_text(family_of(config), task, 0)}" if task is not None else ""),
        f"{device}",
        counted(config.sim_threads, "simulator thread") if cpu else "engine warp",
        f"seed {config.seed}",
        f"{folder}",
    )
    size = _size(config, done) if iterations else "nothing to train"
    return f"{' | '.join(header)}\n{size}"


def _size(config: TrainConfig, done: int) -> str:
    """Iterations and environment steps that are left, of each phase and in all."""
    left, samples = [], config.meta_batch_size * config.episodes_per_task * config.horizon
    start = f" from iteration {done}" if done else ""
    text = f"{counted(config.iterations - done, 'iteration')}{start} of"
    if config.method in BASELINES:
        steps = samples * (config.iterations - done)
        return f"{text} {config.meta_batch_size} worlds x {config.horizon} steps = {steps:,} steps"
    for phase in config.outer.phases(config.iterations, config.adaptation_steps):
        count = max(0, phase.iterations - done)
        done = max(0, done - phase.iterations)
        left += [phase._replace(iterations=count)] if count else []
    steps = samples * sum(phase.iterations * phase.collections for phase in left)
    each = (
        f"{counted(config.meta_batch_size, 'task')} x "
        f"{counted(config.episodes_per_task, 'episode')} x {counted(config.horizon, 'step')}"
    )
    if not left[0].name:
        return f"{text} {each} x {counted(left[0].collections, 'collection')} = {steps:,} steps"
    phases = ", ".join(
        f"{phase.name}: {phase.iterations} x {counted(phase.collections, 'collection')}"
        for phase in left
    )
    return f"{text} {each}; {phases} = {steps:,} steps"


def closing(run: Path, config: TrainConfig) -> list[str]:
    """The last lines of a run: its results and the exact next commands."""
    lines = results(run, config)
    if lines:
        lines[0] = f"\n{lines[0]}"
    family = family_words(config)
    resume = f"  {longer_run(run, config)}"
    if config.method not in BASELINES:
        task = example_task(family_of(config))
        return [
            *lines,
            *_validation(run, family, adapts=not config.outer.within_episode),
            "next:",
            f"  {typed('metarl', 'evaluate', run, *family)}",
            f"  {typed('metarl', 'adapt', run, *family, '--task', task)}",
            f"  {typed('metarl', 'record', run, *family, '--task', task)}",
            resume,
            f"  {typed('tensorboard', '--logdir', run / TENSORBOARD)}",
        ]
    metadata = load_policy(run).metadata
    task = metadata.get("task")
    if task is None:
        lines += ["next:", f"  {typed('metarl', 'evaluate', run, *family)}"]
    else:
        adapt = typed("metarl", "adapt", run, *family, "--task", *task_words(task))
        lines += ["next, on its own task:", f"  {adapt}"]
    return [*lines, *([resume] if metadata["iteration"] else [])]


def longer_run(run: Path, config: TrainConfig) -> str:
    """The command that trains a finished run for as long again."""
    words = ["metarl", "resume", run, "--iterations", 2 * config.iterations]
    return typed(*words, *family_words(config))


def task_words(task: Mapping[str, float | list[float]]) -> list[str]:
    """A task as words for `--task`, with every digit."""
    values = {name: value if isinstance(value, list) else [value] for name, value in task.items()}
    return [f"{name}={','.join(map(repr, entry))}" for name, entry in values.items()]


def each_seed(begin: Callable[..., Run], settings: Mapping[str, Any], options: NewRuns) -> int:
    """Train a run for each seed, and print the command that evaluates them together; 0.

    Args:
        begin: `metarl.train` or `metarl.baseline`, with the arguments that all runs share.
        settings: on the command line.
        options: of the command; without `seeds` there is one run.

    Raises:
        InputError: for --seed beside --seeds, or a repeated seed.
        Interrupted: naming the finished runs and the seeds that remain.
    """

    def train(settings: Mapping[str, Any], folder: Path | None) -> Run:
        run = begin(
            settings=settings,
            run=folder,
            wandb=options.wandb,
            progress=not options.quiet,
            announce=announcer(options.quiet),
        )
        if not options.quiet:
            print("\n".join(closing(run.folder, run.config)))
        return run

    seeds, folder = options.seeds, options.run
    if not seeds:
        train(settings, folder)
        return 0
    if "seed" in settings:
        raise InputError("--seed and --seeds: give one of them")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {' '.join(map(str, seeds))}: each seed once")
    runs: list[Run] = []
    for seed in seeds:
        seed_folder = folder and folder.with_name(f"{folder.name}-{seed}")
        try:
            runs.append(train({**settings, "seed": seed}, seed_folder))
        except Interrupted as stop:
            text = f"{stop}\nmetarl: finished: {', '.join(str(r.folder) for r in runs) or 'none'}"
            if remaining := " ".join(map(str, seeds[len(runs) + 1 :])):
                text += f"\nmetarl: not begun: the same command with --seeds {remaining}"
            raise Interrupted(text) from None
    if not options.quiet:
        folders = [run.folder for run in runs]
        command = typed("metarl", "evaluate", *folders, *family_words(runs[0].config))
        print(f"\n{len(runs)} seeds; evaluate them together:\n  {command}")
    return 0


def _validation(run: Path, family: Sequence[str], *, adapts: bool) -> list[str]:
    """The last evaluation on validation tasks, and the best policy if the last is clearly worse.

    Returns are of the mean action; a non-finite value is null in the log.
    """
    evaluations = [line for line in read_metrics(run) if "eval/return_post" in line]
    if not evaluations:
        return []
    last = evaluations[-1]
    before, after, other = (
        "none" if last[f"eval/return_{name}"] is None else f"{last[f'eval/return_{name}']:.1f}"
        for name in ("pre", "post", "other")
    )
    words = (
        f"return {before} before adaptation, {after} after, {other} adapted to another task"
        if adapts
        else f"return {before} in a trial's first episode, {after} in its second, {other} there "
        "with the memory of another task"
    )
    lines = [f"  validation, iteration {last['iteration']}: {words}"]
    if last["health/worse"] and (run / BEST).is_dir():
        lines.append(
            f"  iteration {last['eval/best_iteration']:.0f} was better, with return "
            f"{last['eval/best_return_post']:.1f}; evaluate it: "
            f"{typed('metarl', 'evaluate', run / BEST, *family)}"
        )
    return lines
