"""Parameters of actuators. The arguments are those of `metarl_envs.vary.bodies`.

Every parameter is a factor with one meaning, whatever kind of actuator it is on:

    strength: on the force (`actuator_force`) for the same control, activation and state, so on
        all that it is made of, its own `forcerange` included.
    stiffness: on kp, the force per unit of a servo's position error; the length at which it
        settles without a load stays, also where the control is mapped (0 ... 255 to 0 ... 4 cm).
    servo_damping: on kv, the force per unit of a servo's speed error; the speed that a velocity
        servo aims at stays.
    gain: on the force per unit of control; of a servo on kp or kv, as above. Springs and damping
        that a motor or cylinder has as its bias stay.
    gear: on the ratio between the actuator and what it drives. The driven part gets gear * force,
        and length and speed are measured times the gear, too.
    force_limit: on the largest and smallest force, wherever the model has that limit.

    kind of actuator            strength  stiffness       servo_damping  gain       gear
    motor                       gain      refused         refused        gain       yes
    position servo              all       kp              kv             kp         yes, target / g
    integrated-velocity servo   all       kp              kv             kp         yes, target / g
    velocity servo              all       refused         kv             kv         yes, target / g
    PID servo                   all (a)   kp              kv             refused    yes, target / g
    orientation servo           all       kp              kv             kp         refused
    damper                      kv        refused         kv             refused    yes
    cylinder                    all       refused         refused        area       yes
    muscle                      force     refused         refused        refused    yes (b)
    adhesion                    gain      refused         refused        gain       refused
    DC motor                    refused   controller kp   controller kd  refused    yes, target / g
    general with another law    all       refused         refused        refused    yes
    user-defined, plugin        refused   refused         refused        refused    yes

"All" is gain and bias. A refusal says what the actuator has instead. (a) Without a feedforward
input, whose force has no gain. (b) `lengthrange` goes along, so the muscle works at the same point
of its force-length-velocity curves in every pose. A kind is what the law of force says: a `general`
with constant gain whose bias falls with the length is a position servo. The transmission does not
matter, but for an orientation servo and adhesion, whose gear MuJoCo does not use; `gear` multiplies
all six numbers, so a rotor's thrust and its drag go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import mujoco

from metarl_envs.errors import InputError
from metarl_envs.mjcf.names import Patterns, listed
from metarl_envs.mjcf.names import names as names_of
from metarl_envs.parameters import Parameter
from metarl_envs.robots.kinds import Robot, model_of
from metarl_envs.vary.actuator_kinds import TRANSMISSION, Actuator, Factor, actuators, entries_of
from metarl_envs.vary.apply import Entries, Range, changing, check_not_negative, name_from, ranged

WITH_TARGET = (
    "position servo",
    "integrated-velocity servo",
    "velocity servo",
    "PID servo",
    "DC motor",
)


class VaryActuators(Protocol):
    """A function that makes a factor on actuators; the arguments are those of `vary.bodies`."""

    def __call__(
        self,
        robot: Robot,
        names: Patterns,
        train: Range,
        *,
        each: bool = False,
        extrapolation: Range | None = None,
        name: str | None = None,
    ) -> Parameter:
        """The parameter."""
        ...


def _of_actuators(factor: Factor, doc: str) -> VaryActuators:
    """The function that makes this factor, with its docstring."""

    def vary(
        robot: Robot,
        names: Patterns,
        train: Range,
        *,
        each: bool = False,
        extrapolation: Range | None = None,
        name: str | None = None,
    ) -> Parameter:
        model = model_of(robot)
        named = actuators(model, names)
        name = name or name_from(names, factor)
        elements = [entries_of(name, actuator, factor) for actuator in named]
        what = f"{factor.replace('_', ' ')} of {listed(model, 'actuator', names)}"
        if factor == "gear" and any(actuator.kind in WITH_TARGET for actuator in named):
            what += ", which measures with it: a servo settles at target / factor"
        made = _factor(model, name, what, elements, train, extrapolation, each)
        # Only a gear and a motor can be reversed by a factor below 0.
        kinds = {actuator.kind for actuator in named}
        reversible = {"gear": "muscle" not in kinds, "gain": kinds == {"motor"}}
        if not reversible.get(factor, False):
            check_not_negative(made)
        return made

    vary.__name__ = vary.__qualname__ = factor
    vary.__doc__ = doc
    return vary


strength = _of_actuators(
    "strength",
    """Factor on the force of actuators for the same control, activation and state; at least 0.

    A servo's kp and kv go together, so its target stays; its own force limit goes along. A limit
    on the joint or tendon, which bounds all actuators there, stays: see `force_limit`.

    Raises:
        InputError: for a DC motor, whose force is not proportional to any of its constants, a
            feedforward input, and a force that a plugin or the user computes.
    """,
)
stiffness = _of_actuators(
    "stiffness",
    """Factor on kp of position servos; at least 0. Target, damping (kv) and limits stay.

    Under a load a servo sags by load / kp. A kv that stands in the model as `dampratio` is that of
    the model's own kp and masses: with a factor f on kp alone the damping ratio is 1/sqrt(f) of it.
    The spring of a joint itself is `joint_stiffness`.

    Raises:
        InputError: for actuators that are no servo of a position.
    """,
)
servo_damping = _of_actuators(
    "servo_damping",
    """Factor on kv of servos and dampers; at least 0. A velocity servo's target speed stays.

    The joint's own damping is `damping`.

    Raises:
        InputError: for actuators without kv, or with kv = 0.
    """,
)
gain = _of_actuators(
    "gain",
    """Factor on the force of actuators per unit of control; of a servo, on its kp or kv.

    A servo's force is kp * (target - length) - kv * speed: the bias goes with kp, so that the
    target stays, and kv does not; of a velocity servo, with kv.

    Raises:
        InputError: for a gain that is not a constant, such as a muscle's.
    """,
)
gear = _of_actuators(
    "gear",
    """Factor on the gear of actuators: the driven part gets gear times the actuator's force.

    Lengths and speeds are measured times the gear, too, so a servo is another one: with a factor g
    its joint goes to target / g, and is g^2 times as stiff and damped there. `strength` and
    `stiffness` keep the target. The part of the joint's damping and armature that comes from the
    actuator grows with g^2. A muscle's `lengthrange` goes along.

    Raises:
        InputError: for orientation servos and adhesion, which have no gear, a gear of 0, and a
            factor below 0 on a muscle, which can only pull.
    """,
)


def force_limit(
    robot: Robot,
    names: Patterns,
    train: Range,
    *,
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Factor on the largest and smallest force of actuators; at least 0.

    The limit is the actuator's `forcerange`, the `actuatorfrcrange` of its joint or tendon, or
    both. The latter bounds the sum of all actuators there, so that they have to be named together.

    Raises:
        InputError: for actuators without a limit, or whose limit others share.
    """
    model = model_of(robot)
    named = actuators(model, names)
    name = name or name_from(names, "force_limit")
    elements = [_limits(name, model, actuator, named, each) for actuator in named]
    what = f"force limit of {listed(model, 'actuator', names)}"
    made = _factor(model, name, what, elements, train, extrapolation, each)
    check_not_negative(made)
    return made


