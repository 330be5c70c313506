"""Numbers of any type as plain ones: what a user gives may be NumPy's, torch's or Python's.

Whatever is kept, saved as JSON or handed to MuJoCo goes through here at the public entry, so that
a wrong type is one line before the first step and not a traceback after the last.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from metarl_envs.errors import InputError


def whole(name: str, value: Any, least: int | None = None) -> int:  # noqa: ANN401 - any type
    """A whole number: an int, or anything that holds a single one, such as 3.0 or np.int64(3).

    Args:
        name: of the field, for the error.
        value: as it was given.
        least: the smallest one that is allowed.

    Raises:
        InputError: naming field, value and what is allowed.
    """
    found = _single(name, value, "a whole number")
    if not found.is_integer():
        raise InputError(f"{name} = {_shown(value)}: must be a whole number")
    if least is not None and found < least:
        raise InputError(f"{name} = {int(found)}: must be at least {least}")
    return int(found)


def real(name: str, value: Any) -> float:  # noqa: ANN401 - any type
    """A finite number, as a float.

    Raises:
        InputError: naming field, value and what is allowed.
    """
    found = _single(name, value, "a number")
    if not math.isfinite(found):
        raise InputError(f"{name} = {_shown(value)}: must be a finite number")
    return found


def reals(name: str, value: Any) -> tuple[float, ...]:  # noqa: ANN401 - any type
    """Finite numbers in a row, from a list, a tuple, an array or a tensor.

    Raises:
        InputError: naming field, value and what is allowed; also for a single number.
    """
    try:
        found = _array(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} = {_shown(value)}: must be numbers in a row") from None
    if found.ndim != 1:
        raise InputError(f"{name} = {_shown(value)}: must be numbers in a row, (n,)")
    for i, entry in enumerate(found.tolist()):
        if not math.isfinite(entry):
            raise InputError(f"{name}[{i}] = {entry}: must be a finite number")
    return tuple(found.tolist())


def _single(name: str, value: Any, wanted: str) -> float:  # noqa: ANN401 - any type
    try:
        found = _array(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} = {_shown(value)}: must be {wanted}") from None
    if found.size != 1:
        raise InputError(f"{name} = {_shown(value)}: must be {wanted}, not {found.size} of them")
    return float(found.reshape(()))


def _array(value: Any) -> np.ndarray:  # noqa: ANN401 - any type
    """The value in double precision.

    Raises:
        TypeError: for truth values, texts and None, which NumPy would turn into numbers.
        ValueError: for rows of unequal length, and for texts.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    found = np.asarray(value)
    if found.dtype.kind not in "iuf":
        raise TypeError(found.dtype)
    return found.astype(np.float64)


def _shown(value: Any) -> str:  # noqa: ANN401 - any type
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
