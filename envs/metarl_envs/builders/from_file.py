"""Task families in Python files: `FILE.py:NAME`.

Loading runs the file, with all that Python can do. So a file runs only if the user names it, on a
command line or in a call; data read from a run or a policy folder never names one.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from types import ModuleType

from metarl_envs.errors import InputError, unknown_name
from metarl_envs.family import Origin, TaskFamily
from metarl_envs.inputs.numbers import shown
from metarl_envs.inputs.own_file import OwnFile
from metarl_envs.registry import get_family, register_family


def load_family(reference: str | Path) -> TaskFamily:
    """The family of that name, or the one that a Python file defines: "my_robot.py:family".

    A file that defines one family alone may be named without it: "my_robot.py". The file is run,
    its functions are tried on two worlds, and from then on the family is known by its name, as
    shipped ones are.

    Raises:
        InputError: in one line, for an unknown name, a file that is missing or fails, one without
            such a family, or functions that return what no family's may.
    """
    if not isinstance(reference, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"family = {shown(reference)}: must be a family's name, or a file, FILE.py:NAME"
        )
    reference = str(reference)
    file, separator, attribute = reference.rpartition(":")
    if not separator and reference.endswith(".py"):
        file, attribute = reference, ""
    if not file.endswith(".py"):
        return get_family(reference)
    path = Path(file)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise InputError(f"family {reference}: {file}: {error.strerror}") from None
    name, family = _family_in(OwnFile(path.absolute(), source).run(), reference, attribute)
    origin = Origin(f"{file}:{name}", _digest(source, family))
    family = dataclasses.replace(family, origin=origin)
    register_family(family)
    return family


def _family_in(module: ModuleType, reference: str, attribute: str) -> tuple[str, TaskFamily]:
    """The family of that name in a file, or its only one; with its name there."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, TaskFamily)}
    if attribute in found:
        return attribute, found[attribute]
    if not attribute and len(found) == 1:
        return next(iter(found.items()))
    if attribute in vars(module):
        raise InputError(
            f"family {reference}: {attribute} is of type "
            f"{type(vars(module)[attribute]).__name__}: must be a metarl_envs.TaskFamily"
        )
    if not found:
        raise InputError(f"family {reference}: the file defines no metarl_envs.TaskFamily")
    if attribute:
        raise unknown_name(f"family in {reference.rpartition(':')[0]}", attribute, found)
    raise InputError(f"family {reference}: say which one: {reference}:{' or :'.join(found)}")


def _digest(source: bytes, family: TaskFamily) -> str:
    """SHA-256 of a family's file and its MJCF."""
    digest = hashlib.sha256(source)
    if family.robot.xml is not None:
        digest.update(family.robot.xml.read_bytes())
    return digest.hexdigest()
