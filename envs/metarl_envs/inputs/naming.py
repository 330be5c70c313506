"""Names of families and parameters: they become folders, ids, columns and `--task name=value`."""

from __future__ import annotations

import re

from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import shown

DEVICES = r"(con|prn|aux|nul|(com|lpt)[0-9\u00b9\u00b2\u00b3])(\..*)?"
"""Names that Windows keeps for devices, with any ending; the digits may be superscripts."""
LONGEST = 64
"""Characters of a family's name: file systems allow 255 bytes, and run folders add to it."""


def check_family_name(name: str) -> None:
    """Refuse a name that cannot be a folder, a Gymnasium id and a tag of TensorBoard.

    Raises:
        InputError: with a name that is allowed and like it.
    """
    if re.fullmatch(DEVICES, name, re.IGNORECASE):
        raise InputError(
            f"name of a family = {shown(name)}: Windows keeps it for a device, and folders are "
            f"named after families; choose another, such as '{family_name(name)}'"
        )
    if re.fullmatch(r"\w([\w.-]*[\w-])?", name) is None or len(name) > LONGEST:
        raise InputError(
            f"name of a family = {shown(name)}: must be 1 to {LONGEST} letters, digits, '_', '-' "
            "or '.', with no '-' or '.' at its beginning and no '.' at its end, since folders and "
            f"Gymnasium ids are named after it; such as '{family_name(name)}'"
        )


def family_name(text: str) -> str:
    """An allowed name of a family like some text: "ALE/Pong-v5" -> "ale-pong-v5"."""
    words = re.sub(r"[^\w.]+|-+", "-", text.lower())
    found = words[:LONGEST].strip("-.") or "my-robot"
    return f"my-{found}" if re.fullmatch(DEVICES, found) else found


def check_parameter_name(name: str) -> None:
    """Refuse a name that cannot be a column of a table or stand in `--task name=value`.

    Raises:
        InputError: with a name that is allowed and like it.
    """
    if re.fullmatch(r"\w[\w.-]*", name) is None:
        like = re.sub(r"\W+", "_", name).strip("_") or "goal"
        raise InputError(
            f"name of a parameter = {shown(name)}: must be letters, digits, '_', '-' or '.', with "
            f"no '-' or '.' at its beginning, to stand in --task name=value; such as '{like}'"
        )
