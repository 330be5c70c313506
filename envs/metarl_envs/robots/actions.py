"""Bounds and middle of a robot's actions; a policy's output 0 means the middle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import mujoco
import numpy as np
import torch
from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import is_number, real, reals
from metarl_envs.mjcf.names import actuator_of, control_names, names
from metarl_envs.mjcf.servos import target_law
from metarl_envs.robots.base import MujocoRobot

STRAIGHT = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
"""Joints whose position is one number."""
Controls = float | Sequence[float] | np.ndarray | Tensor
"""One number for all controls, or one for each."""


def with_actions(
    robot: MujocoRobot, low: Controls | None, high: Controls | None, middle: Controls | None
) -> MujocoRobot:
    """The robot with these bounds and this middle; see `mujoco_robot` for what None means.

    Raises:
        InputError: for an actuator without a range, wrong lengths, bounds outside its control
            range or in the wrong order, or a middle outside the bounds.
    """
    model = robot.load_model()
    lows, highs, given = (
        _row(f"action_{end}", value, model.nu)
        for end, value in (("low", low), ("high", high), ("middle", middle))
    )
    if lows is None or highs is None:
        _check_ranges(robot, model)
    robot = dataclasses.replace(robot, action_low=lows, action_high=highs)
    lowest, highest = robot.action_bounds()
    _check_bounds(model, lowest, highest)
    if given is not None:
        _check_middle(model, given, lowest, highest)
        wanted = torch.tensor(given, dtype=torch.float64)
    else:
        held = robot.keyframe_controls()
        wanted = (lowest + highest) / 2 if held is None else held.clamp(lowest, highest)
    central = torch.equal(wanted, (lowest + highest) / 2)
    return dataclasses.replace(robot, action_middle=None if central else tuple(wanted.tolist()))


def _row(name: str, value: Controls | None, size: int) -> tuple[float, ...] | None:
    """One number for each of `size` controls; None: None."""
    if value is None:
        return None
    row = (real(name, value),) * size if is_number(value) else reals(name, value)
    if len(row) != size:
        raise InputError(
            f"{name} = {list(row)}: must be one number, or one for each of {size} controls"
        )
    return row


def _check_ranges(robot: MujocoRobot, model: mujoco.MjModel) -> None:
    """Refuse controls that nothing bounds, with bounds that could be given."""
    for control, (low, high) in enumerate(model.actuator_ctrlrange):
        if not low < high:
            lows, highs = zip(*(_suggested(model, i) for i in range(model.nu)), strict=True)
            raise InputError(
                f"model {robot.xml}: {_named(model, control)} has no control range; give it one "
                'there, such as ctrlrange="-1 1", or give mujoco_robot '
                f"action_low={_shown(lows)} and action_high={_shown(highs)}, {_why(model, control)}"
            )


def _check_bounds(model: mujoco.MjModel, lows: Tensor, highs: Tensor) -> None:
    for i, (low, high) in enumerate(zip(lows.tolist(), highs.tolist(), strict=True)):
        if not low < high:
            raise InputError(
                f"action_low[{i}] = {low:g} ({_named(model, i)}): must be below action_high[{i}] "
                f"= {high:g}"
            )
        least, most = model.actuator_ctrlrange[i].tolist()
        for name, bound in (("action_low", low), ("action_high", high)):
            if model.actuator_ctrllimited[i] and not least <= bound <= most:
                raise InputError(
                    f"{name}[{i}] = {bound:g} ({_named(model, i)}): must be within its control "
                    f"range, [{least:g}, {most:g}], to which MuJoCo clamps"
                )


def _check_middle(
    model: mujoco.MjModel, given: tuple[float, ...], lows: Tensor, highs: Tensor
) -> None:
    for i, (middle, low, high) in enumerate(zip(given, lows.tolist(), highs.tolist(), strict=True)):
        if not low <= middle <= high:
            raise InputError(
                f"action_middle[{i}] = {middle:g} ({_named(model, i)}): must be within "
                f"[{low:g}, {high:g}]"
            )


def _suggested(model: mujoco.MjModel, control: int) -> tuple[float, float]:
    """Its range; else the controls at which a servo rests at its joint's limits; else +-1."""
    low, high = model.actuator_ctrlrange[control]
    if low < high:
        return float(low), float(high)
    joint = _servo_joint(model, control)
    if joint is None:
        return -1.0, 1.0
    law = target_law(model, control)
    assert law is not None
    gear = model.actuator_gear[model.actuator_outadr[actuator_of(model, control)], 0]
    low, high = sorted((model.jnt_range[joint] * gear - law[0]) / law[1])
    return float(low), float(high)


def _servo_joint(model: mujoco.MjModel, control: int) -> int | None:
    """The limited hinge or slide that a position servo drives; None for other actuators."""
    actuator = actuator_of(model, control)
    joint = int(model.actuator_trnid[actuator, 0])
    servo = (
        target_law(model, control) is not None
        and mujoco.mjtTrn(model.actuator_trntype[actuator]) == mujoco.mjtTrn.mjTRN_JOINT
        and mujoco.mjtJoint(model.jnt_type[joint]) in STRAIGHT
        and model.jnt_limited[joint]
    )
    return joint if servo else None


def _why(model: mujoco.MjModel, control: int) -> str:
    """The reason for the suggested bounds."""
    joint = _servo_joint(model, control)
    if joint is None:
        return "as an example"
    low, high = model.jnt_range[joint]
    return (
        f"as it positions joint '{names(model, 'joint')[joint]}', whose range is "
        f"[{low:.4g}, {high:.4g}]"
    )


def _named(model: mujoco.MjModel, control: int) -> str:
    return f"actuator '{control_names(model)[control]}'"


def _shown(row: tuple[float, ...]) -> str:
    """A single number, or a list."""
    shown = [f"{value:.4g}" for value in row]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"
