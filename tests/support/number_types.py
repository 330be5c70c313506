"""Plain numbers as other people's libraries write them, for tests of public entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Wrap = Callable[[Any], Any]


def scalars(value: Any) -> Any:
    """NumPy's scalars, rows of them as lists."""
    if isinstance(value, tuple | list):
        return [scalars(entry) for entry in value]
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, str):
        return np.str_(value)
    return np.int64(value) if isinstance(value, int) else np.float64(value)


def singles(value: Any) -> Any:
    """Single precision and integers of 32 bits, where nothing is lost."""
    if isinstance(value, tuple | list):
        return tuple(singles(entry) for entry in value)
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return np.int32(value)
    small = np.float32(value)
    return small if float(small) == value else value


def arrays(value: Any) -> Any:
    """NumPy's arrays, of no axis for single numbers."""
    return value if _is_text(value) else np.array(value)


def tensors(value: Any) -> Any:
    """Torch's tensors, of no axis for single numbers; they may ask for gradients."""
    if _is_text(value):
        return value
    array = np.array(value)
    return torch.from_numpy(array).requires_grad_(array.dtype.kind == "f")


def swapped(value: Any) -> Any:
    """Integers as floats and whole floats as integers, rows as lists."""
    if isinstance(value, tuple | list):
        return [swapped(entry) for entry in value]
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return float(value)
    return int(value) if value.is_integer() else value


WRAPS: tuple[Wrap, ...] = (scalars, singles, arrays, tensors, swapped)


def _is_text(value: Any) -> bool:
    """True if something is a text or a row of them, which arrays of numbers do not hold."""
    return isinstance(value, str) or (
        isinstance(value, tuple | list) and any(isinstance(entry, str) for entry in value)
    )
