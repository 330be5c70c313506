"""What varies in actuators. The arguments are those of `metarl_envs.vary.model`."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import torch
from torch import Tensor

from metarl_envs.distributions import Choice
from metarl_envs.elements import Patterns, find
from metarl_envs.elements import names as names_of
from metarl_envs.errors import InputError
from metarl_envs.numbers import wholes
from metarl_envs.parameters import Fields, ModelEffect, Parameter
from metarl_envs.robots.kinds import ModelledRobot
from metarl_envs.vary.change import Entries, Range, apply, changed, name_from, per_entry, ranged


def gear(
    robot: ModelledRobot,
    names: Patterns,
    train: Range,
    *,
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Factor on the gear of actuators: how much force on the joint a unit of control makes."""
    model = robot.load_model()
    actuators = find(model, "actuator", names)
    entries = Entries(
        [[a] for a in actuators], [float(model.actuator_gear[a, 0]) for a in actuators]
    )
    name, what = name or name_from(names, "gear"), f"gear of {names}"
    return changed(name, what, "1", "actuator_gear", entries, "scale", train, extrapolation, each)


def gain(
    robot: ModelledRobot,
    names: Patterns,
    train: Range,
    *,
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Factor on the gain of actuators; of a position or velocity servo, on its kp or kv.

    A servo's force is gain * (control - measured): the bias that mirrors the gain goes with it.

    Raises:
        InputError: for a gain that is not a constant, such as a muscle's.
    """
    model = robot.load_model()
    actuators = find(model, "actuator", names)
    name = name or name_from(names, "gain")
    for actuator in actuators:
        if model.actuator_gaintype[actuator] != mujoco.mjtGain.mjGAIN_FIXED:
            raise InputError(
                f"{name}: actuator '{names_of(model, 'actuator')[actuator]}' has no constant "
                "gain; vary its gear"
            )
    groups = [[actuator] for actuator in actuators]

    def transform(fields: Fields, value: Tensor) -> Fields:
        gains, biases = (fields[f"actuator_{n}prm"].clone() for n in ("gain", "bias"))
        values = per_entry(value, groups, each)
        mirrored = (biases == -gains[:, :, :1]) & (gains[:, :, :1] != 0)
        scaled = apply(biases[:, actuators], values, "scale")
        biases[:, actuators] = torch.where(mirrored[:, actuators], scaled, biases[:, actuators])
        gains[:, actuators, 0] = apply(gains[:, actuators, 0], values, "scale")
        return {"actuator_gainprm": gains, "actuator_biasprm": biases}

    effect = ModelEffect(("actuator_gainprm", "actuator_biasprm"), transform)
    nominal = (1.0,) * len(actuators) if each else 1.0
    return ranged(name, "1", f"factor on gain of {names}", nominal, train, extrapolation, effect)


def force_limit(
    robot: ModelledRobot,
    names: Patterns,
    train: Range,
    *,
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Factor on the largest and smallest force of actuators.

    Raises:
        InputError: for actuators without `forcerange`.
    """
    model = robot.load_model()
    actuators = find(model, "actuator", names)
    name = name or name_from(names, "force_limit")
    for actuator in actuators:
        if not model.actuator_forcelimited[actuator]:
            raise InputError(
                f"{name}: actuator '{names_of(model, 'actuator')[actuator]}' has no limit in the "
                "model; give it a forcerange there"
            )
    limits = [float(model.actuator_forcerange[actuator, 1]) for actuator in actuators]
    entries = Entries([[actuator] for actuator in actuators], limits)
    return changed(
        name,
        f"force limit of {names}",
        "N or N m",
        "actuator_forcerange",
        entries,
        "scale",
        train,
        extrapolation,
        each,
    )


def dead_actuator(
    robot: ModelledRobot,
    names: Patterns,
    *,
    train: Sequence[int] | None = None,
    extrapolation: Sequence[int] | None = None,
    name: str = "dead_actuator",
) -> Parameter:
    """One actuator, or one group of them, gives no force.

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
    return _faulty(robot, names, 0.0, "without force", train, extrapolation, name)


def reversed_actuator(
    robot: ModelledRobot,
    names: Patterns,
    *,
    train: Sequence[int] | None = None,
    extrapolation: Sequence[int] | None = None,
    name: str = "reversed_actuator",
) -> Parameter:
    """One actuator, or one group of them, works the other way round; see `dead_actuator`."""
    return _faulty(robot, names, -1.0, "that works in reverse", train, extrapolation, name)


def _faulty(
    robot: ModelledRobot,
    names: Patterns,
    factor: float,
    what: str,
    train: Sequence[int] | None,
    extrapolation: Sequence[int] | None,
    name: str,
) -> Parameter:
    model = robot.load_model()
    if isinstance(names, str):
        groups = [[actuator] for actuator in find(model, "actuator", names)]
        labels = [names_of(model, "actuator")[group[0]] for group in groups]
    else:
        groups, labels = [find(model, "actuator", pattern) for pattern in names], list(names)
    listed = ", ".join(f"{i} {label}" for i, label in enumerate(labels))
    inside = wholes(f"{name}: train", range(len(groups)) if train is None else train)
    beyond = None if extrapolation is None else wholes(f"{name}: extrapolation", extrapolation)
    for number in [*inside, *(beyond or ())]:
        if number not in range(-1, len(groups)):
            raise InputError(f"{name} = {number}: allowed are {listed}, -1 none")
    table = torch.ones(len(groups) + 1, model.nu, dtype=torch.float64)  # the last row: none
    for row, group in enumerate(groups):
        table[row, group] = factor

    def transform(fields: Fields, value: Tensor) -> Fields:
        gears = fields["actuator_gear"]
        return {"actuator_gear": gears * table.to(gears)[value.long()].unsqueeze(-1)}

    return ranged(
        name,
        "1",
        f"the actuator {what}: {listed}; -1 none",
        -1.0,
        Choice(inside),
        None if beyond is None else Choice(beyond),
        ModelEffect(("actuator_gear",), transform),
    )
