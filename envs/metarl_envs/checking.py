"""Checks of a task family before anybody trains on it: each says what is wrong and how to mend it.

They run on the engine cpu, in a few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl_envs.batch_env import BatchEnv
from metarl_envs.disturbances import Disturbance
from metarl_envs.extremes import extremes
from metarl_envs.family import TaskFamily
from metarl_envs.motion import Motion, motion
from metarl_envs.parameters import ModelEffect, Parameter, model_fields, varied_fields
from metarl_envs.robots.gym import GymRobot
from metarl_envs.tasks import Tasks

TASKS = 32
"""Tasks drawn per split."""
MAX_STEPS = 200
"""Of the episodes that are tried, at most."""
SPEED_WORLDS, SPEED_GYM_WORLDS = 256, 8
"""Worlds that are timed; environments that are stepped one by one are as fast with a few."""
MAX_SHARE, MAX_OUTSIDE_S = 0.5, 3e-6
"""What observation, reward and termination may take of a step's time, or in a world: either."""


@dataclass(frozen=True)
class Finding:
    """What one check came to."""

    name: str
    ok: bool
    text: str
    """What was found; where it failed, with the mend."""

    def __str__(self) -> str:
        return f"{'ok    ' if self.ok else 'FAILED'}  {self.name}: {self.text}"


def check(family: TaskFamily) -> Iterator[Finding]:
    """Findings of all checks, as they are made."""
    yield spaces(family)
    yield determinism(family)
    yield independence(family)
    yield from parameters(family)
    yield bodies(family)
    yield episodes(family)
    yield speed(family)


def spaces(family: TaskFamily) -> Finding:
    """Finite actions and observations."""
    low, high = family.action_bounds()
    size = f"{family.observation_size} observations, {len(low)} actions"
    if not bool((torch.isfinite(low) & torch.isfinite(high) & (low < high)).all()):
        bounds = f"from {low.tolist()} to {high.tolist()}"
        return Finding("spaces", False, f"{size} {bounds}: give every actuator a finite range")
    first = BatchEnv(family, 1, 1).reset(Generator().manual_seed(0))
    if not bool(torch.isfinite(first).all()):
        return Finding("spaces", False, f"the first observation is not finite: {first[0].tolist()}")
    return Finding("spaces", True, size)


def determinism(family: TaskFamily) -> Finding:
    """Two runs from one seed are equal, bit for bit."""
    tasks = family.sample_tasks(2, Generator().manual_seed(0), "train")
    one, two = (motion(family, tasks) for _ in range(2))
    if torch.equal(one.observations, two.observations) and torch.equal(one.rewards, two.rewards):
        return Finding("determinism", True, "same seed, same bits")
    return Finding(
        "determinism",
        False,
        "two runs from one seed differ: functions must not remember anything, or draw random "
        "numbers of their own",
    )


def independence(family: TaskFamily) -> Finding:
    """A world gives the same alone as among others."""
    tasks = family.sample_tasks(3, Generator().manual_seed(0), "train")
    together, alone = motion(family, tasks), motion(family, tasks[1])
    error = max(
        float((together.observations[:, 1] - alone.observations[:, 0]).abs().max()),
        float((together.rewards[:, 1] - alone.rewards[:, 0]).abs().max()),
    )
    if error < 1e-9:
        return Finding("independence", True, "a world gives the same alone as among others")
    return Finding(
        "independence",
        False,
        f"a world's observation or reward differs by {error:.2g} when others run beside it: "
        "functions must work row by row, without a sum or mean over the worlds' axis 0",
    )


def parameters(family: TaskFamily) -> Iterator[Finding]:
    """Every parameter changes the motion, what is observed of it, or the reward."""
    found = extremes(family)
    ends = [task for extreme in found for task in (extreme.low, extreme.high)]
    seen = motion(family, Tasks.concatenate([family.nominal_tasks(), *ends]))
    for parameter in family.parameters:
        worlds = {
            extreme.entry: [0, 2 * i + 1, 2 * i + 2]  # nominal, low, high
            for i, extreme in enumerate(found)
            if extreme.parameter is parameter
        }
        yield _parameter(family, parameter, seen, worlds)


