"""Group runs into methods: those that differ only in seed and hardware are seeds of one method."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from metarl.evaluation.comparison import Comparison
from metarl.evaluation.method_runs import MethodRuns
from metarl.evaluation.results import Evaluation
from metarl.runs.policy_folder import CONFIG, SavedPolicy, is_policy
from metarl_envs import InputError


def labels(policies: Sequence[SavedPolicy], folders: Sequence[Path]) -> list[str]:
    """Each run's method, with a folder's name where configurations of one method differ.

    Runs that differ only in seed, hardware and origin are seeds of one method. A policy that was
    chosen on validation tasks is another method than a final one.
    """
    kinds = [
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
    variants = [config.method for _, config in set(kinds)]
    return [
        f"{kind[1].method} ({run_name(folders[kinds.index(kind)])})"
        if variants.count(kind[1].method) > 1
        else kind[1].method
        for kind in kinds
    ]


def run_name(folder: Path) -> str:
    """A run's name, that of its folder; for a policy kept inside a run that of both."""
    folder = folder.resolve()
    return f"{folder.parent.name}-{folder.name}" if kept_inside(folder) else folder.name


def kept_inside(folder: Path) -> bool:
    """True if a folder is a policy that a run keeps beside its checkpoints, such as its best."""
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
    members: dict[str, list[int]] = {}
    for index, label in enumerate(labels(policies, folders)):
        members.setdefault(label, []).append(index)
    return Comparison(
        tuple(
            MethodRuns(label, tuple(runs[i] for i in same), policies[same[0]].config.method)
            for label, same in members.items()
        )
    )
