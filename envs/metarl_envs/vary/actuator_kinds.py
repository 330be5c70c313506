"""Kinds of actuators, by MuJoCo's law of force, and where each kind keeps what may vary.

Without activation the force of most actuators is gain * control + bias; with it, gain * activation
+ bias. `actuator_gainprm` and `actuator_biasprm` hold the numbers of both; what they mean depends
on the types of gain and bias (MuJoCo's documentation, "Actuation model").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import mujoco

from metarl_envs.errors import InputError
from metarl_envs.mjcf.names import Patterns, find
from metarl_envs.mjcf.names import names as names_of
from metarl_envs.vary.apply import Entries

Kind = Literal[
    "motor",
    "position servo",
    "integrated-velocity servo",
    "velocity servo",
    "PID servo",
    "orientation servo",
    "damper",
    "cylinder",
    "muscle",
    "adhesion actuator",
    "DC motor",
    "general actuator",
    "user-defined actuator",
]
Factor = Literal["strength", "stiffness", "servo_damping", "gain", "gear"]
"""Names of the functions in `vary` that make a factor, besides limits."""
Columns = tuple[tuple[int, ...], tuple[int, ...]]
"""Entries of an actuator's row in `actuator_gainprm`, and in `actuator_biasprm`."""

LACKS: Mapping[Factor, str] = {
    "strength": "has no numbers that all of its force is proportional to",
    "stiffness": "has no stiffness (kp)",
    "servo_damping": "has no damping of its own (kv)",
    "gain": "has no constant gain",
    "gear": "has no gear",
}
GAIN, BIAS = mujoco.mjtGain, mujoco.mjtBias
TRANSMISSION, INPUT, DYN = mujoco.mjtTrn, mujoco.mjtCtrlInput, mujoco.mjtDyn

# A position servo's force is kp * (target - length) - kv * speed, whatever its control is mapped
# from: gain * control + biasprm[0] is kp * target, so that both go along with kp = -biasprm[1].
KP: Columns = ((0,), (0, 1))
KV: Columns = ((), (2,))
SERVO: Mapping[Factor, Columns] = {"stiffness": KP, "servo_damping": KV, "gain": KP}
SPEED: Columns = ((0,), (0, 2))  # likewise, where gain * control + biasprm[0] is kv * target speed
CONSTANT: Mapping[Factor, Columns] = {"gain": ((0,), ())}
COLUMNS: Mapping[Kind, Mapping[Factor, Columns]] = {
    "motor": CONSTANT,
    "position servo": SERVO,
    "integrated-velocity servo": SERVO,
    "velocity servo": {"servo_damping": SPEED, "gain": SPEED},
    "PID servo": {"stiffness": ((), (0, 1)), "servo_damping": KV},  # gainprm[0] is ki
    "orientation servo": {"stiffness": ((0,), (1,)), "servo_damping": KV, "gain": ((0,), (1,))},
    "damper": {"servo_damping": ((2,), ())},
    "cylinder": CONSTANT,
    "adhesion actuator": CONSTANT,
    "DC motor": {"stiffness": ((4,), ()), "servo_damping": ((6,), ())},  # of its controller
    "muscle": {},
    "general actuator": {},
    "user-defined actuator": {},
}
"""The entries that a factor multiplies; strength follows from the types of gain and bias alone."""
FORCE_OF_GAIN = {
    GAIN.mjGAIN_FIXED: (0,),
    GAIN.mjGAIN_AFFINE: (0, 1, 2),
    GAIN.mjGAIN_MUSCLE: (2,),
    GAIN.mjGAIN_SO3: (0,),
    GAIN.mjGAIN_PID: (0,),
}
FORCE_OF_BIAS = {
    BIAS.mjBIAS_NONE: (),
    BIAS.mjBIAS_AFFINE: (0, 1, 2),
    BIAS.mjBIAS_MUSCLE: (2,),
    BIAS.mjBIAS_SO3: (1, 2),
}
"""Entries of which the force is a linear function. A DC motor's is none of its constants."""


@dataclass(frozen=True)
class Actuator:
    """One actuator of a model."""

    index: int
    name: str
    kind: Kind
    entries: Mapping[Factor, Entries]
    """The entries that each factor multiplies; no factor that its kind lacks or has only as 0."""


def actuators(model: mujoco.MjModel, patterns: Patterns) -> list[Actuator]:
    """The actuators that any of the patterns matches, in the model's order.

    Raises:
        InputError: for a pattern that matches nothing.
    """
    known = names_of(model, "actuator")
    found = []
    for index in find(model, "actuator", patterns):
        kind = _kind(model, index)
        found.append(Actuator(index, known[index], kind, _entries(model, index, kind)))
    return found


