"""Calls of user functions, with checks of the values that they return."""

from __future__ import annotations

import os
import sysconfig
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from metarl_envs.errors import InputError

PROBED = 2
"""Worlds that functions are tried on: with one, a wrong axis would not show."""
NOT_OWN = (
    f"{Path(__file__).parents[1]}{os.sep}",
    *(sysconfig.get_paths()[kind] for kind in ("stdlib", "platlib", "purelib")),
)
"""Folders of Python, of installed packages and of this package."""
LONGEST = 300
"""Most characters of an error from other code that are shown."""
T = TypeVar("T")


def called(what: str, function: Callable[[T], Tensor], argument: T) -> Tensor:
    """`function(argument)`, with whatever it raises as one line.

    Raises:
        InputError: naming the function, its error and the line of it.
    """
    try:
        return function(argument)
    except KeyError as error:
        raise InputError(
            f"{what} reads {error}{where(error)}, which is not there: fields besides qpos, qvel, "
            "ctrl and time belong in the robot's outputs=, those of transition.before in its "
            "remembered=, names in transition.task are those of parameters"
        ) from error
    except Exception as error:  # a user function may raise anything
        raise InputError(f"{what} failed: {described(error)}{where(error)}") from error


def check_shape(what: str, value: Tensor, shape: tuple[int | None, ...]) -> None:
    """Refuse a result that is no tensor of this shape; None stands for any size.

    Raises:
        InputError: naming the shape that it has and should have.
    """
    if not isinstance(value, Tensor):
        raise InputError(f"{what} = {value!r}: must be a torch tensor")
    fits = len(value.shape) == len(shape) and all(
        size in (None, found) for found, size in zip(value.shape, shape, strict=True)
    )
    if not fits:
        axes = "(N,)" if len(shape) == 1 else "(N, O)"
        raise InputError(
            f"{what} has shape {tuple(value.shape)} for N = {PROBED} worlds: must be {axes}, one "
            f"{'number' if len(shape) == 1 else 'row'} per world"
        )


def check_finite(what: str, value: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: with a value that is not finite.
    """
    invalid = value[~torch.isfinite(value)]
    if len(invalid):
        raise InputError(
            f"{what} = {invalid[0].item()} after the first step: must be finite in "
            "every state; avoid divisions by 0, and roots and logarithms of negative numbers"
        )


def described(error: BaseException) -> str:
    """An error in one line: its kind and first line, shortened where it is long."""
    text = textwrap.shorten(str(error).strip().partition("\n")[0], LONGEST, placeholder=" ...")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def where(error: BaseException) -> str:
    """The last line of a user's file that led to an error: " (robot.py, line 12)"."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*NOT_OWN, "<"))
    ]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
