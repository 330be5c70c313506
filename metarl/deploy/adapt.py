"""Adaptation on one robot, a `gymnasium.Env` or not, within limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from torch import Generator

from metarl.deploy.check import check
from metarl.deploy.collected import Collected, Exploration, collected, with_costs
from metarl.deploy.episodes import Episode, EpisodeRecord
from metarl.deploy.gradient_step import adaptation_step
from metarl.deploy.gym_rollouts import check_env, explored
from metarl.deploy.interruption import AdaptationNotFiniteError
from metarl.deploy.limits import Limits, Step
from metarl.deploy.observation_check import warn_of_other_observations
from metarl.deploy.step_size import step_cap
from metarl.deploy.stops import time_limit
from metarl.methods.setup import inner_loop_of
from metarl.policies.params import Params, expand
from metarl.rollouts.advantages import policy_batch
from metarl.rollouts.data import Rollouts
from metarl.runs.policy_folder import SavedPolicy
from metarl_envs import InputError
from metarl_envs.inputs.numbers import whole

NOT_FINITE = (
    "adaptation step {step} is not finite, so the policy was not adapted: every episode diverged "
    "or sent a number that is not finite, or the rewards are far larger than in training"
)


@dataclass(frozen=True)
class AdaptedOnRobot:
    """What an adaptation on a robot came to."""

    saved: SavedPolicy
    """The policy, with what happened as `metadata["adapted"]`."""
    episodes: tuple[Episode, ...]
    """All that its gradient steps were to be made from, those that diverged included."""
    error: BaseException | None
    """What cut it short; the policy was then made from the episodes before it."""

    def describe(self) -> str:
        """How it was cut short, in a line."""
        report = self.saved.metadata["adapted"]
        gathered = sum(one["episodes"] for one in report["collections"])
        checked = "check" in report["limits"] or "check_episodes" not in report["limits"]["given"]
        return (
            f"{report['interrupted']}; the policy is adapted from the {gathered} episodes before"
            f"{'' if checked else ', and not checked'}"
        )


class RobotAdaptation:
    """An adaptation in progress: who acts next, and what episodes lead to.

    The arithmetic of `run_inner_loop`, one episode at a time, wherever they come from: an
    environment, a loop of one's own, or a log. In turn `append` an episode and `learn`, until it is
    `finished`.
    """

    def __init__(
        self,
        saved: SavedPolicy,
        *,
        episodes: int,
        steps: int,
        seed: int | None,
        limits: Limits,
        max_steps: int | None = None,
        on_episode: Callable[[EpisodeRecord], object] | None = None,
    ) -> None:
        """Starts with no episode.

        Args:
            saved: the policy to start from.
            episodes: per gradient step, >= 1; with a check >= 2.
            steps: gradient steps, >= 1.
            seed: fixes the action noise; None: nobody explores.
            limits: what it must not do, and when it ends early.
            max_steps: of an episode that goes on; None: the horizon.
            on_episode: told of every episode.

        Raises:
            InputError: for sizes that are too small, or limits that do not fit the action space.
        """
        if limits.check_episodes and episodes < 2:
            raise InputError(
                f"episodes = {episodes}: must be at least 2 with limits.check_episodes, which "
                "takes the noise of a return from the episodes before adapting"
            )
        self.limits, self.horizon = limits, saved.config.horizon
        self.full = self.horizon if max_steps is None else min(max_steps, self.horizon)
        self.policy = limits.applied_to(saved.policy)
        self._saved = replace(saved, policy=self.policy)
        self._episodes, self._steps, self._seed = episodes, steps, seed
        self._on_episode = on_episode
        self._cap = step_cap(self._saved, limits, episodes, steps)
        _, self._noise = adaptation_generators(seed or 0)
        self._how = inner_loop_of(saved.config, 1.0)
        self._start = expand(saved.params, 1)
        self.params: Params = self._how.adaptation.begin(self._start)
        """Of the policy that acts next, (1, ...)."""
        self._met: list[Collected] = []
        self._current: list[Episode] = []
        self._exploration: Exploration | None = None
        self._taken: list[Step] = []
        self._reached = False
        self._check: dict[str, Any] | None = None
        self._error: BaseException | None = None
        self._checking = self.finished = False

    @property
    def wanted(self) -> int:
        """Episodes of the collection that is being made."""
        return self.limits.check_episodes if self._checking else self._episodes

    @property
    def gathered(self) -> int:
        """Whole episodes by now, those of the check included."""
        return sum(len(one.episodes) for one in self._met) + len(self._current)

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """All whole episodes, without those of the check."""
        made = [one.episodes for one in self._met[: len(self._met) - (self._check is not None)]]
        current = [] if self._checking else self._current
        return (*(episode for collection in made for episode in collection), *current)

    def explore(self) -> Exploration:
        """The actions of the next episode, at its start."""
        if self._exploration is None:
            self._exploration = Exploration(
                self.policy, self.params, self.wanted, self.horizon, self._noise
            )
        self._exploration.start(len(self._current))
        return self._exploration

    def append(self, episode: Episode) -> None:
        """Keep a whole episode, and tell of it; what is told may raise an error."""
        self._current.append(episode)
        if self.gathered == 1:
            warn_of_other_observations(self._saved, episode)
        if self._on_episode is not None:
            self._on_episode(
                EpisodeRecord(
                    collection=len(self._met) + 1,
                    collections=self._steps,
                    check=self._checking,
                    number=len(self._current),
                    of=self.wanted,
                    episode=episode,
                )
            )

    def learn(self, *, early: bool = False) -> None:
        """Make the gradient step, or the check, if its last episode is there.

        Args:
            early: also from fewer episodes.

        Raises:
            AdaptationNotFiniteError: if the step is not finite.
        """
        if not self.finished and (early or len(self._current) == self.wanted):
            self._close(None)

    def finish(self) -> None:
        """End with the whole episodes, of which those of an unfinished collection count too."""
        if any(not episode.diverged for episode in self._current):
            self._close(None)
        self.finished = True

    def cut_short(self, error: BaseException) -> None:
        """End with the episodes that are whole.

        Raises:
            AdaptationNotFiniteError: if the step is not finite.
            BaseException: the error itself, where no episode can be adapted from.
        """
        if not self.finished:
            whole = len(self._current) == self.wanted  # the error came when telling of the last one
            self._close(None if whole else error)
        self._error, self.finished = error, True

    def _close(self, error: BaseException | None) -> None:
        met = collected(self.policy, self.params, self._current, self.horizon, error)
        self._met.append(met)
        self._current, self._exploration = [], None
        if self._checking:
            self._check = check(self._met[0], met, self._counted()[0], self._counted()[-1])
            self.finished = True
            return
        self.finished = not self._improved(met) or error is not None
        if not self.finished and len(self._taken) < self._steps:
            return
        self._checking = bool(self.limits.check_episodes and self._taken and error is None)
        self.finished = not self._checking

    def _improved(self, met: Collected) -> bool:
        """Whether the step from a collection was made, and not needless or impossible."""
        k = len(self._taken)
        if not met.usable:
            if met.error is None:
                raise AdaptationNotFiniteError(NOT_FINITE.format(step=k + 1), self.episodes)
            if not self._taken:
                raise met.error
            return False
        rollouts, good = self._counted()[-1], self.limits.good_return
        if good is not None and float(rollouts.task_returns()) >= good:
            self._reached = True
            return False
        batch = policy_batch(rollouts, self._how.discount, self._how.gae_lambda)
        names = list(self._saved.params)
        step = adaptation_step(self.policy, self.params, batch, self._how, k, names, self._cap)
        if step is None:
            raise AdaptationNotFiniteError(NOT_FINITE.format(step=k + 1), self.episodes)
        self.params = step.params
        self._taken.append(step)
        return True

    def _counted(self) -> list[Rollouts]:
        """All collections, their stops at what they cost by all that was met so far."""
        return with_costs(self._met, self.full, self.limits)

    def result(self) -> AdaptedOnRobot:
        """The policy as it is by now, with the report."""
        checked = self._check is not None
        seen = [one.describe() for one in self._met[: len(self._met) - checked]]
        did: dict[str, Any] = {
            "given": self.limits.describe(),
            "max_step_kl": self._cap if math.isfinite(self._cap) else None,
            "steps_taken": len(self._taken),
            "reached_good_return": self._reached,
            "step_scale": [step.scale for step in self._taken],
        }
        params = self.params
        if self._check is not None:
            did["check"] = self._check
            params = self._start if self._check["rolled_back"] else params
        report: dict[str, Any] = {
            "episodes": self._episodes,
            "steps": self._steps,
            "seed": self._seed,
            "returns": [one["return"] for one in seen],
            "collections": seen,
            "step_kl": [step.kl for step in self._taken],
            "limits": did,
        }
        if self._error is not None:
            told = type(self._error) is InputError  # of an environment's error, which it names
            kind = "" if told else f"{type(self._error).__name__}: "
            report["interrupted"] = f"{kind}{self._error}"
        saved = adapted_policy(self._saved, params, report)
        return AdaptedOnRobot(saved, self.episodes, self._error)


def adapt_on_env(
    saved: SavedPolicy,
    env: gymnasium.Env[Any, Any],
    *,
    episodes: int,
    steps: int,
    seed: int,
    limits: Limits,
    on_episode: Callable[[EpisodeRecord], object] | None = None,
) -> AdaptedOnRobot:
    """Collect, step, collect again, one episode at a time.

    Args:
        saved: the policy to start from.
        env: keeps its task over resets.
        episodes: per gradient step, >= 1; with a check >= 2.
        steps: gradient steps, >= 1.
        seed: fixes the action noise, and is given to the environment's first reset.
        limits: what it must not do, and when it ends early.
        on_episode: told of every episode; an error of it ends the adaptation like one of `env`.

    Raises:
        InputError: for other spaces, sizes that are too small, or limits that do not fit the
            action space; for the environment's own error, which is its cause, before the first
            whole episode that did not diverge.
        AdaptationNotFiniteError: if a step is not finite.
    """
    check_env(saved.policy, env)
    adapting = RobotAdaptation(
        saved,
        episodes=episodes,
        steps=steps,
        seed=seed,
        limits=limits,
        max_steps=time_limit(env, saved.config.horizon),
        on_episode=on_episode,
    )
    while not adapting.finished:
        reset_seed = None if adapting.gathered else seed
        try:
            adapting.append(explored(env, adapting.explore(), limits, reset_seed))
        except BaseException as error:
            adapting.cut_short(error)
        adapting.learn()
    return adapting.result()


def adaptation_generators(seed: int) -> tuple[Generator, Generator]:
    """Streams for resets and actions, from the seed alone.

    Raises:
        InputError: for a seed below 0.
    """
    seed = whole("seed", seed, 0)
    resets, actions = np.random.SeedSequence([seed, 0xADA7]).generate_state(2, np.uint32)
    return Generator().manual_seed(int(resets)), Generator().manual_seed(int(actions))


def adapted_policy(saved: SavedPolicy, params: Params, report: dict[str, Any]) -> SavedPolicy:
    """The policy with the parameters, (1, ...), of the only task; its memory of it is dropped."""
    only = {name: params[name][0].detach().cpu() for name in saved.params}
    return replace(saved, params=only, metadata=saved.metadata | {"adapted": report})


def plain_sizes(saved: SavedPolicy, episodes: Any, steps: Any) -> tuple[int, int]:  # noqa: ANN401
    """Episodes per gradient step and gradient steps; None: as many as the policy was trained for.

    Raises:
        InputError: for sizes below 1, or no whole numbers.
    """
    trained = saved.config.adaptation_steps
    return whole("episodes", episodes, 1), trained if steps is None else whole("steps", steps, 1)


def check_limits(limits: Limits) -> None:
    """Raise `InputError` for anything else, such as a dict or None."""
    if not isinstance(limits, Limits):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"limits = {limits!r}: must be metarl.Limits(...)")


def check_callback(on_episode: Any) -> None:  # noqa: ANN401 - any type
    """Raise `InputError` for what cannot be called."""
    if on_episode is not None and not callable(on_episode):
        raise InputError(f"on_episode = {on_episode!r}: must be a function of an EpisodeRecord")
