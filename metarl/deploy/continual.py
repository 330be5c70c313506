"""Continual adaptation: a stream of episodes on a robot that changes, and changes back.

A meta-learned step is meant for episodes of the policy that it starts from. Those of an adapted
policy cannot replace them: `python -m experiments.continual` measures their weight under importance
ratios. So the stream has two kinds of episodes: *probes*, by the meta-policy with its action noise,
from which every adaptation starts anew, without a trace of an earlier robot; and *acting*, by the
adapted policy without noise. It probes at the start and whenever the return of acting shows a
change of the robot.

A policy that adapts by its memory alone needs no probes: see `metarl.deploy.live`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np

from metarl.deploy.adapt import adaptation_generators, adapted_policy, plain_sizes
from metarl.deploy.check import REFERENCE, off_usual, worse_than_probing
from metarl.deploy.collected import Collected, Exploration, collected, with_costs
from metarl.deploy.episodes import Episode
from metarl.deploy.gradient_step import (
    AdaptationNotFiniteError,
    RobotSteps,
    adapts_by_belief_alone,
)
from metarl.deploy.gym_rollouts import check_env, run_episode, time_limit
from metarl.deploy.limits import NO_LIMITS, Limits, check_limits, stop_costs
from metarl.deploy.live import LiveTrial, StreamEpisode
from metarl.deploy.observation_check import warn_of_other_observations
from metarl.deploy.policy import MetaPolicy
from metarl.deploy.trial import RobotTrial
from metarl.policies.params import Params
from metarl.rollouts.data import joined_episodes
from metarl_envs import InputError
from metarl_envs.inputs.numbers import real, whole

WINDOW = 5
"""Probes of each gradient step, unless given."""
REMEMBERED = 20
"""Acting episodes that the next one is compared with."""
IN_A_ROW = 2
"""Bad acting episodes that make a change: a robot that stumbles now and then is the same robot."""
FAILURES = 2
"""Adaptations in a row that leave acting worse than probing, after which the stream settles."""


class ContinualAdapter:
    """Adapts a policy over a stream of episodes, and anew whenever the robot has changed.

    A change is two acting episodes in a row that diverged, or whose return is off the median of
    those since the last adaptation, either way, by more than `alarm` standard deviations (by the
    median absolute deviation, so that a few episodes after a change do not hide it). Acting worse
    than the probes is a change too, as after an adaptation during which the robot changed; twice in
    a row, and the stream settles on the meta-policy.

    Returns are compared with the cost of stops (`metarl.deploy.limits.stop_costs`). An error of the
    environment leaves the stream as it was, with all of its episodes.

    With a policy that adapts by its memory alone all episodes are acting ones of a single trial.
    """

    def __init__(
        self,
        policy: MetaPolicy,
        *,
        window: int | None = None,
        steps: int | None = None,
        probe_every: int = 0,
        alarm: float = 8.0,
        limits: Limits = NO_LIMITS,
        seed: int = 0,
    ) -> None:
        """Start with no episode.

        Args:
            policy: meta-trained, and not adapted, unless by its memory alone.
            window: number of last episodes for each gradient step, >= 2; None: 5.
            steps: gradient steps, >= 1; None: as many as the policy was trained for.
            probe_every: acting episodes after which one probe for each step replaces the oldest of
                its window, and the policy is adapted anew: for changes that the return does not
                show. 0: never.
            alarm: standard deviations, > 0.
            limits: in force in all episodes; `good_return` and `check_episodes` are for a single
                adaptation and not allowed.
            seed: fixes the action noise, and is given to the environment's first reset.

        Raises:
            InputError: for a value out of its range, a policy that is already adapted, or settings
                of probes for a policy that needs none.
        """
        live = adapts_by_belief_alone(policy.saved)
        given = {"window": window, "steps": steps, "probe_every": probe_every or None}
        if live and (named := [name for name, value in given.items() if value is not None]):
            raise InputError(
                f"{named[0]} = {given[named[0]]}: this policy adapts at every step, by its memory, "
                "so a stream needs no probes; leave it out"
            )
        window, steps = plain_sizes(
            policy.saved, whole("window", WINDOW if window is None else window, 2), steps
        )
        self._probe_every, self._alarm = whole("probe_every", probe_every, 0), real("alarm", alarm)
        if not self._alarm > 0:
            raise InputError(f"alarm = {alarm}: must be greater than 0")
        check_limits(limits)
        if limits.good_return is not None or limits.check_episodes:
            raise InputError(
                "limits.good_return and limits.check_episodes are for a single adaptation; leave "
                "them out: a stream judges its returns itself"
            )
        if policy.adapted is not None and not live:
            raise InputError("the policy is adapted already: a stream starts from a meta-policy")
        self._limits, self._inner = limits, RobotSteps.within(limits, policy.saved, window, steps)
        self._saved = self._inner.saved
        self._seed: int | None = whole("seed", seed, 0)
        _, self._noise = adaptation_generators(self._seed)
        self._trial = LiveTrial(self._saved, limits) if live else None
        self._count = self._diverged = self._failures = 0
        self._settled = False
        self._windows: list[deque[Collected]] = [deque(maxlen=window) for _ in range(steps)]
        self._forget()

    def _forget(self) -> None:
        """Back to the meta-policy, and to probing."""
        for recent in self._windows:
            recent.clear()
        self._act_by_the_meta_policy()
        self._missing = deque(k for k, w in enumerate(self._windows) for _ in range(w.maxlen or 0))
        self._settled = False

    def _act_by_the_meta_policy(self) -> None:
        self._params: list[Params] = [self._inner.begin()]  # after 0, 1, ... steps
        self._acted: deque[Episode] = deque(maxlen=REMEMBERED)
        self._since_probe = self._bad = 0

    @property
    def policy(self) -> MetaPolicy:
        """The policy as adapted by now; the meta-policy while the first step is not made."""
        report = {
            "episodes": self._windows[0].maxlen,
            "steps": len(self._params) - 1,
            "stream_episodes": self._count,
            "limits": {"given": self._limits.describe()},
        }
        if self._trial is not None:
            return MetaPolicy(self._trial.adapted(report))
        return MetaPolicy(adapted_policy(self._saved, self._params[-1], report))

    def episode(self, env: gymnasium.Env[Any, Any]) -> StreamEpisode:
        """One more episode on the robot, to its end, to a limit or to the training horizon.

        Raises:
            InputError: for other spaces, or a robot that is unsafe before its first step.
            AdaptationNotFiniteError: if a step is not finite; the stream then starts anew.
        """
        check_env(self._saved.policy, env)
        full = time_limit(env, self._saved.config.horizon)
        if self._trial is not None:
            record = self._trial.episode(env, self._count, self._seed)
        elif self._missing:
            record = self._probe(env, self._missing[0], full)
        else:
            record = self._act(env, full)
        self._count += 1
        self._seed = None
        return record

    def _probe(self, env: gymnasium.Env[Any, Any], k: int, full: int) -> StreamEpisode:
        """An episode for step k, by the policy before it."""
        policy, params, horizon = self._saved.policy, self._params[k], self._saved.config.horizon
        exploration = Exploration(policy, params, 1, horizon, self._noise)
        episode = run_episode(env, exploration, horizon, self._limits, self._seed)
        probe = collected(policy, params, [episode], horizon)
        if self._count == 0:
            warn_of_other_observations(self._saved, episode)
        window, adapted = self._windows[k], False
        if probe.usable:
            self._diverged = 0
            window.append(probe)
            self._missing.popleft()
            if k not in self._missing:
                self._step(k, full)
            if adapted := not self._missing:
                self._since_probe, self._settled = 0, False
        else:  # left out, and tried again
            self._diverged += 1
            if self._diverged == window.maxlen:
                self._diverged = 0
                raise AdaptationNotFiniteError(k, (episode,))
        returned = float(probe.rollouts.task_returns())
        return StreamEpisode(self._count, "probe", k, returned, episode, adapted=adapted)

    def _step(self, k: int, full: int) -> None:
        """Step k anew, from its window; later steps are forgotten."""
        probes = [probe for window in self._windows for probe in window]
        first = sum(len(window) for window in self._windows[:k])
        counted = with_costs(probes, full, self._limits)[first : first + len(self._windows[k])]
        inner, config = self._inner, self._inner.config
        if k > 0 and config.inner_loss == "log_prob":
            # Windows of later steps hold episodes of other outcomes of the first, which ratios
            # account for.
            inner = replace(inner, config=replace(config, inner_loss="ratio"))
        step = inner.step(self._params[k], joined_episodes(counted), k)
        if step is None:
            episodes = tuple(episode for probe in probes for episode in probe.episodes)
            self._forget()
            raise AdaptationNotFiniteError(k, episodes)
        self._params[k + 1 :] = [step.params]

    def _act(self, env: gymnasium.Env[Any, Any], full: int) -> StreamEpisode:
        actor, steps = RobotTrial(self.policy), len(self._params) - 1
        episode = run_episode(env, actor, self._saved.config.horizon, self._limits, self._seed)
        self._acted.append(episode)
        self._since_probe += 1
        change = self._change(full)
        if change and self._failures == FAILURES:
            self._failures = 0
            self._act_by_the_meta_policy()
            self._settled = True
        elif change:
            self._forget()
        elif self._since_probe == self._probe_every > 0:
            self._missing.extend(range(len(self._windows)))
        return StreamEpisode(
            self._count,
            "act",
            steps,
            episode.returned,
            episode,
            change=change,
            settled=self._settled,
        )

    def _change(self, full: int) -> str:
        """Sign that the robot changed, or that adapting did not pay; "" without."""
        probes, acted = self._counted_returns(full)
        *before, last = acted
        usual = [r for r in before if not math.isnan(r)]
        bad = "diverged" if math.isnan(last) else off_usual(last, usual, probes, self._alarm)
        self._bad = self._bad + 1 if bad else 0
        worse = ""
        if not self._settled:
            worse = worse_than_probing([r for r in acted if not math.isnan(r)], probes)
        change = f"{bad}, {IN_A_ROW} episodes in a row" if self._bad == IN_A_ROW else worse
        # Without a usual return to be off from, acting never worked.
        if change and not self._settled and (worse or len(usual) < REFERENCE):
            self._failures += 1
        elif change or len(usual) >= REFERENCE:
            self._failures = 0
        return change

    def _counted_returns(self, full: int) -> tuple[list[float], list[float]]:
        """Returns of the probes before adapting and of acting, stops at their cost.

        Acting episodes that diverged are NaN.
        """
        probes = [(one.earned()[0], one.stopped[0]) for one in self._windows[0]]
        none = np.array([])
        acted = [(none if e.diverged else e.rewards, bool(e.stopped)) for e in self._acted]
        rewards, stopped = zip(*probes, *acted, strict=True)
        costs = stop_costs(rewards, stopped, full, self._limits.stop_penalty)
        returns = [
            float(r.sum() + cost) if len(r) else math.nan
            for r, cost in zip(rewards, costs, strict=True)
        ]
        return returns[: len(probes)], returns[len(probes) :]