def _parameter(
    family: TaskFamily, parameter: Parameter, seen: Motion, worlds: dict[int | None, list[int]]
) -> Finding:
    what = f"{parameter.name} in {parameter.train.describe()}"
    if changed := _changed_at_nominal(family, parameter):
        mend = "at its nominal value the plain model must result"
        return Finding(what, False, f"{changed} changes even at the nominal value; {mend}")
    kinds = {"motion": seen.states}
    if parameter.effect is None:
        kinds = {"reward": seen.rewards, "termination": seen.terminated}
    elif isinstance(parameter.effect, Disturbance):
        kinds = {"motion": seen.states, "observation": seen.observations}
    elif isinstance(family.robot, GymRobot):  # its own reward and end may read what varies
        kinds |= {"reward": seen.rewards, "termination": seen.terminated}
    when = f"within {len(seen.rewards)} steps"
    for kind, record in kinds.items():
        spread = {entry: _spread(record[:, among]) for entry, among in worlds.items()}
        if any(spread.values()):
            idle = [f"[{entry}]" for entry, size in spread.items() if not size]
            text = f"changes the {kind}"
            if kind != "termination":
                text += f" by up to {max(spread.values()):.2g}"
            return Finding(
                what, True, f"{text} {when}" + (f"; not so {', '.join(idle)}" if idle else "")
            )
    if parameter.effect is None:
        mend = f"the reward has to read transition.task['{parameter.name}']"
    elif isinstance(parameter.effect, Disturbance):
        mend = "its range ought to hold values away from 0"
    else:
        mend = "what it names should move, touch or carry something, and its range be wide enough"
    return Finding(what, False, f"changes nothing {when}: {mend}")


def _spread(record: Tensor) -> float:
    """The largest difference between worlds of a record (T, worlds, ...)."""
    values = record.double()
    return float((values.amax(dim=1) - values.amin(dim=1)).max())


def _changed_at_nominal(family: TaskFamily, parameter: Parameter) -> str:
    """A model field that a parameter changes though it is nominal; "" if there is none."""
    if not isinstance(parameter.effect, ModelEffect):
        return ""
    base = BatchEnv(family, 1, 1).engine.base_fields()
    base = {name: base[name] for name in parameter.effect.fields}
    made = model_fields([parameter], base, family.nominal_tasks().values)
    return next((n for n in base if not torch.allclose(made[n][0], base[n], rtol=1e-9)), "")


def bodies(family: TaskFamily) -> Finding:
    """Masses, inertias and coefficients that can exist, in tasks of every split."""
    name, varied = "physics", varied_fields(family.parameters)
    tasks = _many_tasks(family)
    if not varied:
        return Finding(name, True, "no parameter changes the model")
    base = BatchEnv(family, 1, 1).engine.base_fields()
    fields = model_fields(family.parameters, base, tasks.values)
    for field, value in fields.items():
        flaw = _flaw(field, value, base[field])
        if flaw is not None:
            world = int(flaw[1].reshape(len(tasks), -1).any(dim=1).long().argmax())
            return Finding(name, False, f"{field} {flaw[0]} in the task {_short(tasks, world)}")
    return Finding(name, True, f"values can exist in {len(tasks)} tasks ({', '.join(fields)})")


NOT_NEGATIVE = ("body_mass", "geom_friction", "dof_damping", "dof_armature", "dof_frictionloss")
FORCE_LIMITS = ("actuator_forcerange", "jnt_actfrcrange", "tendon_actfrcrange")


def _flaw(field: str, value: Tensor, base: Tensor) -> tuple[str, Tensor] | None:
    """What is wrong with a field's values (N, ...), and where."""
    if not bool(torch.isfinite(value).all()):
        return "is not finite", ~torch.isfinite(value)
    if field in NOT_NEGATIVE and bool((value < 0).any()):
        return "is negative; narrow the range", value < 0
    if field == "body_mass" and bool(((value == 0) & (base > 0)).any()):
        return "is 0; narrow the range", (value == 0) & (base > 0)
    if field == "body_inertia":
        moments = value.sort(dim=-1).values
        broken = moments[..., 0] + moments[..., 1] < moments[..., 2] * (1 - 1e-6)
        if bool(broken.any()):
            return "breaks A + B >= C: scale a body's inertia with its mass (vary.mass)", broken
    if field in ("jnt_range", *FORCE_LIMITS):
        low, high = value.unbind(dim=-1)
        # A joint needs room; a force that can only be 0 is that of a dead actuator.
        crossed = (low > high if field in FORCE_LIMITS else low >= high) & (
            base[..., 0] < base[..., 1]
        )
        if bool(crossed.any()):
            return "is empty; narrow the parameter's range", crossed
    return None


