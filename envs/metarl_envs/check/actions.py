"""Checks of the range of actions: whether it fits what the actuators drive.

Many models carry placeholders there, such as one range for all servos, far beyond the joints'.
Training runs, but most of the actions that a policy tries then have the same effect.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import torch
from torch import Tensor

from metarl_envs.check.finding import Finding, listed
from metarl_envs.family import TaskFamily
from metarl_envs.mjcf.names import actuator_of, control_names
from metarl_envs.mjcf.servos import target_law
from metarl_envs.robots.kinds import Robot

HUGE = 1000.0
"""Controls from which on a bound looks like "no limit"."""
WIDER = 2.0
"""Times its joint's range that a servo may be commanded over without a question."""
JUMP = 0.2
"""Share of its range by which a servo may move at the first step without a question."""
FIX = "bound it with action_low= and action_high= of mujoco_robot, or with ctrlrange in the model"


@dataclass(frozen=True)
class Drive:
    """One actuator: what its controls mean."""

    name: str
    kind: str
    """Such as "motor of a hinge": kinds that hardly share a range."""
    low: float
    high: float
    """Of the action."""
    strongest: float
    """The largest force that an action asks for, as a share of the largest that is allowed."""
    positions: tuple[float, float] | None = None
    """Of a position servo on a joint: the positions that the lowest and highest action command."""
    limits: tuple[float, float] | None = None
    """Of that joint; None: none."""
    start: float = 0.0
    """Start position of that joint."""
    middle: float = 0.0
    """Position to which the middle action, a policy's output 0, sends it."""
    holding: float = 0.0
    """The action that holds it where it starts, or nearest to there; of others, the middle."""
    unit: str = "rad"

    @property
    def span(self) -> float:
        """Between the positions of a servo; 0 of other kinds."""
        return 0.0 if self.positions is None else _span(self.positions)


def actions(family: TaskFamily) -> Iterator[Finding]:
    """Ranges that look like placeholders, and servos that jump as soon as an episode begins."""
    low, high = family.action_bounds()
    robot = family.robot
    found: list[str] = []
    if robot.xml is None or robot.controls is not None:
        bounds = torch.stack([low, high], dim=1).tolist()
        huge = [f"action[{i}]" for i, pair in enumerate(bounds) if _is_huge(*pair)]
        found += _of_any(huge, f"reaches {HUGE:g} or more: a placeholder? Bound it")
    else:
        found += _questions(drives(robot, low, high, family.middle_action()))
    for question in found:
        yield Finding("actions", "note", question)
    if not found:
        yield Finding("actions", "ok", f"{len(low)}, in ranges that fit what they drive")


def _of_any(names: list[str], text: str) -> list[str]:
    return [f"{listed(names)}: {text}"] if names else []


def _span(limits: tuple[float, float]) -> float:
    return limits[1] - limits[0]


def _is_huge(low: float, high: float) -> bool:
    return max(abs(low), abs(high)) >= HUGE


def _questions(found: list[Drive]) -> list[str]:
    """Questions about the ranges of a model's actuators, each in a line."""
    asked = _of_any(
        [d.name for d in found if _is_huge(d.low, d.high)],
        f"actions reach {HUGE:g} or more, which looks like a placeholder; {FIX}",
    )
    every, found = found, [d for d in found if not _is_huge(d.low, d.high)]
    weak = [d for d in found if d.strongest > WIDER]
    asked += _of_any(
        [f"'{d.name}' {d.strongest:.3g} times" for d in weak],
        f"actions ask for more force than forcerange allows, so most of them are the same; {FIX}",
    )
    servos = [d for d in found if d.positions is not None]
    wide = [(d, d.limits) for d in servos if d.limits and d.span > WIDER * _span(d.limits)]
    degrees = all(math.isclose(d.span / _span(of), 180 / math.pi, rel_tol=0.1) for d, of in wide)
    asked += _of_any(
        [f"{_from_to(d)}, its joint moves from {of[0]:.3g} to {of[1]:.3g}" for d, of in wide],
        'the model gives ranges of joints in degrees, unless it says <compiler angle="radian"/>'
        if degrees
        else f"far more than the joint can do, so most actions press against its limits; {FIX}",
    )
    turning = [d for d in servos if not d.limits and d.unit == "rad" and d.span > 6.28]
    asked += _of_any(
        [_from_to(d) for d in turning],
        f"a whole turn or more of a joint without limits: a placeholder? If so, {FIX}",
    )
    kinds, ranges = sorted({d.kind for d in found}), {(d.low, d.high) for d in found}
    low, high = min(ranges, default=(0.0, 0.0))
    if len(ranges) == 1 and len(kinds) > 1 and high - low > 2 and not asked:
        asked.append(
            f"all {len(found)} actions reach from {low:.3g} to {high:.3g}, though they are of "
            f"different kinds ({listed(kinds)}): a placeholder? If so, {FIX}"
        )
    steady = [d for d in servos if d not in turning and d not in dict(wide)]
    return asked + _jumps(steady, [d.holding for d in every])