def entries_of(name: str, actuator: Actuator, factor: Factor) -> Entries:
    """The entries of an actuator that a factor multiplies.

    Raises:
        InputError: naming parameter `name`, actuator, kind, and what can vary instead.
    """
    if factor not in actuator.entries:
        instead = [f"vary.{known}" for known in (*actuator.entries, "force_limit")]
        if factor == "servo_damping":
            instead.append("vary.damping of its joint")
        if factor == "stiffness":
            instead.append("vary.joint_stiffness of its joint's spring")
        raise InputError(
            f"{name}: actuator '{actuator.name}', of the kind '{actuator.kind}', {LACKS[factor]}; "
            f"use {', '.join(instead[:-1])} or {instead[-1]}"
        )
    return actuator.entries[factor]


def _entries(model: mujoco.MjModel, index: int, kind: Kind) -> Mapping[Factor, Entries]:
    found: dict[Factor, dict[str, Any]] = {
        factor: {
            field: (index, list(numbers))
            for field, numbers in (("actuator_gainprm", of_gain), ("actuator_biasprm", of_bias))
            if numbers
        }
        for factor, (of_gain, of_bias) in _columns(model, index, kind).items()
    }
    # Measured: whatever stands in actuator_gear, the moment of these two stays as it is.
    transmission = TRANSMISSION(int(model.actuator_trntype[index]))
    if transmission not in (TRANSMISSION.mjTRN_BODY, TRANSMISSION.mjTRN_SO3):
        output = int(model.actuator_outadr[index])
        found["gear"] = {"actuator_gear": output}
        if kind == "muscle":
            found["gear"]["actuator_lengthrange"] = output
    found = {factor: entries for factor, entries in found.items() if _any(model, entries)}
    if "strength" in found and model.actuator_forcelimited[index]:
        found["strength"]["actuator_forcerange"] = index
    return found


def _columns(model: mujoco.MjModel, index: int, kind: Kind) -> dict[Factor, Columns]:
    gain, bias = _types(model, index)
    # A feedforward force has no gain.
    feedforward = kind == "PID servo" and model.actuator_ctrlspec[index] & INPUT.mjINPUT_FF
    if kind == "user-defined actuator" or feedforward:
        return dict(COLUMNS[kind])
    if gain not in FORCE_OF_GAIN or bias not in FORCE_OF_BIAS:
        return dict(COLUMNS[kind])
    return {"strength": (FORCE_OF_GAIN[gain], FORCE_OF_BIAS[bias]), **COLUMNS[kind]}


def _any(model: mujoco.MjModel, entries: Entries) -> bool:
    return any(getattr(model, field)[index].any() for field, index in entries.items())


def _kind(model: mujoco.MjModel, index: int) -> Kind:
    gain, bias = _types(model, index)
    if model.actuator_plugin[index] >= 0 or gain == GAIN.mjGAIN_USER or bias == BIAS.mjBIAS_USER:
        return "user-defined actuator"
    if gain == GAIN.mjGAIN_MUSCLE or bias == BIAS.mjBIAS_MUSCLE:
        return "muscle"
    if gain == GAIN.mjGAIN_DCMOTOR or bias == BIAS.mjBIAS_DCMOTOR:
        return "DC motor"
    if gain == GAIN.mjGAIN_SO3:
        return "orientation servo"
    if gain == GAIN.mjGAIN_PID:
        return "PID servo"
    return _of_affine_force(model, index)


def _of_affine_force(model: mujoco.MjModel, index: int) -> Kind:
    """The kind of an actuator whose force is affine in control, length and speed."""
    gain, bias = _types(model, index)
    offset, length, speed = (
        model.actuator_biasprm[index, :3].tolist() if bias == BIAS.mjBIAS_AFFINE else (0, 0, 0)
    )
    if gain == GAIN.mjGAIN_AFFINE:
        plain = not (offset or length or speed or model.actuator_gainprm[index, :2].any())
        return "damper" if plain else "general actuator"
    if model.actuator_trntype[index] == TRANSMISSION.mjTRN_BODY:
        return "adhesion actuator"
    if model.actuator_ctrlspec[index] == INPUT.mjINPUT_PRESSURE:
        return "cylinder"
    if length == speed == 0:
        return "motor"
    if length < 0 and speed <= 0:
        integrates = model.actuator_dyntype[index] == DYN.mjDYN_INTEGRATOR
        return "integrated-velocity servo" if integrates else "position servo"
    return "velocity servo" if length == 0 and speed < 0 else "general actuator"


def _types(model: mujoco.MjModel, index: int) -> tuple[mujoco.mjtGain, mujoco.mjtBias]:
    return GAIN(int(model.actuator_gaintype[index])), BIAS(int(model.actuator_biastype[index]))
