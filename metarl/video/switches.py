"""Changes of the task in mid-episode, such as a leg whose motors reverse after 2.5 seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metarl_envs import InputError, TaskFamily, Tasks
from metarl_envs.inputs.numbers import real, shown

Values = Mapping[str, float | Sequence[float]]
"""Task parameters by name; those left out stay as they are."""
Switches = Mapping[float, Values]
"""Seconds since an episode began -> what changes then: {2.5: {"back_leg": -1}}."""


def changed_tasks(
    family: TaskFamily, task: Tasks, switches: Switches, horizon: int
) -> dict[int, Tasks]:
    """The tasks that come into force in mid-episode, by the step that is the first in each.

    Args:
        family: of the tasks.
        task: in force before the first switch, M = 1.
        switches: in any order; each changes the task that the one before has left.
        horizon: steps of the episode.

    Returns:
        Tasks with M = 1, in the order of time.

    Raises:
        InputError: for a time outside of the episode, two switches at one control step, an unknown
            parameter, or a value outside its range.
    """
    if not isinstance(switches, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"switches = {shown(switches)}: must give what changes at which second, such as "
            '{2.5: {"back_leg": -1}}'
        )
    changes: dict[int, Tasks] = {}
    times = {real("time of a switch", time): time for time in switches}
    for time_s in sorted(times):
        step = _step(time_s, family.dt_s, horizon)
        if step in changes:
            raise InputError(
                f"switch at {time_s:g} s: another one falls on the same control step of "
                f"{family.dt_s:g} s; give both changes in one switch"
            )
        try:
            task = _changed(family, task, switches[times[time_s]])
        except InputError as error:
            raise InputError(f"switch at {time_s:g} s: {error}") from None
        changes[step] = task
    return changes


def _step(time_s: float, dt_s: float, horizon: int) -> int:
    """The first control step that begins at this time or after it."""
    step = math.ceil(time_s / dt_s - 1e-6)
    if step < 1:
        raise InputError(
            f"switch at {time_s:g} s: must be after the episode's start; for another task from the "
            "start give it as the task"
        )
    if step >= horizon:
        raise InputError(
            f"switch at {time_s:g} s: the episode ends at {horizon * dt_s:.4g} s ({horizon} steps "
            f"of {dt_s:g} s); give a time up to {(horizon - 1) * dt_s:.4g} s"
        )
    return step


def _changed(family: TaskFamily, task: Tasks, values: Any) -> Tasks:  # noqa: ANN401 - any type
    if not isinstance(values, Mapping) or not values:
        raise InputError(
            f"{shown(values)}: must name the parameters that change, such as "
            f"{family.nominal_tasks().describe(0)}"
        )
    return family.make_task(task.describe(0) | dict(values))
