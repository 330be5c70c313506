"""Checks of a task family before training: each finding says how to fix the problem.

They run on the engine cpu, in a few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor

from metarl_envs.batch_env import BatchEnv
from metarl_envs.check.actions import actions
from metarl_envs.check.episodes import episodes, observations, rewards
from metarl_envs.check.finding import Finding
from metarl_envs.check.memory import determinism
from metarl_envs.check.motion import motion, trials
from metarl_envs.check.parameters import parameters, physics
from metarl_envs.family import TaskFamily

FEW_WORLDS, MANY_WORLDS = 8, 256
"""Worlds that are timed: many only where they are fast, since the others are as fast with a few."""
FAST_S, MAYBE_FAST_S = 0.01, 0.1
"""Seconds below which ten steps of a few worlds are fast; the second where they are mostly outside
physics, since the fixed part of a step weighs on a few worlds and not on many."""
MAX_SHARE, MAX_OUTSIDE_S = 0.5, 3e-6
"""Most of a step's time, or most seconds per world, for observation, reward and termination."""


def check(family: TaskFamily) -> Iterator[Finding]:
    """Findings of all checks, as they are made."""
    possible = spaces(family)
    yield possible
    if not possible.ok:
        return  # nothing can be tried
    yield from actions(family)
    repeatable = determinism(family)
    yield repeatable
    if repeatable.ok:
        yield independence(family)
    tried = trials(family)
    yield episodes(family, tried)
    yield rewards(tried)
    yield from observations(tried)
    yield from parameters(family)
    yield physics(family)
    yield speed(family)


def spaces(family: TaskFamily) -> Finding:
    """Finite actions and observations."""
    low, high = family.action_bounds()
    size = f"{family.observation_size} observations, {len(low)} actions"
    if not bool((torch.isfinite(low) & torch.isfinite(high) & (low < high)).all()):
        bounds = f"from {low.tolist()} to {high.tolist()}"
        return Finding("spaces", "FAILED", f"{size} {bounds}: give every actuator a finite range")
    first = BatchEnv(family, 1, 1).reset(Generator().manual_seed(0))
    if not bool(torch.isfinite(first).all()):
        return Finding(
            "spaces", "FAILED", f"the first observation is not finite: {first[0].tolist()}"
        )
    return Finding("spaces", "ok", size)


def independence(family: TaskFamily) -> Finding:
    """A world gives the same alone as among others."""
    tasks = family.sample_tasks(3, Generator().manual_seed(0), "train")
    together, alone = motion(family, tasks), motion(family, tasks[1])
    steps = min(len(together.rewards), len(alone.rewards))
    error = max(
        float((together.observations[:steps, 1] - alone.observations[:steps, 0]).abs().max()),
        float((together.rewards[:steps, 1] - alone.rewards[:steps, 0]).abs().max()),
    )
    if error < 1e-9:
        return Finding("independence", "ok", "a world gives the same alone as among others")
    return Finding(
        "independence",
        "FAILED",
        f"a world's observation or reward differs by {error:.2g} when others run beside it: "
        "functions must work row by row, without a sum or mean over the worlds' axis 0",
    )


def speed(family: TaskFamily) -> Finding:
    """Steps per second, and what the family's own functions take of it."""
    worlds = FEW_WORLDS
    physics, whole = _timed(family, worlds)
    fast_s = FAST_S if 1 - physics / whole <= MAX_SHARE else MAYBE_FAST_S
    if whole < fast_s and family.robot.source is None:
        worlds = MANY_WORLDS
        physics, whole = _timed(family, worlds)
    share, outside_s = max(0.0, 1 - physics / whole), (whole - physics) / (10 * worlds)
    text = f"{10 * worlds / whole:,.0f} steps/s on one core, {share:.0%} of it outside physics"
    if share <= MAX_SHARE or outside_s <= MAX_OUTSIDE_S:
        return Finding("speed", "ok", text)
    fix = "observation and reward should be tensor operations, without a loop over worlds"
    return Finding("speed", "FAILED", f"{text}; {fix}")


def _timed(family: TaskFamily, worlds: int) -> tuple[float, float]:
    """Seconds of ten steps of so many worlds: of the physics alone, and in all."""
    env = BatchEnv(family, worlds, 1)
    env.set_tasks(family.sample_tasks(worlds, Generator().manual_seed(0), "train"))
    middle = family.middle_action().expand(worlds, -1)

    def seconds(act: Callable[[Tensor], object]) -> float:
        env.reset(Generator().manual_seed(0))
        act(middle)
        began = time.process_time()  # what else runs on the machine does not count
        for _ in range(10):
            act(middle)
        return time.process_time() - began

    # In turn, so that a slow moment of the machine weighs on both.
    tried = [(seconds(env.advance), seconds(env.step)) for _ in range(3)]
    physics, whole = (min(times) for times in zip(*tried, strict=True))
    return physics, whole
