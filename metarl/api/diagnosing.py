"""Whether adaptation can matter on a family: `metarl diagnose`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from metarl.api.families import known
from metarl.api.results import DiagnosedFamily
from metarl.api.run import RunLike, folder_of
from metarl.api.training import Announce, baseline, say_nothing
from metarl.evaluation.diagnosis import diagnose as conclude
from metarl.evaluation.evaluate import adapts, evaluate
from metarl.evaluation.grouping import check_alike, labels
from metarl.evaluation.results import Evaluation
from metarl.methods.baselines import baseline_recipe
from metarl.methods.config import TrainConfig
from metarl.methods.setup import family_of, policy_of, simulator_threads
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl.runs.places import free_folder
from metarl.training.warm_start import untrained_params
from metarl_envs import InputError, TaskFamily
from metarl_envs.inputs.numbers import whole, wholes

Trained = Literal["robust", "oracle"]
TRAINED: tuple[Trained, ...] = ("robust", "oracle")


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
    """Train a robust policy and an oracle, and say whether adaptation can matter.

    Args:
        family: a family's name, FILE.py:NAME (the file is run), or the family itself.
        env_steps: of each policy that is trained (None: 2,000,000).
        seeds: a robust policy and an oracle are trained for each.
        robust: robust runs to use instead of training.
        oracle: oracle runs to use instead of training.
        runs: that adapt: does their gain exceed that of another task's adaptation?
        tasks: per split.
        episodes: per task that are measured; as many that each gradient step of `runs` sees.
        sim_threads: simulator threads (None: all cores); the result does not depend on it.
        out: folder for the trained runs and diagnosis.json (None: runs/FAMILY-diagnosis).
        progress: show it on stderr.
        announce: told of each run whose training begins.

    Returns:
        What was found; `save()` writes diagnosis.json.

    Raises:
        InputError: for a value that is not allowed, or runs of another kind or family.
        RunError, ModuleNotFoundError, Interrupted, FaultError: as `baseline`.
    """
    tasks, episodes = whole("tasks", tasks, 1), whole("episodes", episodes, 1)
    threads = simulator_threads(sim_threads)
    seeds = wholes("seeds", seeds)
    found = known(family)
    folder = Path(out) if out else free_folder(Path("runs") / f"{found.name}-diagnosis")
    folders = {"robust": [folder_of(r) for r in robust], "oracle": [folder_of(r) for r in oracle]}
    policies = {name: _stored(name, found, folders[name]) for name in TRAINED}
    asked = [folder_of(run) for run in runs]
    adapting = _adapting(found, asked)
    for name in TRAINED:
        if not folders[name]:
            folders[name] = [
                baseline(
                    name,
                    found,
                    env_steps=env_steps,
                    seed=seed,
                    sim_threads=sim_threads,
                    run=folder / f"{name}-{seed}",
                    progress=progress,
                    announce=announce,
                ).folder
                for seed in seeds
            ]
            policies[name] = _stored(name, found, folders[name])
    check_alike([*policies["robust"], *policies["oracle"], *adapting])
    steps = max((saved.config.adaptation_steps for saved in adapting), default=1)
    noise = noise_for(policies["robust"][0].config)
    named = labels(adapting, asked)
    to_measure = [("random", noise)]
    to_measure += [(name, saved) for name in TRAINED for saved in policies[name]]
    to_measure += list(zip(named, adapting, strict=True))
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
    about = {"episodes": episodes, "gradient_steps": steps}
    return DiagnosedFamily(diagnosis, folder, folders, asked, about)


def _stored(name: Trained, family: TaskFamily, runs: Sequence[Path]) -> list[SavedPolicy]:
    """Policies from disk.

    Raises:
        InputError: for one of another family or another kind.
    """
    policies = [load_policy(run) for run in runs]
    for run, saved in zip(runs, policies, strict=True):
        kind = (saved.config.method, saved.config.family)
        if kind != (name, family.name):
            raise InputError(
                f"--{name} {run}: {kind[0]} on {kind[1]}; needed is {name} on {family.name}"
            )
    return policies


def _adapting(family: TaskFamily, runs: Sequence[Path]) -> list[SavedPolicy]:
    """The runs whose gain is asked about.

    Raises:
        InputError: for one of another family, or that does not adapt.
    """
    policies = [load_policy(run) for run in runs]
    for run, saved in zip(runs, policies, strict=True):
        if saved.config.family != family.name or not adapts(saved):
            raise InputError(
                f"--run {run}: {saved.config.method} on {saved.config.family}; needed is a method "
                f"that adapts on {family.name}"
            )
    return policies


def noise_for(config: TrainConfig) -> SavedPolicy:
    """The random baseline on the family and with the horizon of a configuration."""
    noise = dataclasses.replace(baseline_recipe(config.family, "random"), horizon=config.horizon)
    policy = policy_of(noise)
    return SavedPolicy(policy, untrained_params(noise), noise, {"iteration": 0})
