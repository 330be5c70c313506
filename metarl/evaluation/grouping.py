"""Which runs are one method: those that differ in their seed, or in where they ran, alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from metarl.evaluation.comparison import Comparison, MethodRuns
from metarl.evaluation.results import Evaluation
from metarl.runs.checkpoint import SavedPolicy
from metarl.runs.policy_folder import CONFIG, is_policy
from metarl_envs import InputError


def labels(policies: Sequence[SavedPolicy], folders: Sequence[Path]) -> list[str]:
    """What each run counts as: its method, with a folder's name where configurations differ.

    A policy that was chosen on validation tasks is another method than a final one.
    """
    same = [
        (
            "chosen" in saved.metadata,
            dataclasses.replace(
                saved.config,
                seed=0,
                sim_threads=1,
                device="cpu",
                engine="cpu",
                checkpoint_every=1,
                evaluate_every=0,
                evaluation_tasks=1,
                origin=dataclasses.replace(saved.config.origin, reference=""),
            ),
        )
        for saved in policies
    ]
    first = [run_name(folders[same.index(kind)]) for kind in same]
    variants = [sum(other.method == kind[1].method for _, other in set(same)) for kind in same]
    return [
        f"{config.method} ({name})" if count > 1 else config.method
        for (_, config), name, count in zip(same, first, variants, strict=True)
    ]


def run_name(folder: Path) -> str:
    """A run's name, that of its folder; for a policy kept inside a run that of both."""
    folder = folder.resolve()
    return f"{folder.parent.name}-{folder.name}" if kept_inside(folder) else folder.name


def kept_inside(folder: Path) -> bool:
    """Whether a folder is a policy that a run keeps beside its checkpoints, such as its best."""
    return is_policy(folder) and (folder.parent / CONFIG).is_file()


def check_alike(policies: Sequence[SavedPolicy]) -> None:
    """Refuse policies that no comparison can hold together, before anything is measured.

    Raises:
        InputError: for different families or horizons.
    """
    if len(kinds := {(saved.config.family, saved.config.horizon) for saved in policies}) > 1:
        shown = ", ".join(f"{family} ({horizon} steps)" for family, horizon in sorted(kinds))
        raise InputError(f"runs cannot be compared, their families or horizons differ: {shown}")


def compare(
    policies: Sequence[SavedPolicy], folders: Sequence[Path], runs: Sequence[Evaluation]
) -> Comparison:
    """The runs by method, in the order in which methods first appear.

    Raises:
        InputError: if they were not measured alike.
    """
    grouped: dict[str, list[Evaluation]] = {}
    methods: dict[str, str] = {}
    for label, saved, run in zip(labels(policies, folders), policies, runs, strict=True):
        grouped.setdefault(label, []).append(run)
        methods[label] = saved.config.method
    return Comparison(
        tuple(MethodRuns(label, tuple(same), methods[label]) for label, same in grouped.items())
    )
