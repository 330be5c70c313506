"""What being stopped by a limit costs an episode, so that an adaptation never learns to be stopped.

A stopped episode has fewer rewards than it would have had. Read as it is, or filled up with what it
earned, it may look better than one that went on: with negative rewards a short sum is a good one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

Rewards = NDArray[np.float64]
"""(L,) of one episode, as earned."""


def stop_costs(
    episodes: Sequence[Rewards], stopped: Sequence[bool], full: int, penalty: float
) -> NDArray[np.float64]:
    """What each episode's being stopped adds to its return: (E,), negative where it was, else 0.

    Every step that is missing counts as the worst reward that any of the episodes has met, or 0 if
    that is less, since the environment might have ended the episode there. Where rewards had become
    worse up to a stop, the missing ones go on to at the same pace. The penalty comes on top. So an
    episode that goes on with rewards no worse than that returns more than if it had been stopped,
    whatever their sign and however many follow; what no episode has met is not known.

    Args:
        episodes: all of one adaptation, as earned; one that diverged has none.
        stopped: by a limit, (E,).
        full: steps of an episode that goes on, `time_limit`.
        penalty: of a stop, in units of the largest absolute reward (1 where all are 0).
    """
    costs = np.zeros(len(episodes))
    if not any(stopped):
        return costs
    met = np.concatenate(episodes)
    worst, unit = float(met.min()), float(np.abs(met).max()) or 1.0
    # One pace for all: with paces of their own, a shorter episode could come out as the better.
    pace = max(
        (r[0] - r.min()) / max(len(r) - 1, 1)
        for r, was in zip(episodes, stopped, strict=True)
        if was
    )
    for e in np.flatnonzero(stopped).tolist():
        after = np.arange(1, full - len(episodes[e]) + 1)
        costs[e] = np.minimum(worst - pace * after, 0.0).sum() - penalty * unit
    return costs


def time_limit(env: gymnasium.Env[Any, Any], horizon: int) -> int:
    """Steps of an episode that goes on: the horizon, or less if the environment ends it before."""
    limits = [horizon]
    if env.spec is not None and env.spec.max_episode_steps is not None:
        limits.append(env.spec.max_episode_steps)
    layer = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, TimeLimit):  # says so in a spec only if what it wraps has one
            limits.append(layer._max_episode_steps)
        layer = layer.env
    return min(limits)
