"""Checks of task parameters: each changes something, and no value makes an impossible robot."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from metarl_envs.batch_env import BatchEnv
from metarl_envs.check.contacts import idle_friction
from metarl_envs.check.episodes import many_tasks
from metarl_envs.check.extremes import Extremes, extremes
from metarl_envs.check.finding import ROUNDING, Finding, described_task, size, spread
from metarl_envs.check.motion import Motion, motion
from metarl_envs.family import TaskFamily
from metarl_envs.mjcf.fields import read_field
from metarl_envs.parameters import Parameter, model_fields, varied_fields
from metarl_envs.tasks import Tasks

PLACEMENT = frozenset({"geom_pos", "geom_size", "body_pos"})
"""Fields that say where obstacles are."""


def parameters(family: TaskFamily) -> Iterator[Finding]:
    """Every parameter changes the motion, what is observed of it, or the reward."""
    found = extremes(family)
    ends = [task for extreme in found for task in (extreme.low, extreme.high)]
    tasks = Tasks.concatenate([family.nominal_tasks(), *ends])
    seen = motion(family, tasks)
    for parameter in family.parameters:
        own = {i: extreme for i, extreme in enumerate(found) if extreme.parameter is parameter}
        what = f"{parameter.name} in {parameter.train.describe()}"
        flaw = _changed_at_nominal(family, parameter) or _diverged(seen, tasks, own)
        yield Finding(what, "FAILED", flaw) if flaw else _effect(family, parameter, seen, own, what)


def _effect(
    family: TaskFamily, parameter: Parameter, seen: Motion, own: dict[int, Extremes], what: str
) -> Finding:
    """The change that a parameter makes between its ends and the nominal value."""
    worlds = {extreme.entry: [0, 2 * i + 1, 2 * i + 2] for i, extreme in own.items()}
    when = f"within {len(seen.rewards)} steps"
    for kind, record in _records(family, parameter, seen).items():
        sizes = {entry: _change(record[:, among]) for entry, among in worlds.items()}
        if not any(sizes.values()):
            continue
        text = f"changes the {kind}"
        if kind != "termination":
            text += f" by up to {max(sizes.values()):.2g}"
        text = f"{text} {when}"
        if kind == "motion" and not any(_change(seen.observations[:, w]) for w in worlds.values()):
            hidden = "but nothing that is observed, so no policy can find it out from observations"
            return Finding(what, "note", f"{text}, {hidden}; observe what moves")
        idle = [f"[{entry}]" for entry, changed in sizes.items() if not changed]
        return Finding(what, "ok", text + (f"; not so {', '.join(idle)}" if idle else ""))
    ends = Tasks.concatenate([task for each in own.values() for task in (each.low, each.high)])
    if _moves_obstacles(family, parameter, ends):
        met = "but nothing need have met what it moves; make sure that the robot can get there"
        return Finding(what, "note", f"changes nothing {when}, {met}")
    return Finding(what, "FAILED", f"changes nothing {when}: {_fix(family, parameter, seen, own)}")


def _moves_obstacles(family: TaskFamily, parameter: Parameter, ends: Tasks) -> bool:
    """True if all that a parameter moves is fixed to the world, where nothing need come upon it."""
    fields = varied_fields([parameter])
    if not fields or not PLACEMENT.issuperset(fields):
        return False
    model = family.robot.load_model()
    base = {name: read_field(model, name) for name in fields}
    made = model_fields([parameter], base, ends.values)
    moved = {
        name: (made[name] != plain).any(dim=-1).any(dim=0).numpy() for name, plain in base.items()
    }
    bodies = [
        np.flatnonzero(rows) if name == "body_pos" else model.geom_bodyid[rows]
        for name, rows in moved.items()
    ]
    found = np.concatenate(bodies)
    return len(found) > 0 and not model.body_weldid[found].any()


def _records(family: TaskFamily, parameter: Parameter, seen: Motion) -> dict[str, Tensor]:
    """Records that a parameter of this kind may change, in the order in which they are searched."""
    if parameter.effect is None:
        return {"reward": seen.rewards, "termination": seen.terminated}
    if parameter.perturbation:
        return {"motion": seen.states, "observation": seen.observations}
    if family.robot.source is not None:  # its own reward and end may read what varies
        return {"motion": seen.states, "reward": seen.rewards, "termination": seen.terminated}
    return {"motion": seen.states}


def _fix(family: TaskFamily, parameter: Parameter, seen: Motion, own: dict[int, Extremes]) -> str:
    if parameter.effect is None:
        return f"the reward has to read transition.task['{parameter.name}']"
    if parameter.perturbation:
        return "its range must hold values away from 0"
    both = [task for extreme in own.values() for task in (extreme.low, extreme.high)]
    ends = Tasks.concatenate(both)
    return idle_friction(family, parameter, ends, seen.states[:, 0]) or (
        "what it names should move, touch or carry something, and its range be wide enough"
    )


def _change(record: Tensor) -> float:
    """The largest difference between worlds of a record (T, worlds, ...); 0 if it is rounding.

    What is not a number is no change.
    """
    found = float(spread(record, 1).max())
    return found if found > ROUNDING * size(record) else 0.0


def _diverged(seen: Motion, tasks: Tasks, own: dict[int, Extremes]) -> str:
    """An end of a parameter's range at which the simulation diverges; "" if there is none.

    Where the nominal robot diverges as well, it is not this parameter's doing.
    """
    diverged = seen.diverged | ~torch.isfinite(seen.states).all(dim=2)  # (T, worlds)
    if bool(diverged[:, 0].any()):
        return ""
    for i in own:
        for world in (2 * i + 1, 2 * i + 2):
            if bool(diverged[:, world].any()):
                step = int(diverged[:, world].long().argmax()) + 1
                states = seen.states[:, world]
                what = "reward or observation is not finite, or MuJoCo warns,"
                if not bool(torch.isfinite(states).all()):
                    what = f"simulation diverges ({'NaN' if states.isnan().any() else 'infinite'})"
                return (
                    f"{what} at step {step} in the task {described_task(tasks, world)}: narrow the "
                    "range, or shorten the model's timestep"
                )
    return ""


def _changed_at_nominal(family: TaskFamily, parameter: Parameter) -> str:
    """A model field that a parameter changes though it is nominal; "" if there is none."""
    effect = parameter.model_effect
    if effect is None:
        return ""
    base = BatchEnv(family, 1, 1).engine.base_fields()
    base = {name: base[name] for name in effect.fields}
    made = model_fields([parameter], base, family.nominal_tasks().values)
    for name, plain in base.items():
        if not torch.allclose(made[name][0], plain, rtol=1e-9, atol=ROUNDING * size(plain)):
            return f"{name} changes even at the nominal value; there the plain model must result"
    return ""


def physics(family: TaskFamily) -> Finding:
    """Masses, inertias and coefficients that can exist, in tasks of every split."""
    name, varied = "physics", varied_fields(family.parameters)
    tasks = many_tasks(family)
    if not varied:
        return Finding(name, "ok", "no parameter changes the model")
    base = BatchEnv(family, 1, 1).engine.base_fields()
    fields = model_fields(family.parameters, base, tasks.values)
    for field, value in fields.items():
        flaw = _flaw(field, value, base[field])
        if flaw is not None:
            world = int(flaw[1].reshape(len(tasks), -1).any(dim=1).long().argmax())
            where = described_task(tasks, world)
            return Finding(name, "FAILED", f"{field} {flaw[0]} in the task {where}")
    return Finding(name, "ok", f"values can exist in {len(tasks)} tasks ({', '.join(fields)})")


NOT_NEGATIVE = (
    *("body_mass", "geom_friction", "pair_friction", "dof_damping", "dof_armature"),
    *("dof_frictionloss", "tendon_damping", "tendon_frictionloss"),
)
FORCE_LIMITS = ("actuator_forcerange", "jnt_actfrcrange", "tendon_actfrcrange")


def _flaw(field: str, value: Tensor, base: Tensor) -> tuple[str, Tensor] | None:
    """The flaw in a field's values (N, ...), and a mask of its entries; None if there is none."""
    if not bool(torch.isfinite(value).all()):
        return "is not finite", ~torch.isfinite(value)
    if field in NOT_NEGATIVE and bool((value < 0).any()):
        return "is negative; narrow the range", value < 0
    if field == "body_mass" and bool(((value == 0) & (base > 0)).any()):
        return "is 0; narrow the range", (value == 0) & (base > 0)
    if field == "body_inertia":
        moments = value.sort(dim=-1).values
        impossible = moments[..., 0] + moments[..., 1] < moments[..., 2] * (1 - 1e-6)
        if bool(impossible.any()):
            return "violates A + B >= C: scale inertia with mass (vary.mass)", impossible
    if field in ("jnt_range", "tendon_range", *FORCE_LIMITS):
        low, high = value.unbind(dim=-1)
        # A joint or tendon needs room; a force that can only be 0 is that of a dead actuator.
        empty = low > high if field in FORCE_LIMITS else low >= high
        crossed = empty & (base[..., 0] < base[..., 1])
        if bool(crossed.any()):
            return "is empty; narrow the parameter's range", crossed
    return None
