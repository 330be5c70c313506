"""Actuators that fail: without force, or in reverse. The arguments are those of `dead_actuator`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metarl_envs.distributions import Choice
from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import wholes
from metarl_envs.mjcf.names import Patterns, find, texts
from metarl_envs.parameters import Fields, ModelEffect, Parameter
from metarl_envs.robots.kinds import Robot, model_of
from metarl_envs.vary.actuator_kinds import Actuator, Kind, actuators, entries_of
from metarl_envs.vary.apply import Entries, changed, owners, ranged

NO_REVERSE: Mapping[Kind, str] = {
    "muscle": "can only pull",
    "damper": "damps both ways alike",
    "adhesion actuator": "can only pull",
    "orientation servo": "has no gear to reverse",
}


def dead_actuator(
    robot: Robot,
    names: Patterns,
    *,
    train: Sequence[int] | None = None,
    extrapolation: Sequence[int] | None = None,
    name: str = "dead_actuator",
) -> Parameter:
    """One actuator, or one group of them, gives no force: its `actuator_force` is 0.

    That is a strength of 0. A DC motor, or another without a strength, gets a gear of 0: nothing
    reaches the joint, whatever force the actuator computes. Damping and armature that stand at the
    joint remain.

    Args:
        robot: whose model is changed.
        names: one pattern: each actuator that it matches fails alone; several: the actuators of
            one pattern fail together, as those of a leg.
        train: which of them fail in training, by their order; None: all. -1 is none.
        extrapolation: which of them fail only in extrapolation.
        name: of the parameter.

    Raises:
        InputError: for an unknown actuator or number.
    """
    found = actuators(model_of(robot), names)
    entries = [
        entries_of(name, actuator, "strength" if "strength" in actuator.entries else "gear")
        for actuator in found
    ]
    what = "without force"
    return _faulty(robot, names, found, entries, 0.0, what, train, extrapolation, name)


def reversed_actuator(
    robot: Robot,
    names: Patterns,
    *,
    train: Sequence[int] | None = None,
    extrapolation: Sequence[int] | None = None,
    name: str = "reversed_actuator",
) -> Parameter:
    """One actuator, or one group of them, is mounted the other way round: its gear is negative.

    A motor pushes the other way. A servo measures the other way, too: it remains stable, and goes
    to the negative of its target. See `dead_actuator` for the arguments.

    Raises:
        InputError: for an unknown actuator or number, and for muscles, dampers, adhesion and
            orientation servos, which have no other way round.
    """
    found = actuators(model_of(robot), names)
    for actuator in found:
        if actuator.kind in NO_REVERSE:
            raise InputError(
                f"{name}: actuator '{actuator.name}', of the kind '{actuator.kind}', "
                f"{NO_REVERSE[actuator.kind]}; leave it out, or use vary.dead_actuator or "
                "vary.strength"
            )
    entries = [entries_of(name, actuator, "gear") for actuator in found]
    what = "that works in reverse"
    return _faulty(robot, names, found, entries, -1.0, what, train, extrapolation, name)


def _faulty(
    robot: Robot,
    names: Patterns,
    found: Sequence[Actuator],
    entries: Sequence[Entries],
    factor: float,
    what: str,
    train: Sequence[int] | None,
    extrapolation: Sequence[int] | None,
    name: str,
) -> Parameter:
    """A choice of the group of actuators whose entries are multiplied by `factor`."""
    model = model_of(robot)
    if isinstance(names, str):
        groups = [[actuator.index] for actuator in found]
        labels = [actuator.name for actuator in found]
    else:
        labels = texts(names)
        groups = [find(model, "actuator", label) for label in labels]
    listed = ", ".join(f"{i} {label}" for i, label in enumerate(labels))
    inside = wholes(f"{name}: train", range(len(groups)) if train is None else train)
    beyond = None if extrapolation is None else wholes(f"{name}: extrapolation", extrapolation)
    for number in [*inside, *(beyond or ())]:
        if number not in range(-1, len(groups)):
            raise InputError(f"{name} = {number}: allowed are {listed}, -1 none")
    owned = owners(model, entries)
    # A row of factors for each group; the last row, number -1, changes nothing.
    table = torch.ones(len(groups) + 1, len(found), dtype=torch.float64)
    for row, group in enumerate(groups):
        table[row, [actuator.index in group for actuator in found]] = factor

    def transform(fields: Fields, value: Tensor) -> Fields:
        return changed(fields, owned, table.to(value.device)[value.long()], "scale")

    return ranged(
        name,
        "1",
        f"the actuator {what}: {listed}; -1 none",
        -1.0,
        Choice(inside),
        None if beyond is None else Choice(beyond),
        ModelEffect(tuple(owned), transform),
    )
