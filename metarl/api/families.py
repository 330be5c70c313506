"""Families as people name them, and the policies of runs on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metarl.methods.config import TrainConfig
from metarl.methods.setup import family_of
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl_envs import FAMILIES, InputError, TaskFamily, load_family, register_family


def known(family: str | TaskFamily) -> TaskFamily:
    """A family, from now on known by its name in this process.

    Args:
        family: its name, FILE.py:NAME (the file is run), or the family itself.

    Raises:
        InputError: for an unknown name, or a family that cannot be used.
    """
    if isinstance(family, str):
        return load_family(family)
    if FAMILIES.get(family.name) is not family:
        register_family(family)
    return family


def checked_family(config: TrainConfig, given: TaskFamily | None) -> TaskFamily:
    """The family that a run was trained on, once it is sure that it is the one that was named.

    Args:
        config: of the run.
        given: the family that was named for it, if any.

    Raises:
        InputError: if it is in a file that was not named, or another one was.
    """
    if given is not None and given.name != config.family:
        raise InputError(
            f"--family {given.reference}: defines '{given.name}', but this run was trained on "
            f"'{config.family}'"
            + (f" of {config.origin.reference}" if config.origin.reference else "")
        )
    return family_of(config)


def policies_of(runs: Sequence[Path], family: str | TaskFamily | None) -> list[SavedPolicy]:
    """The policies of runs or policy folders of one family; its file is run once.

    Args:
        runs: their folders.
        family: the runs' family, if it is in a file of one's own or only in this process.

    Raises:
        InputError: if the family is in a file that was not named, or another one was.
        RunError: if there is no sound policy, or the family's spaces have changed.
    """
    given = None if family is None else known(family)
    policies = [load_policy(run) for run in runs]
    for saved in policies:
        checked_family(saved.config, given)
    return policies


def family_words(config: TrainConfig) -> list[str]:
    """What commands on a run need besides its folder."""
    return ["--family", config.origin.reference] if config.origin.reference else []
