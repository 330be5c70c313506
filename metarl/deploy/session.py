"""Adaptation in a control loop of the user's own: ROS, or anything but Gymnasium."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import ArrayLike, NDArray

from metarl.deploy.adapt import RobotAdaptation
from metarl.deploy.episode_in_progress import EpisodeInProgress, UnsafeStartError
from metarl.deploy.episodes import Episode, EpisodeRecord
from metarl.deploy.limits import NO_LIMITS, Limits
from metarl.deploy.policy import MetaPolicy
from metarl_envs import InputError
from metarl_envs.inputs.numbers import is_number, shown, tensor


class AdaptationSession:
    """An adaptation that is fed one step of the robot at a time.

    In turn `act` and `observe`, from the start of each episode until `observe` returns True; then
    the robot goes back to its start. Once the session is `ready`, `adapt` gives the policy. All
    limits hold as in `MetaPolicy.adapt`. Without an end: `metarl.RobotTrial`.
    """

    def __init__(
        self,
        policy: MetaPolicy,
        *,
        episodes: int = 5,
        steps: int | None = None,
        seed: int = 0,
        limits: Limits = NO_LIMITS,
        max_steps: int | None = None,
        on_episode: Callable[[EpisodeRecord], object] | None = None,
    ) -> None:
        """Start with no episode.

        Arguments and errors are those of `MetaPolicy.adapt`; `max_steps` is of an episode, where
        that is less than the training horizon.
        """
        self._adapting = RobotAdaptation(
            policy.saved,
            episodes=episodes,
            steps=steps,
            seed=seed,
            limits=limits,
            max_steps=max_steps,
            on_episode=on_episode,
        )
        function = policy.saved.policy
        low, high = (np.array(b, np.float32) for b in (function.action_low, function.action_high))
        self._space = Box(low, high, dtype=np.float32)
        self._episode: EpisodeInProgress | None = None

    @property
    def ready(self) -> bool:
        """True once no further episode is needed."""
        return self._adapting.finished

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """The whole episodes by now, for `metarl.save_episodes`; those of the check left out."""
        return self._adapting.episodes

    def act(self, observation: ArrayLike) -> NDArray[np.float32]:
        """The action to send, with the policy's noise: (O,) -> (A,), within all bounds.

        The first of an episode starts it.

        Raises:
            UnsafeStartError: if the robot is unsafe, which ends an episode in progress; bring it to
                a safe start and act again.
            InputError: for another size or a number that is not finite, if the last action was not
                observed yet, or if the session is ready.
        """
        if self.ready:
            raise InputError("session.act: all episodes are there; call session.adapt()")
        if self._episode is not None and self._episode.acting:
            raise InputError(
                "session.act: the action before was not observed; call session.observe(reward, "
                "observation) with its outcome, or session.discard_episode()"
            )
        state = self._observation(observation)
        if not np.isfinite(state).all():
            i = int(np.argmin(np.isfinite(state)))
            raise InputError(f"observation[{i}] = {state[i]}: must be finite; no action follows")
        if self._episode is None:
            adapting = self._adapting
            self._episode = EpisodeInProgress(
                adapting.explore(), adapting.limits, self._space, adapting.max_steps
            )
        try:
            return self._episode.act(state)
        except UnsafeStartError as error:
            self._end(error.episode)
            raise

    def observe(
        self,
        reward: Any,  # noqa: ANN401 - a number of any type
        observation: ArrayLike,
        terminated: bool = False,
        truncated: bool = False,
    ) -> bool:
        """Take the outcome of the last action; returns True if the episode is over.

        It is over as you say, by a limit, at the training horizon or `max_steps`, and where
        something is not finite, such as a sensor that failed: that episode is left out.

        Args:
            reward: of the action.
            observation: after it, (O,).
            terminated: the task itself ended the episode, such as by a fall.
            truncated: you end it.

        Raises:
            InputError: for another size, or if there is no action to observe.
            AdaptationNotFiniteError: if the gradient step from the episodes is not finite.
        """
        if self._episode is None or not self._episode.acting:
            raise InputError("session.observe: no action was sent; call session.act first")
        if not is_number(reward):
            raise InputError(f"reward = {shown(reward)}: must be one number")
        over = self._episode.observe(
            float(tensor("reward", reward)),
            self._observation(observation),
            terminated=bool(terminated),
            truncated=bool(truncated),
        )
        if over is not None:
            self._end(over)
        return over is not None

    def _end(self, episode: Episode | None) -> None:
        self._episode = None
        if episode is None:
            return
        try:
            self._adapting.append(episode)
        finally:  # an error of the callback loses no episode
            self._adapting.learn()

    def discard_episode(self) -> None:
        """Forget the episode in progress, such as when somebody moved the robot by hand."""
        self._episode = None

    def adapt(self) -> MetaPolicy:
        """The adapted policy; of a session that is not `ready`, from the whole episodes.

        That is a warning.

        Raises:
            InputError: if there is none to adapt from.
        """
        if not self.ready:
            gathered = f"{self._adapting.gathered} whole episodes, where more were to come"
            if all(episode.diverged for episode in self.episodes):
                raise InputError(f"session.adapt: {gathered}: there is nothing to adapt from yet")
            self._adapting.finish()
            warnings.warn(f"adapted from {gathered}", stacklevel=2)
        return MetaPolicy(self._adapting.adapted(), self.episodes)

    def _observation(self, given: ArrayLike) -> NDArray[np.float64]:
        """(O,) in double precision, finite or not."""
        values = tensor("observation", given).numpy()
        size = self._adapting.policy.observation_size
        if values.shape != (size,):
            raise InputError(
                f"observation of shape {values.shape}: the policy reads ({size},) at a time"
            )
        return values
