"""Evaluate one run, or several and compare them: `metarl evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict, Unpack, overload

from metarl.api.families import policies_of
from metarl.api.results import ComparedRuns, EvaluatedRun
from metarl.api.run import Run, RunLike, folder_of
from metarl.evaluation.adapting import StepKind
from metarl.evaluation.adapting import on_top as on_top_of
from metarl.evaluation.evaluate import BUDGETS
from metarl.evaluation.evaluate import evaluate as measure
from metarl.evaluation.grouping import check_alike
from metarl.methods.config import Device
from metarl.methods.setup import device_named, simulator_threads
from metarl_envs import EngineName, InputError, Split, TaskFamily
from metarl_envs.inputs.numbers import whole


class Measuring(TypedDict, total=False):
    """Keywords of `evaluate` and `compare`."""

    splits: Sequence[Split]
    tasks: int
    episodes: int
    measured: int | None
    steps: int | None
    budgets: Sequence[int] | None
    on_top: StepKind | None
    noise: bool
    seed: int
    device: Device
    engine: EngineName
    sim_threads: int | None
    family: str | TaskFamily | None
    progress: bool


@overload
def evaluate(runs: RunLike, **options: Unpack[Measuring]) -> EvaluatedRun: ...


@overload
def evaluate(runs: Sequence[RunLike], **options: Unpack[Measuring]) -> list[EvaluatedRun]: ...


def evaluate(
    runs: RunLike | Sequence[RunLike], **options: Unpack[Measuring]
) -> EvaluatedRun | list[EvaluatedRun]:
    """The adaptation curve on each split: `metarl evaluate`.

    The return before adaptation, and after adaptation steps on some and all of the episodes; of a
    policy with a memory, the return of the n-th episode of a trial. Writes nothing; `save()` of
    the result does.

    Args:
        runs: a run or policy folder; or several, measured on the same tasks.
        splits: "train", "test", "extrapolation" (empty: all of the family).
        tasks: per split (40).
        episodes: adaptation episodes per task and gradient step; for a policy with a memory: of a
            trial (20).
        measured: episodes of each task that every point is measured on (None: as many as
            `episodes`); of a policy with a memory, trials of each task, at most 5.
        steps: gradient steps (None: as trained; of several runs, the most).
        budgets: also adapt on only the first N of the episodes, for each N: a curve (None: 1, 2 and
            5, if there is one gradient step).
        on_top: "head", "gradient" or "adam": gradient steps besides the memory of methods that
            adapt within the episode (None: no such step).
        noise: keep the policy's action noise, as in training.
        seed: of tasks, resets and actions, independent of training (0).
        device: of the gradients ("auto": a GPU if there is one).
        engine: simulator ("auto": warp on a GPU).
        sim_threads: simulator threads (None: all cores); results do not depend on it.
        family: the runs' family, if it is your own.
        progress: show it on stderr.

    Returns:
        An `EvaluatedRun`; of several runs a list, in their order.

    Raises:
        InputError: for a value that is not allowed, or runs of different families or horizons.
        RunError: if there is no valid policy.
    """
    several = not isinstance(runs, Run | Path | str)
    folders = [folder_of(run) for run in (runs if several else [runs])]
    evaluated = list(each_evaluated(folders, **options))
    return evaluated if several else evaluated[0]


def compare(runs: Sequence[RunLike], **options: Unpack[Measuring]) -> ComparedRuns:
    """Several runs on the same tasks, by method: `metarl evaluate RUN RUN ...`.

    Runs that differ only in the seed are one method. Arguments and errors as for `evaluate`.
    """
    return ComparedRuns.of(evaluate(list(runs), **options))


def each_evaluated(
    runs: Sequence[Path],
    *,
    splits: Sequence[Split] = (),
    tasks: int = 40,
    episodes: int = 20,
    measured: int | None = None,
    steps: int | None = None,
    budgets: Sequence[int] | None = None,
    on_top: StepKind | None = None,
    noise: bool = False,
    seed: int = 0,
    device: Device = "auto",
    engine: EngineName = "auto",
    sim_threads: int | None = None,
    family: str | TaskFamily | None = None,
    progress: bool = False,
) -> Iterator[EvaluatedRun]:
    """Evaluate runs one after the other; yields each as it is measured."""
    if not runs:
        raise InputError("RUN is missing (see metarl evaluate --help)")
    tasks, episodes = whole("tasks", tasks, 1), whole("episodes", episodes, 1)
    threads, torch_device = simulator_threads(sim_threads), device_named(device)
    policies = policies_of(runs, family)
    check_alike(policies)
    within = [saved.config.outer.within_episode for saved in policies]
    if on_top is not None and not any(within):
        on_top_of(policies[0], on_top)  # says why not
    if steps is None:
        steps = max(saved.config.adaptation_steps for saved in policies)
    points = budgets
    if points is None:  # with more steps the curve is one over steps
        points = [number for number in BUDGETS if number < episodes] if steps == 1 else []
    for number, (folder, saved) in enumerate(zip(runs, policies, strict=True), start=1):
        position = f" ({number} of {len(runs)})" if len(runs) > 1 else ""
        evaluation = measure(
            saved if on_top is None or not within[number - 1] else on_top_of(saved, on_top),
            splits=tuple(splits) or None,
            num_tasks=tasks,
            steps=steps,
            episodes_per_step=episodes,
            measured=measured,
            budgets=points,
            explore=noise,
            seed=seed,
            sim_threads=threads,
            device=torch_device,
            engine=engine,
            progress=f"evaluate {folder}{position}" if progress else None,
        )
        if budgets is not None and len(budgets):
            evaluation = evaluation.over_episodes()
        yield EvaluatedRun(folder, saved, evaluation)
