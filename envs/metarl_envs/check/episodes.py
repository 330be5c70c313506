"""Checks of what a policy would meet in episodes: observations, rewards, and how they end."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from metarl_envs.batch_env import BatchEnv
from metarl_envs.check.extremes import extremes
from metarl_envs.check.finding import ROUNDING, Finding, described_task, listed, size, spread
from metarl_envs.check.motion import HELD, STEPS, Trials
from metarl_envs.family import TaskFamily
from metarl_envs.tasks import Tasks

TASKS = 32
"""Tasks drawn per split."""
AT_ONCE = 2
"""Steps: an episode that ends within them shows nothing of what an action does."""
SHORT = 0.05
"""Share of the horizon below which episodes are questioned, if all of them end there."""


def observations(tried: Trials) -> Iterator[Finding]:
    """Entries that tell a policy nothing: those that never change, and copies of others."""
    seen = tried.motion.observations.double().flatten(0, 1)  # (rows, O)
    seen = seen[torch.isfinite(seen).all(dim=1)]
    entries = [f"observation[{i}]" for i in range(seen.shape[1])]
    ranges = spread(seen, 0)
    still = ranges <= ROUNDING * seen.abs().amax(0).clamp(min=1.0)
    where = f"{len(seen)} states of {len(tried.motion.observations) - 1} steps"
    if bool(still.all()):
        yield Finding(
            "observations",
            "FAILED",
            f"nothing that is observed changed in {where}: return what moves, such as "
            'state["qpos"] and state["qvel"]',
        )
        return
    constant = [f"{entries[i]} = {seen[0, i]:.3g}" for i in still.nonzero().flatten().tolist()]
    if constant:
        yield Finding(
            "observations",
            "note",
            f"the same in all tasks and {where}: {listed(constant)}; such an entry tells a policy "
            "nothing: leave it out, unless the real robot changes it",
        )
    copies = [f"{entries[j]} is {entries[i]}" for i, j in _copies(seen, ~still)]
    if copies:
        yield Finding(
            "observations",
            "note",
            f"copies in {where}: {listed(copies)}; once is enough",
        )
    if not constant and not copies:
        yield Finding("observations", "ok", f"all {len(entries)} change, none is a copy of another")


def _copies(seen: Tensor, moving: Tensor) -> list[tuple[int, int]]:
    """Pairs of entries (earlier, later) that are equal in all rows (rows, O), among `moving`."""
    found = []
    for j in moving.nonzero().flatten().tolist():
        apart = (seen[:, :j] - seen[:, j : j + 1]).abs().amax(0)
        same = (apart <= ROUNDING * seen[:, j].abs().max()) & moving[:j]
        found += [(int(same.long().argmax()), j)] if bool(same.any()) else []
    return found


def rewards(tried: Trials) -> Finding:
    """Rewards that depend on what the robot does."""
    if bool(tried.motion.diverged.any()):
        return Finding("reward", "note", "not judged, since it is not finite everywhere")
    paid = tried.by_task(tried.motion.rewards).double()  # (T, M, A)
    ends = tried.by_task(tried.motion.terminated)
    steps, tasks, sequences = paid.shape
    rounding = ROUNDING * size(paid)
    ending = bool((ends != ends[:, :, :1]).any())
    where = f"{steps} steps of {tasks} tasks under {sequences} action sequences"
    lowest, highest = float(paid.min()), float(paid.max())
    if highest - lowest <= rounding:
        if ending:
            return Finding(
                "reward",
                "ok",
                f"{highest:.3g} at every step, so the return counts the steps until the end",
            )
        return Finding(
            "reward",
            "FAILED",
            f"{highest:.3g} in all {where}, so no action is better than another: let it read "
            "transition.after or transition.action; a reward for the goal alone needs a term that "
            "grows on the way there",
        )
    if float(spread(paid, 2).max()) <= rounding and not ending:
        return Finding(
            "reward",
            "FAILED",
            f"the same whatever the robot does, in {where}, from one start each: let it read "
            "transition.after or transition.action, not the task or the time alone",
        )
    held = slice(1, 1 + HELD)
    states = tried.by_task(tried.motion.states)[:, :, held]
    moved = float(spread(states, 0).max()) > ROUNDING * size(states)
    if moved and steps > AT_ONCE and float(spread(paid[:, :, held], 0).max()) <= rounding:
        return Finding(
            "reward",
            "note",
            f"depends on the action alone: while an action was held, it stayed the same in {steps} "
            "steps, though the robot moved; let it read transition.after, too, or, if it is for "
            "reaching a goal, add a term that grows on the way there",
        )
    return Finding("reward", "ok", f"from {lowest:.3g} to {highest:.3g}, depends on the actions")


def episodes(family: TaskFamily, tried: Trials) -> Finding:
    """Finite rewards, no divergence and no early end, in random episodes of every split."""
    tasks = many_tasks(family)
    env = BatchEnv(family, len(tasks), 1)
    env.set_tasks(tasks)
    generator = Generator().manual_seed(0)
    env.reset(generator)
    alive = torch.ones(len(tasks), dtype=torch.bool)
    lengths, diverged = torch.zeros(len(tasks)), torch.zeros_like(alive)
    lowest, highest = float("inf"), -float("inf")
    low, high = env.action_low, env.action_high
    for _ in range(min(family.horizon, STEPS)):
        share = torch.rand((len(tasks), len(low)), generator=generator, dtype=torch.float64)
        step = env.step(low + (high - low) * share, alive)
        lengths += alive
        diverged |= step.diverged & alive
        valid = step.rewards[alive & ~step.diverged]
        if len(valid):
            lowest, highest = min(lowest, float(valid.min())), max(highest, float(valid.max()))
        alive = alive & ~(step.terminated | step.truncated | step.diverged)
        if not bool(alive.any()):
            break
    if bool(diverged.any()):
        first = described_task(tasks, int(diverged.long().argmax()))
        return Finding(
            "episodes",
            "FAILED",
            f"{int(diverged.sum())} of {len(tasks)} diverged, or had a reward that is not finite, "
            f"under random actions; the first in the task {first}; shorten the model's timestep, "
            "narrow the range, or keep the reward from dividing by 0",
        )
    still = tried.by_task(tried.motion.lengths[None])[0, :, 0].float()  # (M,) the middle's
    both = torch.cat([lengths, still])
    at_once = float((both <= AT_ONCE).float().mean())
    if family.horizon > AT_ONCE and at_once >= 0.5:
        return Finding(
            "episodes",
            "FAILED",
            f"{at_once:.0%} of {len(both)} end within {AT_ONCE} steps of {family.horizon}, under "
            f"random and middle actions: {_ended_by(family, tried)} where the robot starts, or "
            "next to it; compare its limits with that state",
        )
    if float(both.max()) < SHORT * family.horizon:
        return Finding(
            "episodes",
            "note",
            f"all of {len(both)} end within {float(both.max()):.0f} steps of {family.horizon}, "
            f"under random and middle actions ({_ended_by(family, tried)}): is that meant?",
        )
    return Finding(
        "episodes",
        "ok",
        f"{len(tasks)} of random actions, {float(lengths.mean()):.0f} of {family.horizon} steps on "
        f"average, rewards from {lowest:.3g} to {highest:.3g}",
    )


def _ended_by(family: TaskFamily, tried: Trials) -> str:
    """The cause of the ends of episodes."""
    if not bool(tried.motion.terminated.any()):
        return "the environment truncates them"
    if family.terminated is not None:
        return "the family's terminated= holds"
    if family.robot.source is not None:
        return "the environment terminates them"
    return "the robot's terminated= holds"


def many_tasks(family: TaskFamily) -> Tasks:
    """Tasks of every split, and both ends of every number that varies."""
    generator = Generator().manual_seed(0)
    drawn = [family.sample_tasks(TASKS, generator, split) for split in family.splits]
    ends = [task for extreme in extremes(family) for task in (extreme.low, extreme.high)]
    return Tasks.concatenate([family.nominal_tasks(), *drawn, *ends])
