"""Gradient steps on one robot, none larger than a cap: by default the size of steps in training."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import partial

import torch

from metarl.adaptation.inner_loop import InnerLoopConfig, inner_step, run_inner_loop
from metarl.adaptation.losses import mean_kl
from metarl.adaptation.none import Unadapted
from metarl.deploy.episodes import Episode
from metarl.deploy.limits import Limits
from metarl.errors import NonFiniteUpdateError
from metarl.methods.setup import env_of, family_of, inner_loop_of
from metarl.policies.params import Params, expand
from metarl.rollouts.advantages import PolicyBatch
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.runs.policy_folder import SavedPolicy
from metarl_envs import InputError

NOT_FINITE = (
    "adaptation step {step} is not finite, so the policy was not adapted: every episode diverged "
    "or sent a number that is not finite, or the rewards are far larger than in training"
)
HALVINGS = 30
"""Of the interval in which a step's scale is searched: to a relative 1e-9."""
TASKS = 20
"""Training tasks whose steps are measured."""
EPISODES = 5
"""Of each, at most: more of them hardly change a step's size."""


class AdaptationNotFiniteError(NonFiniteUpdateError):
    """A gradient step on a robot that is not finite, so that there is no adapted policy."""

    episodes: tuple[Episode, ...]
    """The episodes until then."""

    def __init__(self, k: int, episodes: tuple[Episode, ...]) -> None:
        super().__init__(NOT_FINITE.format(step=k + 1))
        self.episodes = episodes


@dataclass(frozen=True)
class Step:
    """A step of one task after the limit on its size."""

    params: Params
    """(1, ...)."""
    kl: float
    """KL(before || after) of the action noise, a mean over the episodes' states, nats."""
    scale: float
    """Share of the adaptation's own step that was taken, in (0, 1]."""


@dataclass(frozen=True)
class RobotSteps:
    """The steps of a policy's inner loop on one robot."""

    saved: SavedPolicy
    config: InnerLoopConfig
    max_kl: float
    """Largest size of a step, nats; math.inf for no limit."""

    @classmethod
    def within(cls, limits: Limits, saved: SavedPolicy, episodes: int, steps: int) -> RobotSteps:
        """K steps of a policy that keeps to the limits, each from so many episodes.

        Raises:
            InputError: for limits that do not fit the action space, or if `max_step_kl` is neither
                given nor measurable.
        """
        saved = replace(saved, policy=limits.applied_to(saved.policy))
        cap = limits.max_step_kl
        if cap is None and adapts_by_belief_alone(saved):
            cap = math.inf
        if cap is None:
            try:
                cap = training_step_kl(saved, min(episodes, EPISODES), steps)
            except InputError as error:
                raise InputError(
                    f"limits.max_step_kl is not given, and its default, the size of steps in "
                    f"simulation, cannot be measured: {error}; or give nats (math.inf: no cap)"
                ) from error
        return cls(saved, inner_loop_of(saved.config, 1.0), cap)

    def begin(self) -> Params:
        """Parameters before the first step, with the adaptation's memory, (1, ...)."""
        return self.config.adaptation.begin(expand(self.saved.params, 1))

    @torch.no_grad()
    def step(self, params: Params, rollouts: Rollouts, k: int) -> Step | None:
        """Step k of the inner loop, within the limit; None if it is not finite.

        Args:
            params: of the policy that acted, with the adaptation's memory, (1, ...).
            rollouts: its episodes, M = 1.
            k: 0 for the first.
        """
        batch = self.config.batch(rollouts)
        stepped, failed = inner_step(self.saved.policy, self.config, params, batch, k)
        return None if bool(failed) else self._limited(params, stepped, batch)

    def _limited(self, before: Params, after: Params, batch: PolicyBatch) -> Step:
        """The step, or the largest part of it on the straight line that is within the limit.

        Only entries of the policy are scaled; the adaptation's memory is taken from `after`.
        """
        policy = self.saved.policy
        old = policy.distribution(before, batch.rollouts)

        def part(scale: float) -> Params:
            moved = {n: before[n] + scale * (after[n] - before[n]) for n in self.saved.params}
            return {**after, **moved}

        def size(params: Params) -> float:
            return float(mean_kl(old, policy.distribution(params, batch.rollouts), batch))

        kl = size(after)
        if kl <= self.max_kl:
            return Step(after, kl, 1.0)
        low, high = 0.0, 1.0  # size(part(low)) <= max_kl < size(part(high))
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if size(part(middle)) <= self.max_kl else (low, middle)
        return Step(part(low), size(part(low)), low)


def adapts_by_belief_alone(saved: SavedPolicy) -> bool:
    """True of a policy with a belief whose parameters no adaptation changes."""
    return isinstance(saved.config.inner, Unadapted) and bool(saved.begin(1))


@torch.no_grad()
def training_step_kl(saved: SavedPolicy, episodes: int, steps: int) -> float:
    """The largest KL(before || after) of any step on 20 training tasks, nats.

    A policy is trained to take steps of some size, so that no number of nats suits all: the largest
    is 283 for the bundled half-cheetah-direction, 0.07 for a hopper of 20 iterations. Capped at a
    tenth of it the former gains 275 of its 416 in return, at 0.3 of it 348, at all of it 416 (5
    episodes, 20 tasks, by the mean action; `python -m experiments.step_sizes`): the smallest cap
    that costs nothing. A larger step has no precedent in training.

    Raises:
        InputError: if its family is not at hand.
    """
    family, env = family_of(saved.config), env_of(saved.config, TASKS, episodes)
    tasks, resets, actions = (torch.Generator().manual_seed(i) for i in range(3))
    env.set_tasks(family.sample_tasks(TASKS, tasks, "train"))
    inner = run_inner_loop(
        saved.policy,
        inner_loop_of(saved.config, 1.0),
        expand(saved.params, TASKS),
        steps,
        partial(Collector(env, saved.policy).collect, resets=resets, actions=actions),
        collect_last=False,
    )
    largest = 0.0
    for batch, policies in zip(inner.batches, itertools.pairwise(inner.policies), strict=True):
        old, new = (saved.policy.distribution(params, batch.rollouts) for params in policies)
        sizes = mean_kl(old, new, batch)
        largest = max([largest, *sizes[torch.isfinite(sizes)].tolist()])
    return largest
