"""Labels of tasks and quantities, and verdicts on gains, for tables, figures and videos."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from metarl.evaluation.statistics import Interval
from metarl_envs import TaskFamily, Tasks

UNIT_SUFFIXES = {
    "_m_per_s": "m/s",
    "_rad_per_s": "rad/s",
    "_rad": "rad",
    "_kg": "kg",
    "_m": "m",
    "_n": "N",
    "_s": "s",
    "_w": "W",
}
LONG_VECTOR = 4
"""Parameters of this length or longer are shown by the range of their entries; a point in space is
not one."""


def quantity_label(name: str) -> tuple[str, str]:
    """Words and unit of a quantity: "forward_velocity_m_per_s" -> ("forward velocity", "m/s")."""
    for suffix, unit in UNIT_SUFFIXES.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace("_", " "), unit
    return name.replace("_", " "), ""


def task_text(
    family: TaskFamily, tasks: Tasks, index: int, only: Collection[str] | None = None
) -> str:
    """One task as a person would type it, with units: "velocity = 1.5 m/s, mass_scale = 0.8".

    A long vector is shown by its length and the range of its entries: "gear[6] = 0.5 ... 1.2".
    `only`: the parameters that are shown; None: all.
    """
    values = tasks.describe(index)
    texts = []
    for parameter in family.parameters:
        if only is not None and parameter.name not in only:
            continue
        entries = np.asarray(values[parameter.name], dtype=np.float64)
        name = parameter.name
        if entries.ndim == 0:
            text = f"{entries:.3g}"
        elif len(entries) < LONG_VECTOR:
            text = "(" + ", ".join(f"{entry:.3g}" for entry in entries) + ")"
        else:
            name = f"{name}[{len(entries)}]"
            text = f"{entries.min():.2g} ... {entries.max():.2g}"
        texts.append(f"{name} = {text}{'' if parameter.unit == '1' else f' {parameter.unit}'}")
    return ", ".join(texts)


DOES_NOT_ADAPT = "does not adapt"
"""Stands where others have their gain."""
ANY_TASK = "not shown to be adaptation to the task: another task's may bring as much"
OWN_BELIEF = "adaptation to the task (another task's belief returns less)"
ANY_BELIEF = (
    "not shown to outlast an episode: begun with another task's belief, it may return as much"
)
ONE_SEED = "the intervals cover the choice of tasks, not the variation between seeds"
NO_CONTROL = "no control: every task needs another one to take adapted parameters from"


def carried(gradient_steps: int, *, remembers: bool) -> str:
    """Parts of a policy that go from one episode of a trial to the next, in words."""
    if remembers:
        return "belief and adapted parameters" if gradient_steps else "belief"
    return "adapted parameters" if gradient_steps else "nothing"


def verdict(gain: Interval, over_other: Interval | None, *, remembers: bool = False) -> str:
    """Judgement on a gain: adaptation to the task, or a gain of any adapted parameters.

    Args:
        gain: return after adaptation less that before.
        over_other: return with a task's own adapted parameters, or belief, less that with another
            task's; None where there is no other task.
        remembers: the policy has adapted before the first episode is over, so that a gain over it
            is no condition.
    """
    if over_other is None:
        return NO_CONTROL
    if math.isnan(gain.low) or math.isnan(over_other.low):
        return "no verdict without intervals: use more tasks"
    if remembers:
        return OWN_BELIEF if over_other.low > 0 else ANY_BELIEF
    if not gain.low > 0:
        return "no gain is shown: its interval holds zero"
    if not over_other.low > 0:
        return ANY_TASK
    return "adaptation to the task (another task's adapted parameters return less)"
