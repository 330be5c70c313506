"""Markers: what shows a task's goal in pictures, and only there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import reals, shown
from metarl_envs.inputs.plain import PlainFields
from metarl_envs.inputs.user_functions import described, where

TaskValues = Mapping[str, float | Sequence[float]]
"""One task as `Tasks.describe` gives it."""

AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Marker(PlainFields):
    """A disc, a sphere or a flag where a task parameter says, or a site of the model put there.

    Two numbers are a place on the floor, three a place in space, one a place along an axis.
    Pictures show it; the simulation knows nothing of it.
    """

    parameter: str
    """The task parameter that is shown."""
    site: str = ""
    """A site of the model that is moved there instead of anything being drawn; "": none."""
    shape: Literal["disc", "sphere", "flag"] | None = None
    """None: a disc on the floor, a sphere elsewhere."""
    axis: Literal["x", "y", "z"] = "x"
    """Along which a single number counts."""
    origin_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """The origin of the numbers."""
    position: Callable[[Mapping[str, Any]], Sequence[float]] | None = None
    """Its place, two or three numbers, from all parameters of the task; None: as said above."""

    def check(self, nominal: TaskValues) -> None:
        """Refuse what gives no place.

        Raises:
            InputError: naming the parameter and what is allowed.
        """
        if self.position is None:
            value = nominal[self.parameter]
            if isinstance(value, Sequence) and not 1 <= len(value) <= 3:
                raise InputError(
                    f"marker of '{self.parameter}': it has {len(value)} numbers, a place one to "
                    "three; give position=, a function of the task that returns two or three"
                )
        self.place(nominal)

    def place(self, task: TaskValues) -> NDArray[np.float64]:
        """The marker's place: (3,), in metres; the height is NaN if it is the floor's.

        Raises:
            InputError: if `position` fails, or returns anything but two or three numbers.
        """
        if self.position is None:
            value = task[self.parameter]
            row = tuple(value) if isinstance(value, Sequence) else (value,)
            if len(row) == 1:
                along = np.eye(3)[AXES.index(self.axis)] * row[0]
                return np.array(self.origin_m) + along
        else:
            name = f"position of the marker of '{self.parameter}'"
            try:
                given = self.position(task)
            except Exception as error:  # a person's function may raise anything
                raise InputError(f"{name} failed: {described(error)}{where(error)}") from error
            row = reals(name, given)
            if len(row) not in (2, 3):
                raise InputError(f"{name} = {shown(row)}: must be two or three numbers")
        on_floor = (np.nan,) if len(row) == 2 else ()
        return np.array(self.origin_m) + np.array([*row, *on_floor])
