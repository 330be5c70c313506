"""Families as users name them, and the policies of runs on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metarl.methods.config import TrainConfig
from metarl.methods.setup import family_of
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl_envs import FAMILIES, InputError, TaskFamily, load_family, register_family


def known(family: str | TaskFamily) -> TaskFamily:
    """A family, registered by its name in this process.

    Args:
        family: its name, FILE.py:NAME (the file is run), or the family itself.

    Raises:
        InputError: for an unknown name or an invalid family.
    """
    if isinstance(family, str):
        return load_family(family)
    if FAMILIES.get(family.name) is not family:
        register_family(family)
    return family


def checked_family(config: TrainConfig, named: TaskFamily | None) -> TaskFamily:
    """The family of a run, checked against the one that the user named, if any.

    Raises:
        InputError: if they differ, or the family is in a file that was not named.
    """
    if named is not None and named.name != config.family:
        raise InputError(
            f"--family {named.reference}: defines '{named.name}', but this run was trained on "
            f"'{config.family}'"
            + (f" of {config.origin.reference}" if config.origin.reference else "")
        )
    return family_of(config)


def policies_of(runs: Sequence[Path], family: str | TaskFamily | None) -> list[SavedPolicy]:
    """The policies of runs or policy folders of one family.

    Args:
        runs: their folders.
        family: the runs' family, if it is not a shipped one; its file is run once.

    Raises:
        InputError: if the family is another one, or in a file that was not named.
        RunError: if there is no valid policy, or the family's spaces have changed.
    """
    named = None if family is None else known(family)
    policies = [load_policy(run) for run in runs]
    for saved in policies:
        checked_family(saved.config, named)
    return policies


def family_words(config: TrainConfig) -> list[str]:
    """The option --family of commands on a run, if they need it."""
    return ["--family", config.origin.reference] if config.origin.reference else []
