"""Goals, and parameters of the signals between policy and robot: delay, noise, bias."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from metarl_envs.distributions import Choice
from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import whole, wholes
from metarl_envs.parameters import Parameter
from metarl_envs.perturbations import (
    ActionDelay,
    ObservationBias,
    ObservationGain,
    ObservationNoise,
)
from metarl_envs.robots.kinds import Robot, check_robot
from metarl_envs.vary.apply import Range, ranged


def goal(
    name: str,
    train: Range,
    nominal: float | Sequence[float],
    *,
    unit: str = "1",
    description: str = "read by the reward",
    extrapolation: Range | None = None,
    observed: bool = False,
) -> Parameter:
    """A number or vector that only the reward reads, as `transition.task[name]`.

    Args:
        name: of the parameter.
        train: its range, for each entry of a vector.
        nominal: its usual value; its length is the parameter's.
        unit: SI unit.
        description: for tables and help.
        extrapolation: values outside of `train`.
        observed: True if the policy observes it, at the end of its observation, after the values
            of observed parameters before it; all other parameters stay hidden.
    """
    made = ranged(name, unit, description, nominal, train, extrapolation, None)
    return dataclasses.replace(made, observed=observed)


def action_delay(
    longest: int, *, extrapolation: Sequence[int] = (), name: str = "action_delay"
) -> Parameter:
    """Actions reach the robot 0, 1, ... or `longest` control steps late.

    Until the first one arrives, the controls are those of the robot's keyframe. Where it names
    none, or there is no keyframe, position servos hold the pose in which the model starts, and
    other actuators get 0 (or the nearest that is allowed).

    Raises:
        InputError: for a `longest` below 1, or extrapolation values that are not above it.
    """
    longest = whole(f"{name}: longest", longest, least=1)
    beyond = wholes(f"{name}: extrapolation", extrapolation)
    if any(steps <= longest for steps in beyond):
        raise InputError(
            f"{name}: extrapolation = {list(beyond)}: must be whole numbers of control steps above "
            f"{longest}"
        )
    return Parameter(
        name=name,
        unit="steps",
        description="control steps from the policy's action to the robot",
        nominal=0.0,
        train=Choice(tuple(range(longest + 1))),
        extrapolation=Choice(beyond) if beyond else None,
        effect=ActionDelay(max([longest, *beyond])),
    )


def observation_noise(
    robot: Robot,
    train: Range,
    *,
    entries: Sequence[int] | None = None,
    extrapolation: Range | None = None,
    name: str = "observation_noise",
) -> Parameter:
    """Independent noise on every observation; the parameter is its standard deviation.

    Args:
        robot: whose observation it is.
        train: range, in the units of the observation, >= 0.
        entries: indices of the observation that it falls on; None: all of them.
        extrapolation: values outside of `train`.
        name: of the parameter.

    Raises:
        InputError: for an entry that the observation does not have.
    """
    effect = ObservationNoise(_entries(robot, entries, name))
    what = f"standard deviation of the noise on {_count(effect.entries)}"
    return ranged(name, "as observed", what, 0.0, train, extrapolation, effect)


def observation_bias(
    robot: Robot,
    train: Range,
    *,
    entries: Sequence[int] | None = None,
    each: bool = True,
    extrapolation: Range | None = None,
    name: str = "observation_bias",
) -> Parameter:
    """A constant error of the observation, such as a sensor's offset.

    Args:
        robot: whose observation it is.
        train: range, in the units of the observation.
        entries: indices of the observation that it falls on; None: all of them.
        each: every entry has an error of its own, instead of one for all.
        extrapolation: values outside of `train`.
        name: of the parameter.

    Raises:
        InputError: for an entry that the observation does not have.
    """
    effect = ObservationBias(_entries(robot, entries, name))
    nominal = (0.0,) * len(effect.entries) if each else 0.0
    what = f"constant error of {_count(effect.entries)}"
    return ranged(name, "as observed", what, nominal, train, extrapolation, effect)


def observation_gain(
    robot: Robot,
    train: Range,
    *,
    entries: Sequence[int] | None = None,
    each: bool = True,
    extrapolation: Range | None = None,
    name: str = "observation_gain",
) -> Parameter:
    """A factor of the observation, such as of a sensor that is badly calibrated; -1 mirrors it.

    Noise and bias come on top of it.

    Args:
        robot: whose observation it is.
        train: range; 1 is the sensor as it should be.
        entries: indices of the observation that it multiplies; None: all of them.
        each: every entry has a factor of its own, instead of one for all.
        extrapolation: values outside of `train`.
        name: of the parameter.

    Raises:
        InputError: for an entry that the observation does not have.
    """
    effect = ObservationGain(_entries(robot, entries, name))
    nominal = (1.0,) * len(effect.entries) if each else 1.0
    what = f"factor of {_count(effect.entries)}"
    return ranged(name, "1", what, nominal, train, extrapolation, effect)


def _entries(robot: Robot, entries: Sequence[int] | None, name: str) -> tuple[int, ...]:
    check_robot(robot)
    size = robot.observation_size
    given = tuple(range(size)) if entries is None else wholes(f"{name}: entries", entries)
    if not given or any(not 0 <= entry < size for entry in given) or len(set(given)) < len(given):
        raise InputError(
            f"{name}: entries = {list(given)}: must be different indices from 0 to {size - 1}, "
            f"as {robot.name} has {size} observations"
        )
    return given


def _count(entries: Sequence[int]) -> str:
    return f"{len(entries)} observation{'s' if len(entries) > 1 else ''}"
