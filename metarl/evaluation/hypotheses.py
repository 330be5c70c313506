"""Beliefs of training tasks, tried in turn where a policy's own belief fails.

A memory need not find a task that lies outside its training ranges, although the belief of some
training task serves it well there. So a trial whose return falls below all that was seen in
training begins its next episodes with such beliefs, and goes on with the best. Axes: M x E trials,
K hypotheses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from metarl.methods.setup import env_of, family_of
from metarl.policies.belief import Belief, where
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.trials import belief_after
from metarl.runs.checkpoint import SavedPolicy
from metarl_envs import InputError

TASKS = 64
"""Training tasks that the usual returns and the hypotheses come from."""
COUNT = 16
"""Hypotheses, those of the training tasks that differ most."""


@dataclass(frozen=True)
class Hypotheses:
    """Beliefs after one episode of K training tasks, in the order in which they are tried."""

    beliefs: Belief
    """Each (K, ...)."""
    usual: tuple[float, float]
    """Returns that no training task's first and second episode comes near to: as far again below
    the lowest as that is below their median."""

    @property
    def count(self) -> int:
        """K."""
        return len(next(iter(self.beliefs.values()))) if self.beliefs else 0


NO_HYPOTHESES = Hypotheses({}, (-math.inf, -math.inf))
"""A trial then keeps its own belief, whatever its return."""


@dataclass(frozen=True)
class BeliefSearch:
    """State of the search of M x E trials."""

    own: Belief
    """Of the trial's own episodes, each (M, E, ...)."""
    own_return: Tensor
    """Of the last episode that began with the own belief, (M, E); -inf before the first."""
    lived: int
    """Episodes."""
    lost: Tensor
    """Trials that search, (M, E)."""
    tried: Tensor
    """Number of hypotheses, (M, E)."""
    best_return: Tensor
    """Of the hypotheses that were tried, (M, E); -inf for none."""
    best: Tensor
    """Number of the best hypothesis, (M, E)."""

    @classmethod
    def begin(cls, fresh: Belief) -> BeliefSearch:
        """Before the first episode, from the beliefs as trials begin, (M, E, ...)."""
        shape, device = next(iter(fresh.values())).shape[:2], next(iter(fresh.values())).device
        never = torch.full(shape, -torch.inf, dtype=torch.float64, device=device)
        none = torch.zeros(shape, dtype=torch.long, device=device)
        return cls(fresh, never, 0, none.bool(), none, never, none)

    def next(self, hypotheses: Hypotheses) -> tuple[Belief, Tensor]:
        """Beliefs that the next episode begins with, (M, E, ...), and who tries a new one."""
        trying = self.lost & (self.tried < hypotheses.count)
        number = torch.where(trying, self.tried, self.best)
        return self._begun(hypotheses, number, trying | self._better), trying

    def chosen(self, hypotheses: Hypotheses) -> Belief:
        """The beliefs that did best, (M, E, ...): the own one, or a hypothesis."""
        return self._begun(hypotheses, self.best, self._better)

    def after(
        self, hypotheses: Hypotheses, trying: Tensor, returns: Tensor, ended: Belief
    ) -> BeliefSearch:
        """The search after an episode.

        Args:
            hypotheses: as given to `next`.
            trying: as `next` returned it.
            returns: of the episode, (M, E); NaN if it diverged.
            ended: the beliefs after it.
        """
        returns = returns.double().nan_to_num(-torch.inf)
        own = ~trying & ~self._better
        better = trying & (returns > self.best_return)
        usual = hypotheses.usual[min(self.lived, 1)]
        return replace(
            self,
            own=where(own, ended, self.own),
            own_return=torch.where(own, returns, self.own_return),
            lived=self.lived + 1,
            lost=self.lost | (own & (returns < usual)),
            tried=self.tried + trying,
            best_return=torch.where(better, returns, self.best_return),
            best=torch.where(better, self.tried, self.best),
        )

    def describe(self) -> dict[str, Any]:
        """Number of beliefs that the only trial tried, and its choice, as JSON values."""
        return {
            "beliefs_tried": int(self.tried.sum()),
            "goes_on_with": "the belief of another task" if self._better.any() else "its own",
        }

    @property
    def _better(self) -> Tensor:
        """Trials in which a hypothesis did better than the own belief, (M, E)."""
        return self.best_return > self.own_return

    def _begun(self, hypotheses: Hypotheses, number: Tensor, replaced: Tensor) -> Belief:
        if not hypotheses.beliefs:
            return self.own
        others = {
            name: value.to(number.device)[number] for name, value in hypotheses.beliefs.items()
        }
        return where(replaced, others, self.own)


@torch.no_grad()
def hypotheses_of(saved: SavedPolicy, sim_threads: int = 1) -> Hypotheses:
    """Hypotheses of a policy, by two simulated episodes on each of 64 training tasks.

    There are none for one that was not trained to adapt within the episode.

    Raises:
        InputError: if its family is not at hand.
    """
    if not saved.config.outer.within_episode:
        return NO_HYPOTHESES
    family, env = family_of(saved.config), env_of(saved.config, TASKS, 1, sim_threads=sim_threads)
    tasks, resets, actions = (Generator().manual_seed(seed) for seed in range(3))
    sampled = family.sample_tasks(TASKS, tasks, "train")
    env.set_tasks(sampled)
    collector, shared = Collector(env, saved.policy), expand(saved.params, 1)
    fresh = saved.policy.begin(expand(saved.params, TASKS), 1)
    first = collector.collect(shared, resets, actions, explore=False, belief=fresh)
    belief = belief_after(first)
    second = collector.collect(shared, resets, actions, explore=False, belief=belief)
    order = spread(family.task_features(sampled).double(), COUNT)
    return Hypotheses(
        {name: value[order, 0] for name, value in belief.items()},
        (_usual(first.task_returns()), _usual(second.task_returns())),
    )


def hypotheses_at_hand(saved: SavedPolicy) -> Hypotheses:
    """`hypotheses_of`, and none where the policy's family is not at hand."""
    try:
        family_of(saved.config)
    except InputError:
        return NO_HYPOTHESES
    return hypotheses_of(saved)


def _usual(returns: Tensor) -> float:
    """As `Hypotheses.usual`, from the returns of tasks, (S,); those that are NaN do not count."""
    known = returns[~returns.isnan()]
    return float(2 * known.min() - known.median()) if len(known) else -math.inf


def spread(features: Tensor, count: int) -> Tensor:
    """Rows that lie far apart, each the farthest from those before: (S, F) -> (<= count,).

    The first is the farthest from the mean (Gonzalez 1985).
    """
    scale = features.std(0).clamp(min=1e-9)
    points = (features - features.mean(0)) / scale
    distance, chosen = points.norm(dim=1), list[int]()
    for _ in range(min(count, len(points))):
        farthest = int(distance.argmax())
        if chosen and float(distance[farthest]) == 0:
            break
        new = (points - points[farthest]).norm(dim=1)
        distance = new if not chosen else torch.minimum(distance, new)
        chosen.append(farthest)
    return torch.tensor(chosen)
