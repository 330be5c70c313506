"""What a family's robots do under the same swinging actions, task beside task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl_envs.batch_env import BatchEnv, Start
from metarl_envs.family import TaskFamily
from metarl_envs.tasks import Tasks

STATE = ("qpos", "qvel", "observation")
"""What says where robots are; a Gymnasium environment may have its observation only."""
STEPS = 200
"""Control steps over which motions are compared, at most an episode."""


@dataclass(frozen=True)
class Motion:
    """What M worlds did under the same actions, one world per task."""

    states: Tensor  # (T, M, nq + nv)
    observations: Tensor  # (T + 1, M, O)
    rewards: Tensor  # (T, M)
    terminated: Tensor  # (T, M)


def motion(family: TaskFamily, tasks: Tasks) -> Motion:
    """The same start and swinging actions in every task."""
    env = BatchEnv(family, len(tasks), 1)
    env.set_tasks(tasks)
    start = env.draw_start(1, Generator().manual_seed(0))
    observations = [env.start(Start.concatenate([start] * len(tasks))).clone()]
    states, rewards, terminated = [], [], []
    for t in range(min(STEPS, family.horizon)):
        step = env.step(swing(family, t).expand(len(tasks), -1))
        states.append(
            torch.cat([env.engine.data[name] for name in STATE if name in env.engine.data], dim=1)
        )
        observations.append(step.observations.clone())
        rewards.append(step.rewards.clone())
        terminated.append(step.terminated.clone())
    return Motion(*map(torch.stack, (states, observations, rewards, terminated)))


def swing(family: TaskFamily, t: int) -> Tensor:
    """Controls that swing through their whole range, each at its own pace: (A,)."""
    low, high = family.action_bounds()
    numbers = torch.arange(len(low), dtype=torch.float64)
    angle = 2 * torch.pi * (0.7 + 0.13 * numbers) * t * min(family.dt_s, 0.1) + 1.9 * numbers
    return (low + high) / 2 + (high - low) / 2 * torch.sin(angle)
