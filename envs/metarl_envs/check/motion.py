"""Motions of a family's robots under given actions, in many worlds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl_envs.batch_env import BatchEnv, Start
from metarl_envs.family import TaskFamily
from metarl_envs.tasks import Tasks

STATE = ("qpos", "qvel", "observation")
"""Data that hold the robots' state; a Gymnasium environment may have its observation only."""
STEPS = 200
"""Control steps over which motions are compared, at most an episode."""
TRIED_TASKS, HELD, RANDOM = 4, 2, 3
"""Tasks of `trials`, and how many action sequences of a kind each of them meets."""


@dataclass(frozen=True)
class Motion:
    """Records of N worlds, step by step."""

    states: Tensor  # (T, N, nq + nv)
    observations: Tensor  # (T + 1, N, O)
    rewards: Tensor  # (T, N)
    terminated: Tensor  # (T, N)
    truncated: Tensor  # (T, N) by the environment itself, or at the horizon
    diverged: Tensor  # (T, N) diverged, or not finite

    @property
    def lengths(self) -> Tensor:
        """Steps until each world's episode ended: (N,)."""
        over = (self.terminated | self.truncated | self.diverged).long().cumsum(dim=0)
        return (over == 0).long().sum(dim=0) + (over[-1] > 0).long()


def motion(family: TaskFamily, tasks: Tasks) -> Motion:
    """The same start and swinging actions in every task."""
    env = BatchEnv(family, len(tasks), 1)
    env.set_tasks(tasks)
    return played(env, first_start(env), lambda t: swing(family, t).expand(len(tasks), -1))


def first_start(env: BatchEnv, seed: int = 0) -> Start:
    """One start of an episode for every world."""
    start = env.draw_start(1, Generator().manual_seed(seed))
    return Start.concatenate([start] * env.num_worlds)


def played(env: BatchEnv, start: Start, actions: Callable[[int], Tensor]) -> Motion:
    """One episode in every world, at most `STEPS` of it, under the actions (N, A) of each step.

    It goes on beyond an end, since more is seen then; but not in a Gymnasium environment, which
    need not allow that: it stays as it was when it ended.
    """
    stays = env.family.robot.source is not None
    alive = torch.ones(env.num_worlds, dtype=torch.bool)
    observations = [env.start(start).clone()]
    records: list[tuple[Tensor, ...]] = []
    for t in range(min(STEPS, env.horizon)):
        step = env.step(actions(t), alive if stays else None)
        data = env.engine.data
        state = torch.cat([data[name] for name in STATE if name in data], dim=1)
        observations.append(step.observations.clone())
        flags = (step.terminated, step.truncated, step.diverged)
        records.append((state, step.rewards.clone(), *(flag.clone() for flag in flags)))
        alive = alive & ~(step.terminated | step.truncated | step.diverged)
        if stays and not bool(alive.any()):
            break
    states, *others = map(torch.stack, zip(*records, strict=True))
    return Motion(states, torch.stack(observations), *others)


def swing(family: TaskFamily, t: int) -> Tensor:
    """Controls that swing through their whole range, each at its own pace: (A,)."""
    low, high = family.action_bounds()
    numbers = torch.arange(len(low), dtype=torch.float64)
    angle = 2 * torch.pi * (0.7 + 0.13 * numbers) * t * min(family.dt_s, 0.1) + 1.9 * numbers
    return (low + high) / 2 + (high - low) / 2 * torch.sin(angle)


@dataclass(frozen=True)
class Trials:
    """Some tasks, each from one start under several action sequences.

    The sequences: the middle action, around which training begins; `HELD` actions that are held;
    `RANDOM` that change at every step.
    """

    motion: Motion
    """Its worlds are task-major: m * A + a."""
    sequences: int
    """A."""

    def by_task(self, record: Tensor) -> Tensor:
        """A record (T, M * A, ...) with an axis of its own for the action sequences."""
        return record.unflatten(1, (-1, self.sequences))


def trials(family: TaskFamily) -> Trials:
    """Training tasks under different actions; delay, noise and bias are nominal."""
    generator = Generator().manual_seed(0)
    drawn = family.sample_tasks(TRIED_TASKS, generator, "train").values
    plain = family.nominal_tasks(TRIED_TASKS).values
    perturbing = {p.name for p in family.parameters if p.perturbation}
    tasks = Tasks({name: (plain if name in perturbing else drawn)[name] for name in drawn})
    sequences = 1 + HELD + RANDOM
    env = BatchEnv(family, TRIED_TASKS, sequences)
    env.set_tasks(tasks)
    starts = [env.draw_start(1, generator) for _ in range(TRIED_TASKS)]
    start = Start.concatenate([one for one in starts for _ in range(sequences)])
    low, high = family.action_bounds()
    shares = torch.rand((STEPS, sequences, len(low)), generator=generator, dtype=torch.float64)
    shares[:, 1 : 1 + HELD] = shares[0, 1 : 1 + HELD]
    actions = low + (high - low) * shares
    actions[:, 0] = family.middle_action()
    actions = actions.repeat(1, TRIED_TASKS, 1)  # (T, M * A, actions)
    return Trials(played(env, start, lambda t: actions[t]), sequences)
