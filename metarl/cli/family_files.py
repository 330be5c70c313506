"""Families of one's own on the command line: FILE.py:NAME, run only because a person names it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

if TYPE_CHECKING:
    from metarl.runs.checkpoint import SavedPolicy

OwnFamily = Annotated[str | None, arg(metavar="FILE.py:NAME", help_behavior_hint="")]


def opened(run: Path, reference: str | None) -> SavedPolicy:
    """The policy of a run or policy folder, once the file that `--family` names has been run.

    Raises:
        InputError: if its family is in a file that was not named, or another one was.
        RunError: if there is no sound policy, or the family's spaces have changed.
    """
    from metarl.api.families import policies_of

    return policies_of([run], reference)[0]
