"""Policies that act, and that adapt to the robot or task that they meet."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Generator

from metarl.deploy.adapt import RobotAdaptation
from metarl.deploy.collected import one_outcome
from metarl.deploy.description import describe_policy
from metarl.deploy.episode_in_progress import UnsafeStartError
from metarl.deploy.episodes import Episode, EpisodeRecord
from metarl.deploy.gradient_step import AdaptationNotFiniteError
from metarl.deploy.gym_rollouts import check_env, run_episode, time_limit
from metarl.deploy.limits import NO_LIMITS, Limits
from metarl.policies.belief import Belief, where
from metarl.runs.checkpoint import SavedPolicy, load_policy, save_policy
from metarl_envs import InputError
from metarl_envs.gym_worlds.calls import plain_array
from metarl_envs.inputs.numbers import shown, whole


def load(path: str | Path) -> MetaPolicy:
    """The policy in a run folder or policy folder, adapted ones included.

    Raises:
        RunError: if there is none, or it cannot be used.
    """
    return MetaPolicy(load_policy(Path(path)))


@dataclass(frozen=True, repr=False)
class MetaPolicy:
    """A policy that acts, and that adapts to its task. Adapting returns a new one."""

    saved: SavedPolicy
    episodes: tuple[Episode, ...] = ()
    """Episodes on a robot that it was adapted from in this process, for `metarl.save_episodes`."""
    _sampler: Generator = field(default_factory=lambda: Generator().manual_seed(0), repr=False)

    def __repr__(self) -> str:
        """Three lines: the policy, its training, its adaptation."""
        return describe_policy(self.saved)

    def adapt(
        self,
        env: gymnasium.Env[Any, Any],
        episodes: int = 5,
        steps: int | None = None,
        seed: int = 0,
        limits: Limits = NO_LIMITS,
        on_episode: Callable[[EpisodeRecord], object] | None = None,
        verbose: bool = False,
    ) -> MetaPolicy:
        """Adapt to the task of `env`, with `episodes` episodes before each gradient step.

        Runs `episodes * steps` episodes, each to its end or to the training horizon. Resets name no
        task.

        Args:
            env: any environment with the policy's spaces.
            episodes: per gradient step, >= 1. Baseline and advantages come from these alone, so
                one or two give a noisy step.
            steps: gradient steps, >= 1; None: as many as the policy was trained for.
            seed: fixes the action noise, and is given to the environment's first reset.
            limits: action bounds, stops and early ends. Without them steps are still capped
                (`Limits.max_step_kl`).
            on_episode: called with an `EpisodeRecord` after every episode. An error or Ctrl-C of it
                cuts the adaptation short like one of the environment.
            verbose: print a line after every episode.

        Returns:
            The adapted policy; `adapted` is the report and `episodes` the raw data. Where the
            robot is unsafe before a later episode, the policy is adapted from the episodes until
            then, with a warning. Observations unlike those of training are a warning too.

        Raises:
            InputError: for other spaces, sizes that are too small, limits that do not fit the
                action space, or a robot that is unsafe before it moved.
            AdaptationNotFiniteError: if a step is not finite; `episodes` is the raw data.
            AdaptationInterruptedError: if the environment raises an error after an episode that
                can be adapted from; `policy` is adapted from such episodes.
            AdaptationCancelled, AdaptationExit: the same for Ctrl-C and for `sys.exit`.
        """
        check_env(self.saved.policy, env)
        horizon, seed = self.saved.config.horizon, whole("seed", seed, 0)
        adapting = RobotAdaptation(
            self.saved,
            episodes=episodes,
            steps=steps,
            seed=seed,
            limits=limits,
            max_steps=time_limit(env, horizon),
            on_episode=on_episode,
            verbose=verbose,
        )
        while not adapting.finished:
            reset_seed = None if adapting.gathered else seed
            try:
                adapting.append(run_episode(env, adapting.explore(), horizon, limits, reset_seed))
            except BaseException as error:
                adapting.cut_short(error)
            try:
                adapting.learn()
            except AdaptationNotFiniteError:
                raise
            except BaseException as error:  # Ctrl-C in the middle of the step
                adapting.error, adapting.finished = error, True
        policy = MetaPolicy(adapting.adapted(), adapting.episodes)
        error = adapting.error
        if error is None:
            return policy
        line = adapting.interruption()
        if isinstance(error, UnsafeStartError):
            warnings.warn(line, stacklevel=2)
            return policy
        line += "; it is this error's `policy`"
        if isinstance(error, SystemExit):
            raise AdaptationExit(error.code, policy) from error
        if isinstance(error, KeyboardInterrupt):
            raise AdaptationCancelled(line, policy) from error
        if isinstance(error, Exception):
            raise AdaptationInterruptedError(line, policy) from error
        raise error

    def predict(
        self,
        observation: ArrayLike,
        state: Belief | None = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], Belief | None]:
        """Actions for observations: (O,) -> (A,) or (N, O) -> (N, A), within the action space.

        They keep to the action bounds of the limits that it was adapted with.

        The signature is Stable-Baselines3's, so that its tools take this object. Unlike there, the
        mean is the default: after adaptation one wants to act, not to explore.

        Args:
            observation: of one robot, or of N.
            state: what a policy with a memory remembers, as this or `observe` returned it; None: a
                trial begins. Policies without one neither need nor return it.
            episode_start: (N,), where it begins again.
            deterministic: the mean action; False: with the policy's noise.

        Raises:
            InputError: for another shape, or a number that is not finite.
        """
        policy = self.saved.policy
        try:
            observations = torch.from_numpy(plain_array(observation).astype(np.float32))
        except (TypeError, ValueError):
            raise InputError(f"observation = {shown(observation)}: must be numbers") from None
        size = policy.observation_size
        if observations.dim() not in (1, 2) or observations.shape[-1] != size:
            raise InputError(
                f"observation of shape {tuple(observations.shape)}: the policy reads ({size},) or "
                f"(N, {size})"
            )
        rows = observations.view(-1, size)
        if not bool(torch.isfinite(rows).all()):
            row, i = torch.nonzero(~torch.isfinite(rows))[0].tolist()
            raise InputError(
                f"observation[{i}] = {float(rows[row, i])}: must be finite; no action follows from "
                "it"
            )
        with torch.no_grad():
            belief = self._belief(len(rows), state, episode_start)
            dist, belief = policy.act(self.saved.params, belief, rows)
            outputs = dist.mean
            if not deterministic:
                noise = torch.randn(outputs.shape, generator=self._sampler)
                outputs = outputs + policy.log_std(self.saved.params).exp() * noise
        # Scaling may leave the range by rounding, where its middle is not zero.
        low, high = (np.array(b, np.float32) for b in (policy.action_low, policy.action_high))
        actions = np.clip(policy.controls(outputs).numpy(), low, high)
        return (actions[0] if observations.dim() == 1 else actions), belief or None

    def observe(
        self,
        state: Belief | None,
        action: ArrayLike,
        reward: float,
        observation: ArrayLike,
        terminated: bool = False,
        truncated: bool = False,
    ) -> Belief | None:
        """The state of one robot after a step, for the next `predict`.

        A policy with a memory gets rewards and ends here, those of an episode's last step too. A
        policy without one needs none of it.

        Args:
            state: as `predict` returned it with the action.
            action: (A,), as sent.
            reward: earned by it.
            observation: after it, (O,).
            terminated, truncated: True if the episode ended so.
        """
        if state is None:
            return None
        policy = self.saved.policy
        outputs = policy.outputs(torch.as_tensor(np.asarray(action), dtype=torch.float32))
        outcome = one_outcome(policy, outputs, reward, observation, terminated, truncated)
        with torch.no_grad():
            return policy.observe(self.saved.params, state, outcome)

    def _belief(self, num_worlds: int, state: Belief | None, started: ArrayLike | None) -> Belief:
        """Belief of N robots before they act: (N, ...)."""
        fresh = self.saved.policy.begin(self.saved.params, num_worlds)
        if state is None or not fresh:
            return fresh
        shapes = {name: value.shape for name, value in fresh.items()}
        if shapes != {name: value.shape for name, value in state.items()}:
            raise InputError(
                f"state of another policy, or of other than {num_worlds} robots: must be what "
                "`predict` returned last"
            )
        if started is None:
            return state
        begins = torch.as_tensor(np.asarray(started, dtype=bool)).view(num_worlds)
        return where(begins, fresh, state)

    @property
    def adapted(self) -> dict[str, Any] | None:
        """Report of the adaptation; None if the policy is not adapted."""
        return self.saved.metadata.get("adapted")

    def save(self, folder: str | Path) -> Path:
        """Write a policy folder that `metarl.load` reads."""
        return save_policy(Path(folder), self.saved)


class _CutShort(BaseException):
    policy: MetaPolicy
    """Adapted from the episodes that were whole, `policy.episodes`."""

    def __init__(self, message: object, policy: MetaPolicy) -> None:
        super().__init__(message)
        self.policy = policy


class AdaptationInterruptedError(_CutShort, RuntimeError):
    """Error of the environment during an adaptation; its cause is that error."""


class AdaptationCancelled(_CutShort, KeyboardInterrupt):
    """Ctrl-C during an adaptation; no `RuntimeError`, so that it stops a script as usual."""


class AdaptationExit(_CutShort, SystemExit):
    """`sys.exit` during an adaptation, such as by a signal's handler; its `code` is kept."""


class MeanActions:
    """A policy that drives one robot by its mean action, from the start of a trial."""

    def __init__(self, policy: MetaPolicy) -> None:
        self._policy = policy
        self._state: Belief | None = None
        self._action = np.zeros(0, np.float32)

    def act(self, observation: NDArray[np.float64]) -> NDArray[np.float32]:
        """The action to send: (O,) -> (A,)."""
        self._action, self._state = self._policy.predict(observation, self._state)
        return self._action

    def observe(
        self, reward: float, observation: NDArray[np.float64], terminated: bool, truncated: bool
    ) -> None:
        """Take the outcome of the last action."""
        self._state = self._policy.observe(
            self._state, self._action, reward, observation, terminated, truncated
        )

    def outputs(self, steps: int) -> None:
        """None: nothing is learned from mean actions."""
