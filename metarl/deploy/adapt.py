"""Adaptation on one robot within limits, whether its episodes come from an environment or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Generator

from metarl.deploy.check import check
from metarl.deploy.collected import (
    Collected,
    Exploration,
    belief_after_episode,
    collected,
    with_costs,
)
from metarl.deploy.episodes import Episode, EpisodeRecord
from metarl.deploy.gradient_step import (
    AdaptationNotFiniteError,
    RobotSteps,
    Step,
    adapts_by_belief_alone,
)
from metarl.deploy.limits import Limits, check_limits
from metarl.deploy.observation_check import warn_of_other_observations
from metarl.evaluation.hypotheses import NO_HYPOTHESES, BeliefSearch, hypotheses_at_hand
from metarl.policies.belief import Belief
from metarl.policies.params import Params, expand
from metarl.rollouts.data import Rollouts
from metarl.runs.policy_folder import SavedPolicy
from metarl_envs import InputError
from metarl_envs.inputs.numbers import whole


class RobotAdaptation:
    """An inner loop in progress, one episode at a time.

    Episodes come from an environment, a control loop of the user's own, or a log. In turn `append`
    an episode and `learn`, until it is `finished`.

    A policy with a belief lives through all episodes, in order, as one trial, and its belief is
    part of what is adapted; those that diverged are left out. With no other adaptation it acts by
    the mean action, as it will afterwards; if a trial returns less than any training task, it tries
    the beliefs of those, and goes on with the best (`metarl.evaluation.hypotheses`). After a
    gradient step the belief is that of the new parameters about the whole trial.
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
        verbose: bool = False,
    ) -> None:
        """Start with no episode.

        Arguments and errors are those of `MetaPolicy.adapt`, but for `seed`, which is None where
        episodes come from a log, and `max_steps`, of an episode that nothing ends (None: the
        horizon).
        """
        episodes, steps = plain_sizes(saved, episodes, steps)
        check_limits(limits)
        if on_episode is not None and not callable(on_episode):
            raise InputError(f"on_episode = {on_episode!r}: must be a function of an EpisodeRecord")
        if limits.check_episodes and episodes < 2:
            raise InputError(
                f"episodes = {episodes}: must be at least 2 with limits.check_episodes, which "
                "takes the noise of a return from the episodes before adapting"
            )
        self.limits, self.horizon = limits, saved.config.horizon
        self.max_steps = self.horizon
        if max_steps is not None:
            self.max_steps = min(whole("max_steps", max_steps, 1), self.horizon)
        self._episodes, self._num_steps = episodes, steps
        self._on_episode, self._verbose = on_episode, verbose
        self._seed = None if seed is None else whole("seed", seed, 0)
        _, self._noise = adaptation_generators(self._seed or 0)
        self._inner = RobotSteps.within(limits, saved, episodes, steps)
        self.policy = self._inner.saved.policy
        self.params: Params = self._inner.begin()
        """Of the policy that acts next, (1, ...)."""
        self._begun: Belief = expand(saved.begin(1), 1)  # (1, 1, ...)
        self._belief, self._starts = self._begun, list[Belief]()
        self.acts_by_mean = adapts_by_belief_alone(saved)
        """No noise: it would teach nothing."""
        self._hypotheses = NO_HYPOTHESES
        if self.acts_by_mean:
            self._noise = None
            if seed is not None:  # in a log the robot began with its own beliefs
                # Of episodes as long as on the robot, since their returns are compared.
                config = replace(saved.config, horizon=self.max_steps)
                self._hypotheses = hypotheses_at_hand(replace(self._inner.saved, config=config))
        self._search = BeliefSearch.begin(self._begun) if self._begun else None
        self._tried: dict[str, Any] = {}  # by the search, once a check has ended it
        self._collections: list[Collected] = []
        self._current: list[Episode] = []
        self._exploration: Exploration | None = None
        self._steps: list[Step] = []
        self._good_enough = False
        self._check: dict[str, Any] | None = None
        self._checking = self.finished = False
        self.error: BaseException | None = None
        """The error that cut it short; it then ends with the whole episodes before the error."""

    @property
    def wanted(self) -> int:
        """Episodes of the current collection."""
        return self.limits.check_episodes if self._checking else self._episodes

    @property
    def gathered(self) -> int:
        """Number of whole episodes by now, those of the check included."""
        return sum(len(one.episodes) for one in self._collections) + len(self._current)

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """All whole episodes, without those of the check."""
        before = [episode for one in self._before_check() for episode in one.episodes]
        return (*before, *([] if self._checking else self._current))

    def beliefs_before(self, episodes: Sequence[Episode]) -> list[Belief]:
        """The belief before each of the next episodes, (1, 1, ...); {} of a policy without."""
        beliefs = [self._belief]
        for episode in episodes if self._begun else ():
            beliefs.append(belief_after_episode(self.policy, self.params, beliefs[-1], episode))
        return beliefs[:-1] if self._begun else [{} for _ in episodes]

    def explore(self) -> Exploration:
        """The actor of the next episode, at its start."""
        number, of = (0, 1) if self._begun else (len(self._current), self.wanted)
        if self._exploration is None or self._begun:
            self._exploration = Exploration(self.policy, self.params, of, self.horizon, self._noise)
        self._exploration.start(number, self._belief)
        return self._exploration

    def append(self, episode: Episode) -> None:
        """Keep a whole episode, then print it and call `on_episode`, which may raise an error."""
        self._current.append(episode)
        self._starts.append(self._belief)
        if self._search is not None:
            self._belief = self._next_belief(self._search, episode)
        if self.gathered == 1:
            warn_of_other_observations(self._inner.saved, episode)
        record = EpisodeRecord(
            collection=len(self._collections) + 1,
            collections=self._num_steps,
            check=self._checking,
            number=len(self._current),
            of=self.wanted,
            episode=episode,
        )
        if self._verbose:
            print(record, flush=True)
        if self._on_episode is not None:
            self._on_episode(record)

    def _next_belief(self, search: BeliefSearch, episode: Episode) -> Belief:
        """The belief that the next episode begins with, after one that began with the present."""
        ended = belief_after_episode(self.policy, self.params, self._belief, episode)
        failed = episode.diverged or bool(episode.stopped)  # it shall not pay to be stopped early
        returned = torch.tensor([[-math.inf if failed else episode.returned]])
        _, trying = search.next(self._hypotheses)
        self._search = search.after(self._hypotheses, trying, returned, ended)
        return self._search.next(self._hypotheses)[0]

    def _settle(self, search: BeliefSearch) -> None:
        """End the search: the check is of the belief that the policy goes on with."""
        self._tried, self._belief = search.describe(), search.chosen(self._hypotheses)
        self._hypotheses = NO_HYPOTHESES
        self._search = BeliefSearch.begin(self._belief)

    def learn(self, *, early: bool = False) -> None:
        """Make the gradient step, or the check, once its episodes are complete.

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
        self.error, self.finished = error, True

    def _close(self, error: BaseException | None) -> None:
        """Learn from the current collection, which the error ended early unless it is None."""
        starts = self._starts if self._begun else ()
        self._collections.append(
            collected(self.policy, self.params, self._current, self.horizon, starts)
        )
        self._current, self._starts, self._exploration = [], [], None
        if self._checking:
            counted, unfinished = self._counted(), error is not None
            self._check = check(self._collections, counted, unfinished=unfinished)
            self.finished = True
        elif not self._stepped(error) or error is not None or len(self._steps) == self._num_steps:
            self._checking = bool(self.limits.check_episodes and self._steps and error is None)
            self.finished = not self._checking
            if self._checking and self.acts_by_mean and self._search is not None:
                self._settle(self._search)

    def _stepped(self, error: BaseException | None) -> bool:
        """Step from the last collection, unless that is needless or, with an error, impossible."""
        step, k = None, len(self._steps)
        if self._collections[-1].usable:
            rollouts, good = self._counted()[-1], self.limits.good_return
            if good is not None and float(rollouts.task_returns()) >= good:
                self._good_enough = True
                return False
            step = self._inner.step(self.params, rollouts, k)
        elif error is not None:
            if not self._steps:
                raise error
            return False
        if step is None:
            raise AdaptationNotFiniteError(k, self.episodes)
        self.params = step.params
        self._steps.append(step)
        if self._begun and not self.acts_by_mean:
            self._belief = self._begun
            for episode in self.episodes:
                self._belief = belief_after_episode(self.policy, self.params, self._belief, episode)
        return True

    def _counted(self) -> list[Rollouts]:
        """All collections, with the cost of stops by the worst rewards so far."""
        return with_costs(self._collections, self.max_steps, self.limits)

    def _before_check(self) -> list[Collected]:
        """The collections for gradient steps."""
        return self._collections[: len(self._collections) - (self._check is not None)]

    def adapted(self) -> SavedPolicy:
        """The policy by now, with the report as `metadata["adapted"]`."""
        collections = [one.describe() for one in self._before_check()]
        cap = self._inner.max_kl
        limits: dict[str, Any] = {
            "given": self.limits.describe(),
            "max_step_kl": cap if math.isfinite(cap) else None,
            "steps_taken": len(self._steps),
            "reached_good_return": self._good_enough,
            "step_scale": [step.scale for step in self._steps],
        }
        params, belief = self.params, self._belief
        if self.acts_by_mean and self._search is not None:
            belief = self._search.chosen(self._hypotheses)
        if self._check is not None:
            limits["check"] = self._check
            if self._check["rolled_back"]:
                params, belief = self._inner.begin(), self._begun
        report: dict[str, Any] = {
            "episodes": self._episodes,
            "steps": self._num_steps,
            "seed": self._seed,
            "returns": [one["return"] for one in collections],
            "collections": collections,
            "step_kl": [step.kl for step in self._steps],
            "limits": limits,
        }
        if self._begun:
            lived = [e for one in self._collections for e in one.episodes if not e.diverged]
            report["trial"] = {
                "episodes": len(lived),
                "steps": sum(e.steps for e in lived),
                "returns": [e.returned for e in lived],
            }
            if self.acts_by_mean and self._search is not None:
                report["trial"] |= self._tried or self._search.describe()
        if self.error is not None:
            named = type(self.error) is InputError  # an environment's error, which it names
            kind = "" if named else f"{type(self.error).__name__}: "
            report["interrupted"] = f"{kind}{self.error}"
        return adapted_policy(self._inner.saved, params, report, belief)

    def interruption(self) -> str:
        """The error that cut it short, and what the policy is adapted from, in a line."""
        report = self.adapted().metadata["adapted"]
        episodes = sum(one["episodes"] for one in report["collections"])
        unchecked = self.limits.check_episodes and self._check is None
        return (
            f"the adaptation was cut short: {report['interrupted']}; the policy is adapted from "
            f"the {episodes} episodes before{', and not checked' if unchecked else ''}"
        )


def adaptation_generators(seed: int) -> tuple[Generator, Generator]:
    """Random streams for resets and actions, from the seed alone.

    Raises:
        InputError: for a seed below 0.
    """
    seed = whole("seed", seed, 0)
    resets, actions = np.random.SeedSequence([seed, 0xADA7]).generate_state(2, np.uint32)
    return Generator().manual_seed(int(resets)), Generator().manual_seed(int(actions))


def adapted_policy(
    saved: SavedPolicy, params: Params, report: dict[str, Any], belief: Belief | None = None
) -> SavedPolicy:
    """The policy with the parameters, (1, ...), of the only task, without the memory of steps.

    Its trials go on from the belief, (1, 1, ...); None: from that of `saved`.
    """
    only = {name: params[name][0].detach().cpu() for name in saved.params}
    known = saved.belief
    if belief is not None:
        known = {name: value[0, 0].detach().cpu() for name, value in belief.items()}
    metadata = saved.metadata | {"adapted": report}
    return replace(saved, params=only, metadata=metadata, belief=known)


def plain_sizes(saved: SavedPolicy, episodes: Any, steps: Any) -> tuple[int, int]:  # noqa: ANN401
    """Episodes per gradient step and gradient steps; None: as many as the policy was trained for.

    Raises:
        InputError: for sizes below 1, or no whole numbers.
    """
    trained = saved.config.adaptation_steps
    return whole("episodes", episodes, 1), trained if steps is None else whole("steps", steps, 1)
