"""Families of one's own on the command line: FILE.py:NAME, run only because a person names it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

if TYPE_CHECKING:
    from metarl.checkpoint import SavedPolicy
    from metarl.config import TrainConfig
    from metarl_envs import TaskFamily

OwnFamily = Annotated[str | None, arg(metavar="FILE.py:NAME", help_behavior_hint="")]


def opened(run: Path, reference: str | None) -> SavedPolicy:
    """The policy of a run or policy folder, once the file that `--family` names has been run.

    Raises:
        InputError: if its family is in a file that was not named, or another one was.
        RunError: if there is no sound policy, or the family's spaces have changed.
    """
    return all_opened([run], reference)[0]


def all_opened(runs: Sequence[Path], reference: str | None) -> list[SavedPolicy]:
    """The policies of runs of one family, as `opened` gives them; its file is run once."""
    from metarl.checkpoint import load_policy

    given = named_family(reference)
    policies = [load_policy(run) for run in runs]
    for saved in policies:
        family_of(saved.config, given)
    return policies


def named_family(reference: str | None) -> TaskFamily | None:
    """The family of `--family`, from now on known by its name; None without the option."""
    from metarl_envs import load_family

    return None if reference is None else load_family(reference)


def family_of(config: TrainConfig, given: TaskFamily | None) -> TaskFamily:
    """The family that a run was trained on.

    Raises:
        InputError: if it is in a file that was not named, or another one was.
    """
    from metarl_envs import InputError

    if given is not None and given.name != config.family:
        raise InputError(
            f"--family {given.reference}: defines '{given.name}', but this run was trained on "
            f"'{config.family}'"
            + (f" of {config.origin.reference}" if config.origin.reference else "")
        )
    return config.task_family()


def family_option(config: TrainConfig) -> str:
    """What commands on a run need besides its folder, to be printed behind it."""
    return f" --family {config.origin.reference}" if config.origin.reference else ""
