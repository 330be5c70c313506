"""Continual adaptation: a stream of episodes on a robot that changes, and changes back.

A meta-learned step is meant for episodes of the policy that it starts from. Those of an adapted
policy cannot stand in for them: `python -m experiments.continual` measures how much of them counts
under importance ratios. So the stream has two kinds of episodes: *probes*, by the meta-policy with
its action noise, from which every adaptation starts anew, so that nothing of an earlier robot is
left in it; and *acting*, by the adapted policy without noise. It probes at the start and whenever
the return of acting says that the robot is another one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from metarl.advantages import policy_batch
from metarl.deploy.gym_rollouts import NO_LIMITS, check_spaces, collect_from_env, run_episode
from metarl.deploy.limits import Limits
from metarl.deploy.policy import MetaPolicy
from metarl.deploy.robot_adaptation import (
    NOT_FINITE,
    adaptation_generators,
    adaptation_step,
    adapted_policy,
    check_sizes,
    sound_returns,
)
from metarl.errors import NonFiniteUpdateError
from metarl.params import Params, expand
from metarl.rollouts import Rollouts, joined_episodes
from metarl_envs import InputError

REFERENCE = 5
"""Acting episodes that a deviation of the next one is told from."""
REMEMBERED = 20
"""Acting episodes that make the reference."""
SHARE_OF_GAIN = 0.05
"""Least standard deviation of returns that counts, as a share of what adaptation gained: where
returns repeat exactly, not every difference is a change."""


@dataclass(frozen=True)
class StreamEpisode:
    """One episode of a stream."""

    index: int
    """From 0."""
    kind: Literal["probe", "act"]
    step: int
    """Gradient steps behind the policy that acted."""
    returned: float
    """NaN if it was faulted."""
    adapted: bool
    """The policy was adapted anew after it."""
    change: str
    """Why the robot counts as another one from here on; "" if it does not."""
    stopped: bool
    """By a limit."""


class ContinualAdapter:
    """Adapts a policy over a stream of episodes, and anew whenever the robot has changed.

    A change is seen in an acting episode whose return is off the median of those since the last
    adaptation by more than `alarm` standard deviations, upwards too (standard deviations by the
    median absolute one, so that a few episodes after a change do not hide it); and in acting that
    is worse than the probes were, as after an adaptation during which the robot changed.
    """

    def __init__(
        self,
        policy: MetaPolicy,
        *,
        window: int = 5,
        steps: int = 1,
        probe_every: int = 0,
        alarm: float = 8.0,
        limits: Limits = NO_LIMITS,
        seed: int = 0,
    ) -> None:
        """Starts with nothing known of the robot.

        Args:
            policy: meta-trained, and not adapted.
            window: episodes that each gradient step is made from, the last ones, >= 2.
            steps: gradient steps, >= 1.
            probe_every: after so many acting episodes one probe for each step takes the place of
                its window's oldest, and the policy is adapted anew: for changes that are too slow
                or too kind to be seen in the return. 0: never.
            alarm: standard deviations, > 0. On returns that are noise alone, 8 sees a change in one
                of a thousand.
            limits: in force in all episodes; `good_return` and `check_episodes` are for a single
                adaptation and not allowed.
            seed: fixes the action noise, and is given to the environment's first reset.

        Raises:
            InputError: for a value out of its range, or a policy that is already adapted.
        """
        check_sizes(window, steps)
        for name, value, least in (("window", window, 2), ("probe_every", probe_every, 0)):
            if value < least:
                raise InputError(f"{name} = {value}: must be at least {least}")
        if not alarm > 0:
            raise InputError(f"alarm = {alarm}: must be greater than 0")
        if limits.good_return is not None or limits.check_episodes:
            raise InputError(
                "limits.good_return and limits.check_episodes are for a single adaptation; leave "
                "them out: a stream judges its returns itself"
            )
        if policy.adapted is not None:
            raise InputError("the policy is adapted already: a stream starts from a meta-policy")
        self._saved = replace(policy.saved, policy=limits.applied_to(policy.saved.policy))
        self._how = policy.saved.config.inner_loop(progress=1.0)
        self._probe_every, self._alarm, self._limits = probe_every, alarm, limits
        self._seed: int | None = seed
        _, self._noise = adaptation_generators(seed)
        self._count = self._faults = 0
        self._windows: list[deque[Rollouts]] = [deque(maxlen=window) for _ in range(steps)]
        self._forget()

    def _forget(self) -> None:
        """Back to the meta-policy."""
        for recent in self._windows:
            recent.clear()
        start = self._how.adaptation.begin(expand(self._saved.params, 1))
        self._params: list[Params] = [start]  # after 0, 1, ... steps
        self._missing = deque(k for k, w in enumerate(self._windows) for _ in range(w.maxlen or 0))
        self._acted: deque[float] = deque(maxlen=REMEMBERED)
        self._since_probe = 0

    @property
    def policy(self) -> MetaPolicy:
        """The policy as adapted by now; the meta-policy while the first step is not made."""
        report = {
            "episodes": self._windows[0].maxlen,
            "steps": len(self._params) - 1,
            "stream_episodes": self._count,
            "limits": {"given": self._limits.describe()},
        }
        return MetaPolicy(adapted_policy(self._saved, self._params[-1], report))

    def episode(self, env: gymnasium.Env[Any, Any]) -> StreamEpisode:
        """One more episode on the robot, to its end, to a limit or to the training horizon.

        Raises:
            InputError: for other spaces, or a robot that is unsafe before its first step.
            NonFiniteUpdateError: if a step is not finite.
        """
        met = self._probe(env, self._missing[0]) if self._missing else self._act(env)
        self._count += 1
        self._seed = None
        return met

    def _probe(self, env: gymnasium.Env[Any, Any], k: int) -> StreamEpisode:
        rollouts, stopped = collect_from_env(
            env,
            self._saved.policy,
            self._params[k],
            episodes=1,
            horizon=self._saved.config.horizon,
            actions=self._noise,
            reset_seed=self._seed,
            limits=self._limits,
        )
        adapted, recent = False, self._windows[k]
        if bool(rollouts.faulted.all()):  # left out, and tried again
            self._faults += 1
            if self._faults == recent.maxlen:
                raise NonFiniteUpdateError(NOT_FINITE.format(step=k + 1))
        else:
            self._faults = 0
            recent.append(rollouts)
            self._missing.popleft()
            if k not in self._missing:
                self._step(k)
            if adapted := not self._missing:
                self._since_probe = 0
        returned = float(rollouts.task_returns())
        return StreamEpisode(self._count, "probe", k, returned, adapted, "", bool(stopped))

    def _step(self, k: int) -> None:
        """Step k anew, from its window."""
        batch = policy_batch(
            joined_episodes(self._windows[k]), self._how.discount, self._how.gae_lambda
        )
        # Later windows hold episodes of what earlier steps led to before; ratios account for that.
        form = "ratio" if k > 0 and self._how.inner_loss == "log_prob" else None
        step = adaptation_step(
            self._saved.policy,
            self._params[k],
            batch,
            self._how,
            k,
            list(self._saved.params),
            self._limits,
            form,
        )
        if step is None:
            raise NonFiniteUpdateError(NOT_FINITE.format(step=k + 1))
        self._params[k + 1 :] = [step.params]

    def _act(self, env: gymnasium.Env[Any, Any]) -> StreamEpisode:
        check_spaces(self._saved.policy, env)
        acting = self.policy
        episode = run_episode(
            env,
            lambda _, observation: acting.predict(observation)[0],
            self._saved.config.horizon,
            self._limits,
            self._seed,
        )
        returned, change, steps = math.nan, "", len(self._params) - 1
        if not episode.faulted:
            returned = sum(episode.rewards)
            probes = sound_returns(joined_episodes(self._windows[0])).double().numpy()
            change = seen_change(returned, self._acted, probes, self._alarm)
            self._acted.append(returned)
            self._since_probe += 1
        if change:
            self._forget()
        elif self._since_probe == self._probe_every > 0:
            self._missing.extend(range(len(self._windows)))
        return StreamEpisode(self._count, "act", steps, returned, False, change, episode.stopped)


def seen_change(
    returned: float, acted: Sequence[float], probes: NDArray[np.float64], alarm: float
) -> str:
    """Why this return of acting is another robot's; "" if it may be the same one's.

    Args:
        returned: of this episode.
        acted: of the acting episodes since the last adaptation, without this one.
        probes: of the meta-policy on the robot that was adapted to, at least two.
        alarm: standard deviations.
    """
    if len(acted) >= REFERENCE:
        usual = float(np.median(acted))
        spread = 1.4826 * float(np.median(np.abs(np.array(acted) - usual)))
        spread = max(spread, SHARE_OF_GAIN * abs(usual - float(probes.mean())))
        if abs(returned - usual) > alarm * spread:
            return f"return {returned:.1f}, where {usual:.1f} was usual"
    elif len(acted) + 1 >= 3:
        usual = float(np.median([*acted, returned]))
        least = float(probes.mean() - 2 * probes.std(ddof=1) / math.sqrt(len(probes)))
        if usual < least:
            return f"return {usual:.1f}, worse than the {float(probes.mean()):.1f} before adapting"
    return ""
