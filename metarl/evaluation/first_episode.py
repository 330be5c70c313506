"""The first episode of a trial by time: how long until a policy acts like the oracle.

Rewards by step are means over tasks and episodes. A window is a stretch of an episode; the reward
of a time is the mean over the window that begins there, so that it tells what is yet to come.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
WINDOW = 0.05
"""Length of a window as a share of the episode."""
CLOSE = 0.1
"""Acting like the oracle means to stay behind it by at most this share of the gap."""


def window_steps(horizon: int) -> int:
    """Steps of a window, >= 1."""
    return max(1, round(WINDOW * horizon))


def windowed(rewards: Array) -> Array:
    """Mean reward over the window that begins at each step: (..., T) -> (..., T - W + 1)."""
    width = window_steps(rewards.shape[-1])
    return np.lib.stride_tricks.sliding_window_view(rewards, width, axis=-1).mean(-1)


def seconds_to_oracle(own: Array, robust: Array, oracle: Array, dt_s: float) -> float:
    """Time until a policy acts like the oracle: (T,) each -> s.

    The first time from which on no window's mean reward falls short of the oracle's by more than
    `CLOSE` of the gap, the mean over the episode of the oracle's reward less the robust policy's.
    The time is early by at most a window: by `CLOSE` of one, where a policy that was worse becomes
    as good; by more, where it becomes better than the oracle.

    Returns:
        0: from the first step on; infinity: not within the episode, or there is no gap.
    """
    gap = float((oracle - robust).mean())
    if not gap > 0:
        return math.inf
    behind = windowed(oracle - own) > CLOSE * gap
    if behind[-1]:
        return math.inf
    late = np.flatnonzero(behind)
    return dt_s * float(late[-1] + 1 if len(late) else 0)


def seconds_to_gain(rewards: Array, dt_s: float) -> Array:
    """Time from which on no window's mean reward is 0 or less: (..., T) -> (...), s.

    For tasks whose reward is positive only where a policy does what the task asks for. Early by at
    most a window; infinity: not within the episode.
    """
    late = windowed(rewards) <= 0
    steps = np.where(late, np.arange(1, late.shape[-1] + 1), 0).max(-1)
    return np.where(late[..., -1], math.inf, dt_s * steps)


def seconds_text(seconds: float) -> str:
    """Text such as "after 0.45 s"."""
    if math.isinf(seconds):
        return "not within the episode"
    return "from the start" if seconds == 0 else f"after {seconds:.2f} s"


def definition(horizon: int, dt_s: float) -> str:
    """The measure in one sentence, for tables and figures."""
    return (
        f"like the oracle: from when on the mean reward of no window of {window_steps(horizon)} "
        f"steps ({window_steps(horizon) * dt_s:.2g} s) is below the oracle's by more than "
        f"{100 * CLOSE:.0f} % of the gap"
    )
