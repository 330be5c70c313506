"""Families whose teachers are told nothing: a control of what knowing the hidden numbers is worth.

    metarl train experiments/told_nothing.py:quadrotor_wind --method teacher-student ...

A teacher that is told nothing is a robust policy, trained by the PPO that trains teachers: what it
returns less than a teacher of the same settings is owed to the hidden numbers, and not to another
implementation of PPO. Its student imitates it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from metarl_envs import TaskFamily, Tasks, get_family


class ToldNothing(TaskFamily):
    """A family that says nothing of its tasks."""

    def task_features(self, tasks: Tasks) -> Tensor:
        return super().task_features(tasks)[:, :0]


def told_nothing(name: str) -> ToldNothing:
    """A shipped family, of another name, that tells nothing of its tasks."""
    family = get_family(name)
    fields: dict[str, Any] = {
        field.name: getattr(family, field.name) for field in dataclasses.fields(family)
    }
    fields["name"] = f"{name}-told-nothing"
    return ToldNothing(**fields)


arm_encoder = told_nothing("arm-encoder")
arm_reach = told_nothing("arm-reach")
base_reversed = told_nothing("base-reversed")
navigate_hidden = told_nothing("navigate-hidden")
puck_slide = told_nothing("puck-slide")
quadrotor_wind = told_nothing("quadrotor-wind")
quadruped_load = told_nothing("quadruped-load")
