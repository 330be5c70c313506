"""Figures of policies that plan with a model: errors ahead, recovery, frequency, and controls."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from metarl.deploy import MetaPolicy
from metarl.deploy.trial import RobotTrial
from metarl.methods.setup import env_of
from metarl.policies.dynamics import Steps
from metarl.policies.params import Params, expand
from metarl.policies.planning import PlanningPolicy
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.rollouts.stepping import TaskChange
from metarl.runs.checkpoint import SavedPolicy
from metarl_envs import TaskFamily, Tasks

AHEAD = (1, 5, 10)
"""Steps over which predictions are measured."""
AVERAGED, SLACK = 20, 0.1
"""Steps that rewards are averaged over, and the share of the steady reward that may be missing."""


class Change(NamedTuple):
    """A robot of a training task that breaks in mid-episode."""

    parameter: str
    value: float
    at: int
    """Step before which it does."""


def unadapted(saved: SavedPolicy) -> SavedPolicy:
    """The same policy whose model takes no step."""
    config = dataclasses.replace(saved.config.policy, adapts="nothing")
    policy = dataclasses.replace(saved.policy, config=config)
    return dataclasses.replace(
        saved, policy=policy, config=dataclasses.replace(saved.config, policy=config)
    )


class OfAnother(PlanningPolicy):
    """A policy whose model adapts to the last steps of another task's robot, a control."""

    def steps_of(self, params: Mapping[str, Tensor], past: Tensor) -> Steps:
        robots = past.flatten(0, 1)  # of all policies and worlds
        return super().steps_of(params, robots.roll(len(robots) // 2, dims=0).view_as(past))


def of_another(saved: SavedPolicy) -> SavedPolicy:
    """The same policy, where of N robots each adapts to the last steps of the one N/2 before it."""
    assert isinstance(saved.policy, PlanningPolicy)
    fields = {f.name: getattr(saved.policy, f.name) for f in dataclasses.fields(saved.policy)}
    return dataclasses.replace(saved, policy=OfAnother(**fields))


def in_order(tasks: Tasks) -> Tasks:
    """The tasks by their values, so that half of them further is another one, if there is any."""
    rows = torch.cat([value.view(len(tasks), -1) for value in tasks.values.values()], dim=1)
    return tasks[sorted(range(len(tasks)), key=rows.tolist().__getitem__)]


def among_others(family: TaskFamily, tasks: Tasks) -> Tasks:
    """The tasks; if all are the same one, after as many of the split test: see `of_another`."""
    if any(len(value.unique(dim=0)) > 1 for value in tasks.values.values()):
        return tasks
    others = family.sample_tasks(len(tasks), Generator().manual_seed(5), "test")
    return Tasks.concatenate([others, tasks])


def plans(saved: SavedPolicy) -> bool:
    """True if it acts by a model."""
    return isinstance(saved.policy, PlanningPolicy)


def lived(
    saved: SavedPolicy, tasks: Tasks, seed: int, changes: dict[int, TaskChange] | None = None
) -> Rollouts:
    """One episode on each task by the mean action, (M, 1, T, ...)."""
    env = env_of(saved.config, len(tasks), 1, sim_threads=1)
    env.set_tasks(tasks)
    collector, resets = Collector(env, saved.policy), Generator().manual_seed(seed)
    params = expand(saved.params, 1)
    return collector.collect(params, resets, Generator(), explore=False, changes=changes or {})


def adapted_at(
    policy: PlanningPolicy, params: Params, episodes: Rollouts, t: int, which: Tensor
) -> Params:
    """Models of some of the episodes, `which` (M,), as they were adapted before step t."""
    observations, past = episodes.observations[None, which, 0], slice(t - policy.config.window, t)
    after = observations[:, :, past.start + 1 : t + 1]
    shares = policy.squashed(policy.sent(episodes.actions[None, which, 0, past]))
    rewards, valid = (x[None, which, 0, past] for x in (episodes.rewards, episodes.valid))
    steps = policy.steps(params, observations[:, :, past], shares, after, rewards, valid)
    return policy.dynamics.adapted(params, steps)


def errors_ahead(saved: SavedPolicy, episodes: Rollouts) -> list[float]:
    """Mean squared error of predictions over each of `AHEAD`, in deviations of the observation.

    From every tenth step of the episodes, with the actions that were taken, by the model as it was
    adapted there.
    """
    policy, params = saved.policy, expand(saved.params, 1)
    assert isinstance(policy, PlanningPolicy)
    W, H, T = policy.config.window, max(AHEAD), episodes.valid.shape[-1]
    shares = policy.squashed(policy.sent(episodes.actions[:, 0]))
    squares = []
    with torch.no_grad():
        for t in range(W, T - H, 10):
            whole = episodes.valid[:, 0, : t + H].all(-1)
            observations = episodes.observations[whole, 0]
            model = adapted_at(policy, params, episodes, t, whole)
            plans = shares[None, whole, None, t : t + H]
            states, _ = policy.imagined(params, model, observations[None, :, t], plans)
            expected = states.mean(-3)[1:, 0, :, 0]  # (H, M, O), a mean over networks
            true = observations[:, t + 1 : t + H + 1].transpose(0, 1)
            spread = policy.scales(params).observation[1][0]
            squares.append(((expected - true) / spread).square().mean(-1))
    return [float(torch.cat([s[n - 1] for s in squares]).mean()) for n in AHEAD]


def recovery(saved: SavedPolicy, tasks: Tasks, change: Change, seed: int) -> int | None:
    """Steps until rewards are back after the robot broke, against one that was broken all along.

    Back are rewards not below the steady ones by more than a tenth of their size; None: never.
    """
    entry = torch.full_like(tasks.values[change.parameter], change.value)
    after = Tasks({**tasks.values, change.parameter: entry})
    changed = lived(saved, tasks, seed, {change.at: TaskChange(after)})
    steady = lived(saved, after, seed)

    def averaged(rollouts: Rollouts) -> NDArray[np.float64]:
        mean = rollouts.rewards.masked_fill(~rollouts.valid, float("nan")).nanmean((0, 1))
        window = np.ones(AVERAGED) / AVERAGED
        return np.convolve(mean.numpy()[change.at :], window, "valid")

    goal = averaged(steady)
    lost = np.flatnonzero(averaged(changed) < goal - SLACK * np.abs(goal))
    steps = 0 if not len(lost) else int(lost[-1]) + 1
    return steps if steps < len(goal) else None


def frequency(saved: SavedPolicy, family: TaskFamily, steps: int = 200) -> float:
    """Actions per second that one robot gets, with one thread."""
    trial = RobotTrial(MetaPolicy(saved))
    observation = np.zeros(family.observation_size, dtype=np.float32)

    def live(number: int) -> None:
        for _ in range(number):
            trial.act(observation)
            trial.observe(0.0, observation)

    live(20)
    began = time.perf_counter()
    live(steps)
    return steps / (time.perf_counter() - began)
