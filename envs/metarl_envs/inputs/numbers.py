"""Conversion of numbers of any type (NumPy, torch, Python) to plain ones.

Every number that is kept, saved as JSON or passed to MuJoCo is converted at the public entry, so
that a wrong type is one line before the first step and not a traceback after the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from metarl_envs.errors import InputError

INT, INT64 = 2**31 - 1, 2**63 - 1
"""The largest whole numbers that MuJoCo, and that NumPy and torch hold."""


@dataclass(frozen=True)
class Range:
    """Bounds of a number, beside its type: `Annotated[float, Range(gt=0)]` (see `PlainFields`)."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None

    def check(self, name: str, value: float) -> None:
        """Refuse a number outside.

        Raises:
            InputError: naming field, value and what is allowed.
        """
        bounds = (
            ("greater than", self.gt, lambda bound: value > bound),
            ("at least", self.ge, lambda bound: value >= bound),
            ("less than", self.lt, lambda bound: value < bound),
            ("at most", self.le, lambda bound: value <= bound),
        )
        given = [(words, bound, fits) for words, bound, fits in bounds if bound is not None]
        if not all(fits(bound) for _, bound, fits in given):
            allowed = " and ".join(f"{words} {bound:g}" for words, bound, _ in given)
            raise InputError(f"{name} = {value}: must be {allowed}")


Count = Annotated[int, Range(ge=1)]
Natural = Annotated[int, Range(ge=0)]
Positive = Annotated[float, Range(gt=0)]
NotNegative = Annotated[float, Range(ge=0)]
Share = Annotated[float, Range(ge=0, le=1)]
PositiveShare = Annotated[float, Range(gt=0, le=1)]


def whole(
    name: str,
    value: Any,  # noqa: ANN401 - any type
    least: int | None = None,
    most: int | None = None,
) -> int:
    """A whole number: an int, or anything that holds a single one, such as 3.0 or np.int64(3).

    Args:
        name: of the field, for the error.
        value: as it was given.
        least: the smallest one that is allowed.
        most: the largest one.

    Raises:
        InputError: naming field, value and what is allowed.
    """
    found = value if type(value) is int else _single(name, value, "a whole number")
    if isinstance(found, float) and not found.is_integer():
        raise InputError(f"{name} = {shown(value)}: must be a whole number")
    if least is not None and found < least:
        raise InputError(f"{name} = {int(found)}: must be at least {least}")
    if most is not None and found > most:
        raise InputError(f"{name} = {int(found)}: must be at most {most}")
    return int(found)


def real(name: str, value: Any) -> float:  # noqa: ANN401 - any type
    """A finite number, as a float.

    Raises:
        InputError: naming field, value and what is allowed.
    """
    found = float(_single(name, value, "a number"))
    if not math.isfinite(found):
        raise InputError(f"{name} = {shown(value)}: must be a finite number")
    return found


def reals(name: str, value: Any) -> tuple[float, ...]:  # noqa: ANN401 - any type
    """Finite numbers in a row, from a list, a tuple, an array or a tensor.

    Raises:
        InputError: naming field, value and what is allowed; also for a single number.
    """
    return tuple(real(f"{name}[{i}]", entry) for i, entry in enumerate(_row(name, value)))


def wholes(name: str, value: Any) -> tuple[int, ...]:  # noqa: ANN401 - any type
    """Whole numbers in a row, from a list, a tuple, a range, an array or a tensor.

    Raises:
        InputError: naming field, value and what is allowed; also for a single number.
    """
    return tuple(whole(f"{name}[{i}]", entry) for i, entry in enumerate(_row(name, value)))


def tensor(name: str, value: Any) -> Tensor:  # noqa: ANN401 - any type
    """Numbers of any shape in double precision, as a new tensor on the CPU.

    Raises:
        InputError: naming field and value.
    """
    try:
        return torch.from_numpy(_array(value).astype(np.float64))  # astype copies
    except (TypeError, ValueError):
        raise InputError(f"{name} = {shown(value)}: must be numbers") from None


def is_number(value: Any) -> bool:  # noqa: ANN401 - any type
    """True for a single number of any type."""
    try:
        return _array(value).ndim == 0
    except (TypeError, ValueError):
        return False


def shown(value: Any) -> str:  # noqa: ANN401 - any type
    """A value in one line, as errors show it."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _single(name: str, value: Any, wanted: str) -> int | float:  # noqa: ANN401 - any type
    try:
        found = _array(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} = {shown(value)}: must be {wanted}") from None
    if found.size != 1:
        raise InputError(f"{name} = {shown(value)}: must be {wanted}, not {found.size} of them")
    entry = found.reshape(()).item()
    return entry if isinstance(entry, int) else float(entry)  # a long double's item is itself


def _row(name: str, value: Any) -> list[Any]:  # noqa: ANN401 - any type
    if isinstance(value, list | tuple | range):
        return list(value)
    try:
        found = _array(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} = {shown(value)}: must be numbers in a row") from None
    if found.ndim != 1:
        raise InputError(f"{name} = {shown(value)}: must be numbers in a row, (n,)")
    return found.tolist()


def _array(value: Any) -> np.ndarray:  # noqa: ANN401 - any type
    """The value as integers or floats of NumPy."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    elif isinstance(value, (list, tuple)):
        value = [_array(entry) for entry in value]  # one by one: [True, 0.5] holds a truth value
        if any(entry.ndim == 0 for entry in value):  # among numbers, an array of one is a number
            value = [entry.reshape(()) if entry.size == 1 else entry for entry in value]
    elif isinstance(value, Decimal | Fraction):
        value = float(value)
    found = np.asarray(value)
    if found.dtype.kind not in "iuf":
        raise TypeError(found.dtype)
    return found