def episodes(family: TaskFamily) -> Finding:
    """Finite rewards and no divergence over whole episodes of random actions, in every split."""
    tasks = _many_tasks(family)
    env = BatchEnv(family, len(tasks), 1)
    env.set_tasks(tasks)
    generator = Generator().manual_seed(0)
    env.reset(generator)
    alive = torch.ones(len(tasks), dtype=torch.bool)
    lengths, faulted = torch.zeros(len(tasks)), torch.zeros_like(alive)
    lowest, highest = float("inf"), -float("inf")
    low, high = env.action_low, env.action_high
    for _ in range(min(family.horizon, MAX_STEPS)):
        share = torch.rand((len(tasks), len(low)), generator=generator, dtype=torch.float64)
        step = env.step(low + (high - low) * share, alive)
        lengths += alive
        faulted |= step.faulted & alive
        sound = step.rewards[alive & ~step.faulted]
        if len(sound):
            lowest, highest = min(lowest, float(sound.min())), max(highest, float(sound.max()))
        alive = alive & ~(step.terminated | step.truncated | step.faulted)
        if not bool(alive.any()):
            break
    if bool(faulted.any()):
        first = _short(tasks, int(faulted.long().argmax()))
        return Finding(
            "episodes",
            False,
            f"{int(faulted.sum())} of {len(tasks)} diverged, or had a reward that is not finite, "
            f"under random actions; the first in the task {first}; shorten the model's timestep, "
            "narrow the range, or keep the reward from dividing by 0",
        )
    return Finding(
        "episodes",
        True,
        f"{len(tasks)} of random actions, {float(lengths.mean()):.0f} of {family.horizon} steps on "
        f"average, rewards from {lowest:.3g} to {highest:.3g}",
    )


def speed(family: TaskFamily) -> Finding:
    """Steps per second, and what the family's own functions take of it."""
    worlds = SPEED_GYM_WORLDS if isinstance(family.robot, GymRobot) else SPEED_WORLDS
    env = BatchEnv(family, worlds, 1)
    env.set_tasks(family.sample_tasks(worlds, Generator().manual_seed(0), "train"))
    actions = (env.action_low + env.action_high).expand(worlds, -1) / 2

    def seconds(act: Callable[[Tensor], object]) -> float:
        env.reset(Generator().manual_seed(0))
        act(actions)
        began = time.process_time()  # what else runs on the machine does not count
        for _ in range(10):
            act(actions)
        return time.process_time() - began

    physics, whole = (min(seconds(act) for _ in range(3)) for act in (env.advance, env.step))
    share, outside_s = max(0.0, 1 - physics / whole), (whole - physics) / (10 * worlds)
    text = f"{10 * worlds / whole:,.0f} steps/s on one core, {share:.0%} of it outside physics"
    if share <= MAX_SHARE or outside_s <= MAX_OUTSIDE_S:
        return Finding("speed", True, text)
    mend = "observation and reward should be tensor operations, without a loop over worlds"
    return Finding("speed", False, f"{text}; {mend}")


def _short(tasks: Tasks, index: int) -> str:
    """One task with three digits: "mass=0.5 goal=0.3,-0.2"."""
    return " ".join(
        f"{name}={','.join(f'{number:.3g}' for number in value[index].flatten().tolist())}"
        for name, value in tasks.values.items()
    )


def _many_tasks(family: TaskFamily) -> Tasks:
    """Tasks of every split, and both ends of every number that varies."""
    generator = Generator().manual_seed(0)
    drawn = [family.sample_tasks(TASKS, generator, split) for split in family.splits]
    ends = [task for extreme in extremes(family) for task in (extreme.low, extreme.high)]
    return Tasks.concatenate([family.nominal_tasks(), *drawn, *ends])
