"""One episode in several worlds, from one and the same initial state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarl.deploy.adapt import adaptation_generators
from metarl.policies.base import Policy
from metarl.policies.belief import Belief, Outcome, where
from metarl.policies.params import Params, dtype_of
from metarl.video.belief import belief_vectors
from metarl_envs import BatchEnv, Tasks


@dataclass(frozen=True)
class Script:
    """All that an episode in n worlds follows from."""

    policy: Policy
    params: Params  # (n, ...)
    task: Tasks  # M = 1, of all worlds
    seed: int
    """Of the initial state."""
    changes: Mapping[int, Tasks] = field(default_factory=dict)
    """Tasks (M = 1) that come into force in mid-episode, by their first step."""
    belief: Belief | None = None  # (n, 1, ...) at the start; None: a trial begins


class Moment(NamedTuple):
    """The worlds of a film at its start, or after a control step."""

    rewards: Tensor  # (n,)
    quantity: Tensor  # (n,) the physical quantity
    acted: Tensor  # (n,)
    ended: Tensor  # (n,) terminated (not merely out of time) or diverged in this step
    belief: Belief  # (n, 1, ...)


@dataclass(frozen=True)
class Episode:
    """Returns, motion and ends in the n worlds of a film."""

    returns: NDArray[np.float64]  # (n, T+1) running return
    quantity: NDArray[np.float64]  # (n, T) the physical quantity; 0 from an episode's end on
    lengths: tuple[int, ...]
    endings: tuple[str, ...]
    """Kinds of their ends; "" where only the time was up."""
    beliefs: NDArray[np.float64]  # (n, T+1, H); H = 0 without a belief

    def means(self, since: Sequence[int] = (0,)) -> NDArray[np.float64]:
        """Running mean of the physical quantity, which begins anew at these steps: (n, T+1)."""
        worlds, T = self.quantity.shape
        totals = np.concatenate([np.zeros((worlds, 1)), self.quantity.cumsum(axis=1)], axis=1)
        means = np.zeros_like(totals)
        for world, length in enumerate(self.lengths):
            for start in since:
                if start < length:
                    # Before a first step there is no mean to show: that step's value.
                    steps = np.arange(start, T + 1).clip(start + 1, length)
                    sums = totals[world, steps] - totals[world, start]
                    means[world, start:] = sums / (steps - start)
        return means


def before_and_after(before: Params, after: Params) -> Params:
    """Two policies as per-task parameters: (...) and (...) -> (2, ...)."""
    return {name: torch.stack([value, after[name]]) for name, value in before.items()}


def reset_alike(env: BatchEnv, seed: int) -> Tensor:
    """Put all worlds into the same random initial state; observations (N, O), all rows equal."""
    resets, _ = adaptation_generators(seed)
    drawn = env.draw_start(env.num_worlds, resets)
    rows = {name: value[:1].expand_as(value) for name, value in vars(drawn).items()}
    return env.start(replace(drawn, **rows))


def play(env: BatchEnv, script: Script) -> Iterator[Moment]:
    """One episode of mean actions, world m acting with the m-th parameters.

    A world that has ended stays as it is, and so does its belief.

    Yields:
        the worlds at the start, then after each control step; where the task changes then, it is
        in force already.
    """
    policy, params = script.policy, script.params
    belief = policy.begin(params, 1) if script.belief is None else script.belief
    _set_task(env, script.task)
    observation = reset_alike(env, script.seed)
    alive = torch.ones(env.num_worlds, dtype=torch.bool, device=env.device)
    none = torch.zeros_like(alive)
    yield Moment(0.0 * none, 0.0 * none, none, none, belief)
    step_number = 0
    while bool(alive.any()):
        rows = observation.to(dtype_of(params)).unsqueeze(1)
        with torch.no_grad():
            dist, believed = policy.act(params, belief, rows)
        step = env.step(policy.controls(dist.mean.squeeze(1)), alive)
        outcome = Outcome(
            policy.sent(dist.mean),
            step.rewards.to(rows).unsqueeze(1),
            step.terminated.unsqueeze(1),
            step.truncated.unsqueeze(1),
            step.observations.to(rows).unsqueeze(1),
        )
        with torch.no_grad():
            believed = policy.observe(params, believed, outcome)
        belief = where(alive.unsqueeze(1), believed, belief)
        ended = (step.terminated | step.diverged) & alive
        acted, alive = alive, alive & ~(ended | step.truncated)
        observation, step_number = step.observations, step_number + 1
        if step_number in script.changes and bool(alive.any()):
            _set_task(env, script.changes[step_number])
            observation = env.observation()  # an observed task and biased sensors change at once
        yield Moment(step.rewards, step.quantity, acted, ended, belief)


def follow(env: BatchEnv, script: Script) -> Episode:
    """Play the episode once without pictures, for the captions and the scales of charts."""
    start, *moments = play(env, script)
    acted = np.stack([moment.acted.numpy() for moment in moments], axis=1)  # (n, T)
    rewards = np.stack([moment.rewards.numpy() for moment in moments], axis=1)
    amounts = np.stack([moment.quantity.numpy() for moment in moments], axis=1)
    earned = np.where(acted, rewards, 0.0).cumsum(axis=1)
    early = torch.stack([moment.ended for moment in moments]).any(dim=0)
    diverged = env.engine.faults() > 0
    return Episode(
        np.concatenate([np.zeros((len(acted), 1)), earned], axis=1),
        np.where(acted & np.isfinite(amounts), amounts, 0.0),
        tuple(int(length) for length in acted.sum(axis=1)),
        tuple(
            "" if not end else "diverged" if fault else "terminated"
            for end, fault in zip(early.tolist(), diverged.tolist(), strict=True)
        ),
        np.stack(
            [belief_vectors(moment.belief, env.num_worlds) for moment in (start, *moments)], axis=1
        ),
    )


def belief_after(env: BatchEnv, script: Script) -> Belief:
    """The belief at the end of the episode, (n, 1, ...), its last step included."""
    *_, last = play(env, script)
    return last.belief


def _set_task(env: BatchEnv, task: Tasks) -> None:
    """Give every world this task, M = 1."""
    env.set_tasks(task[[0] * env.num_tasks])
