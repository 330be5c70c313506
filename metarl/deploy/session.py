"""Adaptation in a loop of one's own: a robot that is driven by ROS, or anything but Gymnasium."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metarl.deploy.adapt import RobotAdaptation
from metarl.deploy.collected import Exploration
from metarl.deploy.episode_so_far import EpisodeSoFar, UnsafeStartError
from metarl.deploy.episodes import Episode, EpisodeRecord
from metarl.deploy.limits import NO_LIMITS, Limits
from metarl.deploy.policy import MetaPolicy
from metarl_envs import InputError
from metarl_envs.inputs.numbers import is_number, shown, tensor


class AdaptationSession:
    """An adaptation that is fed one step of the robot at a time.

    In turn `act` and `observe`, from the start of each episode until `observe` says that it is
    over; then the robot goes back to its start. Once it is `ready`, `adapt` gives the policy. All
    limits hold as in `MetaPolicy.adapt`.
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

        Args:
            policy: meta-trained.
            episodes: per gradient step, >= 1.
            steps: gradient steps, >= 1; None: as many as the policy was trained for.
            seed: fixes the action noise.
            limits: in force in all episodes.
            max_steps: of an episode, where that is less than the training horizon.
            on_episode: called with every episode.

        Raises:
            InputError: for sizes that are too small, or limits that do not fit the action space.
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
        self._so_far: EpisodeSoFar | None = None
        self._exploration: Exploration | None = None
        self._action: NDArray[np.float32] | None = None

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
        if self._action is not None:
            raise InputError(
                "session.act: the action before was not observed; call session.observe(reward, "
                "observation) with what it led to, or session.discard_episode()"
            )
        seen = self._observation(observation)
        if not np.isfinite(seen).all():
            i = int(np.argmin(np.isfinite(seen)))
            raise InputError(f"observation[{i}] = {seen[i]}: must be finite; no action follows")
        if self._so_far is None:
            so_far = EpisodeSoFar(self._adapting.limits)
            so_far.begin(seen)
            self._so_far, self._exploration = so_far, self._adapting.explore()
        else:
            if (over := self._so_far.act_on(seen)) is not None:
                self._end(over)
                raise UnsafeStartError(
                    "limits.unsafe: the robot became unsafe after its last step, which ended the "
                    "episode; bring it to a safe start"
                )
        assert self._exploration is not None
        low, high = (
            np.array(bound, np.float32)
            for bound in (self._adapting.policy.action_low, self._adapting.policy.action_high)
        )
        self._action = np.clip(self._exploration.act(seen), low, high)  # rounding is outside
        return self._action

    def observe(
        self,
        reward: Any,  # noqa: ANN401 - a number of any type
        observation: ArrayLike,
        terminated: bool = False,
        truncated: bool = False,
    ) -> bool:
        """Take the outcome of the last action; returns whether the episode is over.

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
        if self._action is None or self._so_far is None or self._exploration is None:
            raise InputError("session.observe: no action was sent; call session.act first")
        if not is_number(reward):
            raise InputError(f"reward = {shown(reward)}: must be one number")
        last = self._so_far.steps + 1 == self._adapting.full
        earned, seen = float(tensor("reward", reward)), self._observation(observation)
        terminated, truncated = bool(terminated), bool(truncated) or last
        self._exploration.observe(earned, seen, terminated, truncated)
        over = self._so_far.add(
            self._action, earned, seen, terminated=terminated, truncated=truncated
        )
        self._action = None
        if over is not None:
            self._end(over)
        return over is not None

    def _end(self, over: Episode) -> None:
        assert self._exploration is not None
        episode = self._exploration.with_outputs(over)
        self._so_far = self._exploration = None
        try:
            self._adapting.append(episode)
        finally:  # whatever the callback raised, the episode counts
            self._adapting.learn()

    def discard_episode(self) -> None:
        """Forget the episode in progress, such as when somebody moved the robot by hand."""
        self._so_far = self._exploration = self._action = None

    def adapt(self) -> MetaPolicy:
        """The adapted policy; of a session that is not `ready`, from the whole episodes.

        That is a warning.

        Raises:
            InputError: if there is none to adapt from.
        """
        if not self.ready:
            there = f"{self._adapting.gathered} whole episodes, where more were to come"
            if all(episode.diverged for episode in self.episodes):
                raise InputError(f"session.adapt: {there}: there is nothing to adapt from yet")
            self._adapting.finish()
            warnings.warn(f"adapted from {there}", stacklevel=2)
        done = self._adapting.result()
        return MetaPolicy(done.saved, done.episodes)

    def _observation(self, given: ArrayLike) -> NDArray[np.float64]:
        """(O,) in double precision, finite or not."""
        found = tensor("observation", given).numpy()
        size = self._adapting.policy.observation_size
        if found.shape != (size,):
            raise InputError(
                f"observation of shape {found.shape}: the policy reads ({size},) at a time"
            )
        return found
