"""One episode of a policy before and after adaptation, from one and the same initial state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarl.deploy.adapt import adaptation_generators
from metarl.policies.base import Policy
from metarl.policies.belief import Outcome
from metarl.policies.params import Params, dtype_of
from metarl_envs import BatchEnv


@dataclass(frozen=True)
class Episode:
    """Returns and ends in the two worlds of a video; world 0 is before, 1 after adaptation."""

    returns: NDArray[np.float64]  # (2, T+1) running return
    quantity: NDArray[np.float64]  # (2, T+1) running mean of the physical quantity
    lengths: tuple[int, int]
    endings: tuple[str, str]


def before_and_after(before: Params, after: Params) -> Params:
    """Two policies as per-task parameters: (...) and (...) -> (2, ...)."""
    return {name: torch.stack([value, after[name]]) for name, value in before.items()}


def reset_alike(env: BatchEnv, seed: int) -> Tensor:
    """Put all worlds into the same random initial state; observations (N, O), all rows equal."""
    resets, _ = adaptation_generators(seed)
    drawn = env.draw_start(env.num_worlds, resets)
    rows = {name: value[:1].expand_as(value) for name, value in vars(drawn).items()}
    return env.start(replace(drawn, **rows))


def play(
    env: BatchEnv, policy: Policy, params: Params, observation: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """One episode of mean actions, world m acting with the m-th parameters.

    Yields:
        rewards, the physical quantity, which worlds acted, and which of them terminated (not
        merely ran out of time) or diverged, each (N,), after each control step. A world that has
        ended stays as it is.
    """
    belief = policy.begin(params, 1)
    alive = torch.ones(env.num_worlds, dtype=torch.bool, device=env.device)
    while bool(alive.any()):
        rows = observation.to(dtype_of(params)).unsqueeze(1)
        with torch.no_grad():
            dist, belief = policy.act(params, belief, rows)
        step = env.step(policy.controls(dist.mean.squeeze(1)), alive)
        outcome = Outcome(
            policy.sent(dist.mean),
            step.rewards.to(rows).unsqueeze(1),
            step.terminated.unsqueeze(1),
            step.truncated.unsqueeze(1),
            step.observations.to(rows).unsqueeze(1),
        )
        with torch.no_grad():
            belief = policy.observe(params, belief, outcome)
        ended = (step.terminated | step.diverged) & alive
        yield step.rewards, step.quantity, alive, ended
        observation = step.observations
        alive = alive & ~(ended | step.truncated)


def follow(env: BatchEnv, policy: Policy, params: Params, seed: int) -> Episode:
    """Play the episode once without pictures, for the captions and the chart's scale."""
    returns, quantity = [np.zeros(2)], [np.zeros(2)]
    lengths, early = np.zeros(2, dtype=int), np.zeros(2, dtype=bool)
    for rewards, values, alive, ended in play(env, policy, params, reset_alike(env, seed)):
        acted = alive.numpy()
        returns.append(returns[-1] + np.where(acted, rewards.numpy(), 0.0))
        lengths += acted
        valid = acted & np.isfinite(values.numpy())
        total = quantity[-1] * (lengths - acted) + np.where(valid, values.numpy(), 0.0)
        quantity.append(total / lengths)
        early |= ended.numpy()
    quantity[0] = quantity[1]  # before the first step there is none to show
    diverged = env.engine.faults().numpy() > 0
    endings = [
        "" if not early[i] else "diverged" if diverged[i] else "terminated" for i in range(2)
    ]
    return Episode(
        np.stack(returns, axis=1),
        np.stack(quantity, axis=1),
        (int(lengths[0]), int(lengths[1])),
        (endings[0], endings[1]),
    )
