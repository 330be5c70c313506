"""A stream of episodes of a policy that adapts by its memory alone: one trial without an end.

It adapts at every step, so that a robot that changes in the middle of an episode is met there, and
nothing has to notice the change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium

from metarl.deploy.adapt import adapted_policy
from metarl.deploy.collected import Exploration, belief_after_episode
from metarl.deploy.episodes import Episode
from metarl.deploy.gym_rollouts import run_episode
from metarl.deploy.limits import Limits
from metarl.deploy.observation_check import warn_of_other_observations
from metarl.policies.params import expand
from metarl.runs.policy_folder import SavedPolicy


@dataclass(frozen=True)
class StreamEpisode:
    """One episode of a stream."""

    index: int
    """From 0."""
    kind: Literal["probe", "act"]
    step: int
    """Gradient steps behind the policy that acted."""
    returned: float
    """As earned; NaN if it diverged."""
    episode: Episode = field(repr=False)
    """Its data."""
    adapted: bool = False
    """The policy was adapted anew after it, or, by its memory, in it."""
    change: str = ""
    """Sign that the robot has changed; "" without."""
    settled: bool = False
    """Adapting has not paid: the meta-policy acts from here on, until the robot changes."""

    @property
    def stopped(self) -> bool:
        """True if a limit stopped it."""
        return bool(self.episode.stopped)


class LiveTrial:
    """A trial on one robot, by the mean action, from episode to episode.

    An error of the environment leaves it as it was before the episode, and so does an episode that
    diverged.
    """

    def __init__(self, saved: SavedPolicy, limits: Limits) -> None:
        """Begin with the policy's belief."""
        self._saved, self._limits = saved, limits
        self._params = expand(saved.params, 1)
        self._belief = expand(saved.begin(1), 1)  # (1, 1, ...)
        self._lived: tuple[int, int] = (0, 0)  # episodes and steps

    def episode(self, env: gymnasium.Env[Any, Any], index: int, seed: int | None) -> StreamEpisode:
        """The next episode, `index` of the stream; the reset is seeded unless `seed` is None."""
        policy, horizon = self._saved.policy, self._saved.config.horizon
        actor = Exploration(policy, self._params, 1, horizon, None)
        actor.start(0, self._belief)
        episode = run_episode(env, actor, horizon, self._limits, seed)
        if index == 0:
            warn_of_other_observations(self._saved, episode)
        if not episode.diverged:
            self._belief = belief_after_episode(policy, self._params, self._belief, episode)
            episodes, steps = self._lived
            self._lived = episodes + 1, steps + episode.steps
        return StreamEpisode(index, "act", 0, episode.returned, episode, adapted=True)

    def adapted(self, report: dict[str, Any]) -> SavedPolicy:
        """The policy whose trials go on from here, with a report."""
        episodes, steps = self._lived
        report = report | {"trial": {"episodes": episodes, "steps": steps}}
        return adapted_policy(self._saved, self._params, report, self._belief)
