"""Tasks and physical quantities in words, for tables, figures and videos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
"""Longer parameters are shown by their range."""


def quantity_label(name: str) -> tuple[str, str]:
    """What a quantity's name says: "forward_velocity_m_per_s" -> ("forward velocity", "m/s")."""
    for suffix, unit in UNIT_SUFFIXES.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace("_", " "), unit
    return name.replace("_", " "), ""


def task_text(family: TaskFamily, tasks: Tasks, index: int) -> str:
    """One task as a person would type it, with units: "velocity = 1.5 m/s, mass_scale = 0.8"."""
    values = tasks.describe(index)
    return ", ".join(
        f"{parameter.name} = {_number(values[parameter.name])}"
        + ("" if parameter.unit == "1" else f" {parameter.unit}")
        for parameter in family.parameters
    )


def _number(value: float | Sequence[float]) -> str:
    if isinstance(value, (int, float)):
        return f"{value:.3g}"
    entries = np.asarray(value, dtype=np.float64).reshape(-1)
    if len(entries) > LONG_VECTOR:
        return f"{entries.min():.3g} ... {entries.max():.3g} ({len(entries)} values)"
    return "(" + ", ".join(f"{entry:.3g}" for entry in entries) + ")"
