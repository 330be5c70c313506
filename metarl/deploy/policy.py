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
from metarl.deploy.description import describe_policy
from metarl.deploy.episode_in_progress import UnsafeStartError
from metarl.deploy.episodes import Episode, EpisodeRecord
from metarl.deploy.gradient_step import AdaptationNotFiniteError
from metarl.deploy.gym_rollouts import check_env, run_episode, time_limit
from metarl.deploy.limits import NO_LIMITS, Limits
from metarl.deploy.state import TrialState, belief_to_act, finite_rows, observed
from metarl.evaluation.adapting import StepKind, on_top
from metarl.runs.checkpoint import SavedPolicy, load_policy, save_policy
from metarl_envs import InputError
from metarl_envs.inputs.numbers import whole


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
        task. For a policy with a memory they are one trial, in order, and the result goes on from
        what it knows then; where nothing else adapts, there is no step and no action noise. If a
        trial returns less than any training task, later episodes begin with the beliefs of such
        tasks, and the result goes on with the best: so it reaches what lies outside its ranges.

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

    def with_steps(self, kind: StepKind) -> MetaPolicy:
        """The policy, which adapts within the episode, with gradient steps besides its memory.

        `adapt` then explores with action noise, and takes a step of the last layer ("head") or of
        all weights ("gradient", or "adam") from each `episodes` of them.

        Raises:
            InputError: for an unknown kind, or a policy that brings its own adaptation.
        """
        return MetaPolicy(on_top(self.saved, kind))

    def predict(
        self,
        observation: ArrayLike,
        state: TrialState | None = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], TrialState | None]:
        """Actions for observations: (O,) -> (A,) or (N, O) -> (N, A), within the action space.

        They keep to the action bounds of the limits that it was adapted with.

        The signature is Stable-Baselines3's, so that its tools take this object. Unlike there, the
        mean is the default: after adaptation one wants to act, not to explore.

        **A policy with a memory** hands its state on, as in SB3-Contrib's RecurrentPPO: None begins
        a trial, and `episode_start` begins one for some of N robots, which forgets what was learned
        of them. A trial that goes on through an episode's end gets that end by `observe` instead.
        A policy that reads rewards needs `observe` after every step; one that reads none, only at
        such an end. `metarl.RobotTrial` keeps the state of one robot itself.

        Args:
            observation: of one robot, or of N.
            state: as this or `observe` returned it; None: a trial begins, from the belief that the
                policy was adapted to, if any. Policies without a memory neither need nor return it.
            episode_start: (N,), where a trial begins.
            deterministic: the mean action; False: with the policy's noise.

        Raises:
            InputError: for another shape, a number that is not finite, another state, or one that
                lacks a reward.
        """
        policy = self.saved.policy
        observations = finite_rows(self.saved, "observation", observation)
        rows = observations.view(-1, policy.observation_size)
        with torch.no_grad():
            belief = belief_to_act(self.saved, rows, state, episode_start)
            dist, belief = policy.act(self.saved.params, belief, rows)
            outputs = dist.mean
            if not deterministic:
                noise = torch.randn(outputs.shape, generator=self._sampler)
                outputs = outputs + policy.log_std(self.saved.params).exp() * noise
        # Scaling may leave the range by rounding, where its middle is not zero.
        low, high = (np.array(b, np.float32) for b in (policy.action_low, policy.action_high))
        actions = np.clip(policy.controls(outputs).numpy(), low, high)
        after = TrialState(belief, policy.sent(outputs)) if belief else None
        return (actions[0] if observations.dim() == 1 else actions), after

    def observe(
        self,
        state: TrialState | None,
        action: ArrayLike,
        reward: ArrayLike,
        observation: ArrayLike,
        terminated: ArrayLike = False,
        truncated: ArrayLike = False,
    ) -> TrialState | None:
        """The state after a step, for the next `predict`; an episode's last step counts too.

        A policy without a memory needs none of it.

        Args:
            state: as `predict` returned it with the action.
            action: as sent, (A,), or (N, A) of N robots.
            reward: earned by it, one number or (N,); any where the policy reads none.
            observation: after it, (O,) or (N, O); at an episode's end the last one of the episode.
            terminated, truncated: true if the episode ended so, one or (N,).

        Raises:
            InputError: for a state whose step was observed already, another shape, or a number that
                is not finite.
        """
        if not self.saved.begin(1):
            return None
        if state is None:
            raise InputError("state = None: must be what `predict` returned with the action")
        return observed(self.saved, state, action, reward, observation, terminated, truncated)

    @property
    def reads_rewards(self) -> bool:
        """True if it has a memory of rewards, so that it needs `observe` after every step."""
        return bool(self.saved.begin(1)) and self.saved.policy.reads_rewards

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
