"""Trials: episodes in order on one task, through which a policy carries its belief along."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from torch import Generator, Tensor

from metarl.evaluation.hypotheses import NO_HYPOTHESES, BeliefSearch, Hypotheses
from metarl.policies.base import Policy
from metarl.policies.belief import Belief
from metarl.policies.params import expand, to
from metarl.rollouts.collect import Collector
from metarl.rollouts.trials import belief_after


class Lived(NamedTuple):
    """Result of living through the first episodes of M x E trials."""

    beliefs: dict[int, Belief]
    """After n episodes, each (M, E, ...), by n; 0: as a trial begins."""
    diverged: int
    """Episodes that diverged."""
    env_steps: int


def remembers(policy: Policy, params: Mapping[str, Tensor]) -> bool:
    """True for a policy that carries a belief along, and so adapts within an episode."""
    return bool(policy.begin(params, 1))


def live_through(
    collector: Collector,
    params: Mapping[str, Tensor],
    resets: Generator,
    actions: Generator,
    points: Collection[int],
    hypotheses: Hypotheses = NO_HYPOTHESES,
    *,
    explore: bool = False,
    lived: Callable[[], None] = lambda: None,
) -> Lived:
    """Live through as many episodes as the largest of `points`, E trials of each task.

    Args:
        collector: with the tasks set.
        params: of one policy with a belief, (...).
        resets: source of reset noise, other for each episode.
        actions: source of action noise.
        points: the numbers n of episodes after which beliefs are kept.
        hypotheses: beliefs of other tasks that lost trials try; a trial's belief is then the one
            that did best.
        explore: act with noise; False: by the mean action, as when deployed.
        lived: called after each episode.
    """
    env, policy = collector.env, collector.policy
    fresh = policy.begin(expand(to(params, env.device), env.num_tasks), env.episodes_per_task)
    kept, diverged, env_steps = {0: fresh} if 0 in points else {}, 0, 0
    search = BeliefSearch.begin(fresh)
    for n in range(1, max(points, default=0) + 1):
        shared = expand(params, 1)
        begun, trying = search.next(hypotheses)
        rollouts = collector.collect(shared, resets, actions, explore=explore, belief=begun)
        search = search.after(hypotheses, trying, rollouts.returns(), belief_after(rollouts))
        diverged += int(rollouts.diverged.sum())
        env_steps += rollouts.num_steps()
        if n in points:
            kept[n] = search.chosen(hypotheses)
        lived()
    return Lived(kept, diverged, env_steps)
