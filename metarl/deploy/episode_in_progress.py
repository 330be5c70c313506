"""An episode in progress: who acts, the steps until now, and the limits that stop it."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.deploy.episodes import Episode, rows
from metarl.deploy.limits import Limits
from metarl_envs import InputError


class Actor(Protocol):
    """Policy that drives one robot through an episode: in turn `act` and `observe`."""

    def act(self, observation: NDArray[np.float64]) -> NDArray[np.float32]:
        """The action to send: (O,) -> (A,)."""
        ...

    def observe(
        self, reward: float, observation: NDArray[np.float64], terminated: bool, truncated: bool
    ) -> None:
        """Take the outcome of the last action."""
        ...

    def outputs(self, steps: int) -> NDArray[np.float64] | None:
        """Outputs before scaling of the first steps, (steps, A); None if they are not kept."""
        ...


class UnsafeStartError(InputError):
    """A robot that `Limits.unsafe` calls unsafe before an action."""

    episode: Episode | None
    """The episode that this ended; None before its first step."""

    def __init__(self, episode: Episode | None) -> None:
        unsafe = "is unsafe before its first step"
        if episode is not None:
            unsafe = "became unsafe after its last step, which ended the episode"
        super().__init__(f"limits.unsafe: the robot {unsafe}; bring it to a safe start")
        self.episode = episode


class EpisodeInProgress:
    """In turn `act` and `observe`, until `observe` returns the episode."""

    def __init__(self, actor: Actor, limits: Limits, space: Box, max_steps: int) -> None:
        """Start without a step; after `max_steps` the episode is truncated."""
        self._actor, self._limits, self._space = actor, limits, space
        self._max_steps = max_steps
        self._observations: list[NDArray[np.float64]] = []
        self._actions: list[NDArray[np.float64]] = []
        self._rewards: list[float] = []
        self._action: NDArray[Any] | None = None

    @property
    def acting(self) -> bool:
        """True from an action until its outcome is observed."""
        return self._action is not None

    def act(self, observation: NDArray[np.float64]) -> NDArray[Any]:
        """The action to send: (O,) -> (A,), within the space and of its type.

        A finite observation that differs from the last one takes its place.

        Raises:
            UnsafeStartError: if the robot is unsafe.
            InputError: if `Limits.unsafe` does not return a truth value.
        """
        if not self._observations or not np.array_equal(observation, self._observations[-1]):
            unsafe = self._limits.is_unsafe(observation)
            self._observations[-1:] = [observation]
            if unsafe:
                raise UnsafeStartError(self.end(stopped="unsafe") if self._rewards else None)
        # Clipped, since rounding may leave the space.
        action = np.clip(self._actor.act(observation), self._space.low, self._space.high)
        self._action = action.astype(self._space.dtype)
        return self._action

    def observe(
        self,
        reward: float,
        observation: NDArray[np.float64],
        *,
        terminated: bool,
        truncated: bool,
        fault: bool = False,
    ) -> Episode | None:
        """Take the outcome of the last action; the episode, if that ended it, else None.

        Termination comes before a limit, and a limit before truncation. An episode whose reward or
        observation, (O,), is not finite has diverged, and so it has with a `fault` of its
        simulation.

        Raises:
            InputError: if `Limits.unsafe` does not return a truth value; the step may be observed
                again.
        """
        assert self._action is not None
        diverged = fault or not (np.isfinite(observation).all() and math.isfinite(reward))
        unsafe = not (diverged or terminated) and self._limits.is_unsafe(observation)
        truncated = truncated or len(self._rewards) + 1 == self._max_steps
        if not diverged:
            self._actor.observe(reward, observation, terminated, truncated)
        action, self._action = self._action, None
        if diverged:
            return self.end(diverged=True)
        self._actions.append(action.astype(np.float64))
        self._rewards.append(reward)
        self._observations.append(observation)
        if terminated:
            return self.end(terminated=True)
        least = self._limits.min_return
        if least is not None and sum(self._rewards) < least:
            return self.end(stopped="min_return")
        if unsafe:
            return self.end(stopped="unsafe")
        return self.end(truncated=True) if truncated else None

    def end(self, **ending: Any) -> Episode:  # noqa: ANN401 - the flags of `Episode`
        """The steps as an episode that ends here."""
        return Episode(
            rows(self._observations),
            rows(self._actions),
            np.array(self._rewards),
            outputs=self._actor.outputs(len(self._rewards)),
            **ending,
        )
