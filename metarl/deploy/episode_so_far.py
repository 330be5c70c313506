"""An episode in progress, and the limits that stop it, whoever steps the robot."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from metarl.deploy.episodes import Episode, rows
from metarl.deploy.limits import Limits
from metarl_envs import InputError


class UnsafeStartError(InputError):
    """A robot that `Limits.unsafe` calls unsafe before its first step."""


class EpisodeSoFar:
    """The steps of an episode until now. It is over when `add` returns it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._observations: list[NDArray[np.float64]] = []
        self._actions: list[NDArray[np.float64]] = []
        self._rewards: list[float] = []

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self._rewards)

    def begin(self, observation: NDArray[np.float64]) -> None:
        """Take the first observation, (O,), which is finite.

        Raises:
            UnsafeStartError: if the robot is unsafe before its first step.
        """
        if self._limits.is_unsafe(observation):
            raise UnsafeStartError(
                "limits.unsafe: the robot is unsafe before its first step; bring it to a safe start"
            )
        self._observations.append(observation)

    def act_on(self, observation: NDArray[np.float64]) -> Episode | None:
        """Take what the next action sees, in place of what was seen after the last one.

        The episode, if the robot is unsafe by now, else None.
        """
        if np.array_equal(observation, self._observations[-1]):
            return None
        self._observations[-1] = observation
        return self.episode(stopped="unsafe") if self._limits.is_unsafe(observation) else None

    def add(
        self,
        action: NDArray[np.floating],
        reward: float,
        observation: NDArray[np.float64],
        *,
        terminated: bool,
        truncated: bool,
        fault: bool = False,
    ) -> Episode | None:
        """One step and what it led to; the episode, if that ended it, else None.

        Termination comes before a limit, and a limit before the clock.

        Args:
            action: as it was sent, (A,).
            reward: finite or not.
            observation: after it, (O,), finite or not.
            terminated, truncated: what the robot or its environment says.
            fault: the step did not go as physics would.

        Raises:
            InputError: if `Limits.unsafe` says neither yes nor no.
        """
        if fault or not (np.isfinite(observation).all() and math.isfinite(reward)):
            return self.episode(diverged=True)
        self._actions.append(np.asarray(action, dtype=np.float64))
        self._rewards.append(reward)
        self._observations.append(observation)
        if terminated:
            return self.episode(terminated=True)
        low = self._limits.min_return
        if low is not None and sum(self._rewards) < low:
            return self.episode(stopped="min_return")
        if self._limits.is_unsafe(observation):
            return self.episode(stopped="unsafe")
        return self.episode(truncated=True) if truncated else None

    def episode(
        self,
        *,
        terminated: bool = False,
        truncated: bool = False,
        stopped: str = "",
        diverged: bool = False,
    ) -> Episode:
        """The steps as an episode that ends here."""
        return Episode(
            rows(self._observations),
            rows(self._actions),
            np.array(self._rewards),
            terminated=terminated,
            truncated=truncated,
            stopped=stopped,
            diverged=diverged,
        )
