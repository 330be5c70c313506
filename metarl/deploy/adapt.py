"""Adaptation on one robot within limits, however it is driven."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Generator

from metarl.deploy.check import check
from metarl.deploy.collected import Collected, Exploration, collected, with_costs
from metarl.deploy.episodes import Episode, EpisodeRecord
from metarl.deploy.gradient_step import NOT_FINITE, Step, robot_step
from metarl.deploy.interruption import AdaptationNotFiniteError
from metarl.deploy.limits import Limits, check_limits
from metarl.deploy.observation_check import warn_of_other_observations
from metarl.deploy.step_size import step_cap
from metarl.methods.setup import inner_loop_of
from metarl.policies.params import Params, expand
from metarl.rollouts.data import Rollouts
from metarl.runs.policy_folder import SavedPolicy
from metarl_envs import InputError
from metarl_envs.inputs.numbers import whole


@dataclass(frozen=True)
class AdaptedOnRobot:
    """Result of an adaptation on a robot."""

    saved: SavedPolicy
    """The policy, with the report as `metadata["adapted"]`."""
    episodes: tuple[Episode, ...]
    """All episodes for its gradient steps, those that diverged included."""
    error: BaseException | None
    """The error that cut it short; the policy was then made from the episodes before it."""

    def describe(self) -> str:
        """The error and what was adapted from, in a line."""
        report = self.saved.metadata["adapted"]
        gathered = sum(one["episodes"] for one in report["collections"])
        checked = "check" in report["limits"] or "check_episodes" not in report["limits"]["given"]
        return (
            f"{report['interrupted']}; the policy is adapted from the {gathered} episodes before"
            f"{'' if checked else ', and not checked'}"
        )


class RobotAdaptation:
    """An inner loop in progress, one episode at a time: who acts next, and what was learned.

    Episodes come from an environment, a loop of one's own, or a log. In turn `append` an episode
    and `learn`, until it is `finished`.
    """

    def __init__(
        self,
        saved: SavedPolicy,
        *,
        episodes: int,
        steps: int | None,
        seed: int | None,
        limits: Limits,
        max_steps: int | None = None,
        on_episode: Callable[[EpisodeRecord], object] | None = None,
    ) -> None:
        """Start with no episode.

        Args:
            saved: the policy to start from.
            episodes: per gradient step, >= 1; with a check >= 2.
            steps: gradient steps, >= 1; None: as many as the policy was trained for.
            seed: fixes the action noise; None: the episodes come from a log.
            limits: in force in all episodes.
            max_steps: of an episode that nothing ends; None: the horizon.
            on_episode: called with every episode.

        Raises:
            InputError: for sizes that are too small, limits that do not fit the action space, or
                an `on_episode` that cannot be called.
        """
        episodes, steps = plain_sizes(saved, episodes, steps)
        check_limits(limits)
        check_callback(on_episode)
        if limits.check_episodes and episodes < 2:
            raise InputError(
                f"episodes = {episodes}: must be at least 2 with limits.check_episodes, which "
                "takes the noise of a return from the episodes before adapting"
            )
        self.limits, self.horizon = limits, saved.config.horizon
        self.full = self.horizon
        if max_steps is not None:
            self.full = min(whole("max_steps", max_steps, 1), self.horizon)
        self.policy = limits.applied_to(saved.policy)
        self._saved = replace(saved, policy=self.policy)
        self._episodes, self._num_steps, self._on_episode = episodes, steps, on_episode
        self._seed = None if seed is None else whole("seed", seed, 0)
        _, self._noise = adaptation_generators(self._seed or 0)
        self._max_kl = step_cap(self._saved, limits, episodes, steps)
        self._config = inner_loop_of(saved.config, 1.0)
        self._start = expand(saved.params, 1)
        self.params: Params = self._config.adaptation.begin(self._start)
        """Of the policy that acts next, (1, ...)."""
        self._collections: list[Collected] = []
        self._current: list[Episode] = []
        self._exploration: Exploration | None = None
        self._steps: list[Step] = []
        self._good_enough = False
        self._check: dict[str, Any] | None = None
        self._error: BaseException | None = None
        self._checking = self.finished = False

    @property
    def wanted(self) -> int:
        """Episodes of the collection that is being made."""
        return self.limits.check_episodes if self._checking else self._episodes

    @property
    def gathered(self) -> int:
        """Number of whole episodes by now, those of the check included."""
        return sum(len(one.episodes) for one in self._collections) + len(self._current)

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """All whole episodes, without those of the check."""
        made = [episode for one in self._before_check() for episode in one.episodes]
        return (*made, *([] if self._checking else self._current))

    def explore(self) -> Exploration:
        """The actions of the next episode, at its start."""
        if self._exploration is None:
            self._exploration = Exploration(
                self.policy, self.params, self.wanted, self.horizon, self._noise
            )
        self._exploration.start(len(self._current))
        return self._exploration

    def append(self, episode: Episode) -> None:
        """Keep a whole episode, then call `on_episode`, which may raise an error."""
        self._current.append(episode)
        if self.gathered == 1:
            warn_of_other_observations(self._saved, episode)
        if self._on_episode is not None:
            self._on_episode(
                EpisodeRecord(
                    collection=len(self._collections) + 1,
                    collections=self._num_steps,
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
            # A collection that is whole is not cut short: `on_episode` raised the error.
            self._close(None if len(self._current) == self.wanted else error)
        self._error, self.finished = error, True

    def _close(self, error: BaseException | None) -> None:
        """Learn from the current collection, which the error ended early unless it is None."""
        collection = collected(self.policy, self.params, self._current, self.horizon)
        self._collections.append(collection)
        self._current, self._exploration = [], None
        if self._checking:
            before, *_, after = self._counted()
            self._check = check(
                self._collections[0], collection, before, after, unfinished=error is not None
            )
            self.finished = True
        elif not self._stepped(error) or error is not None or len(self._steps) == self._num_steps:
            self._checking = bool(self.limits.check_episodes and self._steps and error is None)
            self.finished = not self._checking

    def _stepped(self, error: BaseException | None) -> bool:
        """Step from the last collection, unless that is needless or, with an error, impossible."""
        step, k = None, len(self._steps)
        if self._collections[-1].usable:
            rollouts, good = self._counted()[-1], self.limits.good_return
            if good is not None and float(rollouts.task_returns()) >= good:
                self._good_enough = True
                return False
            names = list(self._saved.params)
            step = robot_step(
                self.policy, self._config, self.params, rollouts, k, names, self._max_kl
            )
        elif error is not None:
            if not self._steps:
                raise error
            return False
        if step is None:
            raise AdaptationNotFiniteError(NOT_FINITE.format(step=k + 1), self.episodes)
        self.params = step.params
        self._steps.append(step)
        return True

    def _counted(self) -> list[Rollouts]:
        """All collections, with the cost of stops by the worst rewards so far."""
        return with_costs(self._collections, self.full, self.limits)

    def _before_check(self) -> list[Collected]:
        """The collections for gradient steps."""
        return self._collections[: len(self._collections) - (self._check is not None)]

    def result(self) -> AdaptedOnRobot:
        """The policy as it is by now, with the report."""
        collections = [one.describe() for one in self._before_check()]
        limits: dict[str, Any] = {
            "given": self.limits.describe(),
            "max_step_kl": self._max_kl if math.isfinite(self._max_kl) else None,
            "steps_taken": len(self._steps),
            "reached_good_return": self._good_enough,
            "step_scale": [step.scale for step in self._steps],
        }
        params = self.params
        if self._check is not None:
            limits["check"] = self._check
            params = self._start if self._check["rolled_back"] else params
        report: dict[str, Any] = {
            "episodes": self._episodes,
            "steps": self._num_steps,
            "seed": self._seed,
            "returns": [one["return"] for one in collections],
            "collections": collections,
            "step_kl": [step.kl for step in self._steps],
            "limits": limits,
        }
        if self._error is not None:
            named = type(self._error) is InputError  # an environment's error, which it names
            kind = "" if named else f"{type(self._error).__name__}: "
            report["interrupted"] = f"{kind}{self._error}"
        saved = adapted_policy(self._saved, params, report)
        return AdaptedOnRobot(saved, self.episodes, self._error)


def adaptation_generators(seed: int) -> tuple[Generator, Generator]:
    """Random streams for resets and actions, from the seed alone.

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


def check_callback(on_episode: Any) -> None:  # noqa: ANN401 - any type
    """Raise `InputError` for what cannot be called."""
    if on_episode is not None and not callable(on_episode):
        raise InputError(f"on_episode = {on_episode!r}: must be a function of an EpisodeRecord")
