"""Test whether adaptation can help on a family: `metarl diagnose`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from metarl.api.families import known
from metarl.api.results import DiagnosedFamily
from metarl.api.run import RunLike, folder_of
from metarl.api.training import Announce, baseline, say_nothing
from metarl.evaluation.diagnosis import diagnose as conclude
from metarl.evaluation.evaluate import adapts, evaluate
from metarl.evaluation.grouping import check_alike, labels
from metarl.evaluation.results import Evaluation
from metarl.methods.baselines import baseline_recipe
from metarl.methods.setup import family_of, policy_of, simulator_threads
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl.runs.places import free_folder
from metarl.training.warm_start import untrained_params
from metarl_envs import InputError, TaskFamily
from metarl_envs.inputs.numbers import whole, wholes


def diagnose(
    family: str | TaskFamily,
    *,
    env_steps: int | None = None,
    seeds: Sequence[int] = (0,),
    robust: Sequence[RunLike] = (),
    oracle: Sequence[RunLike] = (),
    runs: Sequence[RunLike] = (),
    tasks: int = 100,
    episodes: int = 10,
    sim_threads: int | None = None,
    out: str | Path | None = None,
    progress: bool = False,
    announce: Announce = say_nothing,
) -> DiagnosedFamily:
    """Test whether adaptation can help on a family, by a robust policy and an oracle.

    Args:
        family: a family's name, FILE.py:NAME (the file is run), or the family itself.
        env_steps: of each trained policy (None: 2,000,000).
        seeds: each trains a robust policy and an oracle.
        robust: existing robust runs (empty: trained).
        oracle: existing oracle runs (empty: trained).
        runs: adapting runs: is their gain above that of parameters adapted to another task?
        tasks: per split.
        episodes: measured per task, and adaptation episodes per gradient step of `runs`.
        sim_threads: simulator threads (None: all cores); results do not depend on it.
        out: folder for the trained runs and diagnosis.json (None: runs/FAMILY-diagnosis).
        progress: show it on stderr.
        announce: called when the training of a run begins.

    Returns:
        The diagnosis; `save()` writes diagnosis.json.

    Raises:
        InputError: for a value that is not allowed, or runs of another kind or family.
        RunError, ModuleNotFoundError, Interrupted, FaultError: as `baseline`.
    """
    tasks, episodes = whole("tasks", tasks, 1), whole("episodes", episodes, 1)
    threads = simulator_threads(sim_threads)
    seeds = wholes("seeds", seeds)
    if env_steps is not None:  # before a folder is made
        env_steps = whole("env_steps", env_steps, 1)
    family = known(family)
    folder = Path(out) if out else free_folder(Path("runs") / f"{family.name}-diagnosis")
    folders = {"robust": [folder_of(r) for r in robust], "oracle": [folder_of(r) for r in oracle]}
    policies = {name: _loaded(name, folders[name], family) for name in folders}
    adapting_runs = [folder_of(run) for run in runs]
    adapting = _loaded("run", adapting_runs, family)
    for name in folders:
        if not folders[name]:
            folders[name] = [
                baseline(
                    name,
                    family,
                    env_steps=env_steps,
                    seed=seed,
                    sim_threads=sim_threads,
                    run=folder / f"{name}-{seed}",
                    progress=progress,
                    announce=announce,
                ).folder
                for seed in seeds
            ]
            policies[name] = _loaded(name, folders[name], family)
    check_alike([*policies["robust"], *policies["oracle"], *adapting])
    steps = max((saved.config.adaptation_steps for saved in adapting), default=1)
    horizon = policies["robust"][0].config.horizon
    config = dataclasses.replace(baseline_recipe(family.name, "random"), horizon=horizon)
    noise = SavedPolicy(policy_of(config), untrained_params(config), config, {"iteration": 0})
    to_measure = [("random", noise)]
    to_measure += [(name, saved) for name in policies for saved in policies[name]]
    to_measure += list(zip(labels(adapting, adapting_runs), adapting, strict=True))
    measured: dict[str, list[Evaluation]] = {}
    for number, (label, saved) in enumerate(to_measure, start=1):
        evaluation = evaluate(
            saved,
            splits=[split for split in family_of(saved.config).splits if split != "train"],
            num_tasks=tasks,
            steps=steps,
            episodes_per_step=episodes,
            sim_threads=threads,
            progress=f"evaluate {label} ({number} of {len(to_measure)})" if progress else None,
        )
        measured.setdefault(label, []).append(evaluation)
    diagnosis = conclude(measured, folders)
    sizes = {"episodes": episodes, "gradient_steps": steps}
    return DiagnosedFamily(diagnosis, folder, folders, adapting_runs, sizes)


def _loaded(option: str, runs: Sequence[Path], family: TaskFamily) -> list[SavedPolicy]:
    """The policies of an option: robust, oracle, or run, which takes methods that adapt.

    Raises:
        InputError: for one of another family or kind.
    """
    policies = [load_policy(run) for run in runs]
    for run, saved in zip(runs, policies, strict=True):
        method, of_family = saved.config.method, saved.config.family
        fits = adapts(saved) if option == "run" else method == option
        if not fits or of_family != family.name:
            needed = "a method that adapts" if option == "run" else option
            raise InputError(
                f"--{option} {run}: {method} on {of_family}; needed is {needed} on {family.name}"
            )
    return policies