def _jumps(servos: list[Drive], holding: list[float]) -> list[str]:
    """Servos whose middle action, around which training begins, is far from where they start."""
    far: list[tuple[float, str, bool]] = []
    for drive in servos:
        assert drive.positions is not None
        low, high = drive.positions
        way = drive.middle - drive.start
        outside = not low <= drive.start <= high
        if outside or abs(way) > JUMP * drive.span:
            where = f"'{drive.name}' by {way:+.2g} {drive.unit}"
            if outside:
                where += f" (its range {low:.3g} to {high:.3g} leaves out the start)"
            far.append((abs(way), where, outside))
    if not far:
        return []
    far.sort(reverse=True)
    start = ", ".join(f"{control:.3g}" for control in holding)
    return [
        "an untrained policy acts around the middle of its actions, which moves the robot from its "
        f"start at once: {listed([where for _, where, _ in far])}; centre actions on the start "
        f"with action_middle=[{start}] of mujoco_robot, or start at a keyframe="
    ]


def _from_to(drive: Drive) -> str:
    assert drive.positions is not None
    low, high = drive.positions
    return f"'{drive.name}' is sent from {low:.3g} to {high:.3g} {drive.unit}"


def drives(robot: Robot, low: Tensor, high: Tensor, middle: Tensor) -> list[Drive]:
    """The effect of actions from `low` to `high` around `middle`, (A,), on each actuator."""
    model = robot.load_model()
    qpos = robot.initial_state()[0]
    called = control_names(model)
    found = []
    for control, bounds in enumerate(torch.stack([low, high], dim=1).tolist()):
        i = actuator_of(model, control)
        on_joint = model.actuator_trntype[i] == mujoco.mjtTrn.mjTRN_JOINT
        joint = int(model.actuator_trnid[i, 0])
        slides = on_joint and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE
        scalar = slides or (on_joint and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE)
        servo = target_law(model, control)
        what = "joint" if on_joint else "tendon, site or body"
        what = {True: "slide", False: "hinge"}[slides] if scalar else what
        name = called[control] or f"number {control}"
        kind = f"{'position servo' if servo else 'other actuator'} of a {what}"
        drive = Drive(
            name,
            kind,
            *bounds,
            strongest=_strongest(model, i, bounds),
            holding=float(middle[control]),
        )
        gear = float(model.actuator_gear[model.actuator_outadr[i], 0])
        if servo and scalar and gear != 0:
            *sent, central = (
                (servo[0] + servo[1] * u) / gear for u in (*bounds, float(middle[control]))
            )
            lowest, highest = (float(bound) for bound in model.jnt_range[joint])
            start = float(qpos[model.jnt_qposadr[joint]])
            drive = dataclasses.replace(
                drive,
                positions=(min(sent), max(sent)),
                limits=(lowest, highest) if model.jnt_limited[joint] else None,
                start=start,
                middle=central,
                holding=min(max((start * gear - servo[0]) / servo[1], bounds[0]), bounds[1]),
                unit="m" if slides else "rad",
            )
        found.append(drive)
    return found


def _strongest(model: mujoco.MjModel, actuator: int, bounds: list[float]) -> float:
    """Of a motor, the largest force asked for as a share of the largest allowed; else 0."""
    is_motor = (
        model.actuator_gaintype[actuator] == mujoco.mjtGain.mjGAIN_FIXED
        and model.actuator_biastype[actuator] == mujoco.mjtBias.mjBIAS_NONE
        and model.actuator_dyntype[actuator] == mujoco.mjtDyn.mjDYN_NONE
    )
    if not is_motor or not model.actuator_forcelimited[actuator]:
        return 0.0
    allowed = float(abs(model.actuator_forcerange[actuator]).max())
    asked = abs(float(model.actuator_gainprm[actuator, 0])) * max(map(abs, bounds))
    return asked / allowed if allowed else math.inf