def _factor(
    model: mujoco.MjModel,
    name: str,
    what: str,
    elements: Sequence[Entries],
    train: Range,
    extrapolation: Range | None,
    each: bool,
) -> Parameter:
    """A factor on each element's entries, or one for all."""
    nominal = (1.0,) * len(elements) if each else 1.0
    effect = changing(model, elements, "scale", each)
    return ranged(name, "1", f"factor on {what}", nominal, train, extrapolation, effect)


def _limits(
    name: str, model: mujoco.MjModel, actuator: Actuator, named: Sequence[Actuator], each: bool
) -> Entries:
    """An actuator's limits: its forcerange, the range of its joint or tendon, or both."""
    found: dict[str, Any] = {}
    if model.actuator_forcelimited[actuator.index]:
        found["actuator_forcerange"] = actuator.index
    transmission, target = _driven(model, actuator.index)
    limited = {"jnt": model.jnt_actfrclimited, "tendon": model.tendon_actfrclimited}
    if transmission in limited and limited[transmission][target]:
        found[f"{transmission}_actfrcrange"] = target
        ours = {other.index for other in named}
        sharing = [i for i in range(model.nactuator) if _driven(model, i) == (transmission, target)]
        if len(sharing) > 1 and (each or not ours.issuperset(sharing)):
            who = ", ".join(f"'{names_of(model, 'actuator')[i]}'" for i in sharing)
            raise InputError(
                f"{name}: actuator '{actuator.name}' is limited by the actuatorfrcrange of what it "
                f"drives, which bounds the sum of {who}; name all of them, without each=True, or "
                "give each a forcerange in the model"
            )
    if not found:
        raise InputError(
            f"{name}: actuator '{actuator.name}', of the kind '{actuator.kind}', has no limit in "
            "the model; give it a forcerange there, or its joint or tendon an actuatorfrcrange"
        )
    return found


def _driven(model: mujoco.MjModel, index: int) -> tuple[str, int]:
    """The joint or tendon that an actuator drives, as MuJoCo's fields name it: ("jnt", 3)."""
    kinds = {
        TRANSMISSION.mjTRN_JOINT: "jnt",
        TRANSMISSION.mjTRN_JOINTINPARENT: "jnt",
        TRANSMISSION.mjTRN_TENDON: "tendon",
    }
    kind = kinds.get(TRANSMISSION(int(model.actuator_trntype[index])), "")
    return kind, int(model.actuator_trnid[index, 0])
