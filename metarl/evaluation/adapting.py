"""Adaptation in an evaluation: the policies that are measured, one for each point of a curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from metarl.adaptation.adam_steps import AdamSteps
from metarl.adaptation.base import Adaptation as Steps
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import InnerLoop, run_inner_loop
from metarl.adaptation.none import Unadapted
from metarl.adaptation.subset import HeadStep
from metarl.evaluation.controls import exchanged
from metarl.evaluation.hypotheses import Hypotheses
from metarl.evaluation.results import Adapted
from metarl.evaluation.trials import belief_after, live_through
from metarl.methods.setup import inner_loop_of
from metarl.policies.belief import Belief
from metarl.policies.params import Params, expand, to
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts, joined_episodes
from metarl.runs.checkpoint import SavedPolicy
from metarl_envs import InputError, Tasks, unknown_name

KEPT_TASKS = 40
"""Number of tasks of a split whose adapted parameters an evaluation keeps."""

StepKind = Literal["head", "gradient", "adam"]
ON_TOP: Mapping[str, Steps] = {
    "head": HeadStep(inner_lr=0.03),
    "gradient": GradientStep(inner_lr=0.002),
    "adam": AdamSteps(learning_rate=1e-4, epochs=5),
}
"""Gradient steps on top of a memory: of its last layer, or of all weights. After five episodes of
half-cheetah-payload-velocity, held out, 0.03 of the head cost nothing (-10, as without) and 0.1
cost 11 (50 tasks, one seed); the sizes of the others were tried once."""

Schedule = Sequence[tuple[int, int]]
"""(gradient steps, adaptation episodes) of every point, by rising episodes."""


class Acting(NamedTuple):
    """A policy as it acts at one point of a curve."""

    params: Params
    """Of each task, (M, ...), or of one policy in all worlds, (1, ...)."""
    belief: Belief
    """(M, E, ...); {} for a policy without one."""

    def of_other_tasks(self, others: NDArray[np.int64]) -> Acting:
        """Every task with what another one brought: adapted parameters, or the belief."""
        shared = len(next(iter(self.params.values()))) == 1
        params = self.params if shared else exchanged(self.params, others)
        return Acting(params, exchanged(self.belief, others))


class Adaptation(NamedTuple):
    """Result of adapting to the tasks of a split."""

    points: list[Acting]
    """Of every point of the schedule."""
    examples: Adapted | None = None
    failed: int = 0
    """Tasks, or trials with parameters of their own, whose gradient step was not finite."""
    diverged: int = 0
    """Adaptation episodes that diverged."""


@dataclass(frozen=True)
class Adapting:
    """Worlds and streams of the adaptation episodes of a split."""

    saved: SavedPolicy
    collector: Collector
    """With the tasks set."""
    resets: Generator
    actions: Generator
    advance: Callable[[], None]
    """Called after each part of the work: an inner loop, or an episode of the trials."""

    def by_belief(self, schedule: Schedule, hypotheses: Hypotheses, *, explore: bool) -> Adaptation:
        """Live through E trials of each task, to the beliefs of every point."""
        episodes = [number for _, number in schedule]
        lived = live_through(
            self.collector,
            self.saved.params,
            self.resets,
            self.actions,
            episodes,
            hypotheses,
            explore=explore,
            lived=self.advance,
        )
        shared = expand(self.saved.params, 1)
        points = [Acting(shared, lived.beliefs[number]) for number in episodes]
        return Adaptation(points, diverged=lived.diverged)

    def by_both(self, schedule: Schedule, device: torch.device) -> Adaptation:
        """Gradient steps and beliefs of M x E trials, each with parameters of its own.

        A step is taken on n episodes of a trial, which then goes on with the adapted parameters and
        its belief. Beliefs are data of the step: its gradient ends where an episode begins. All
        points begin with the same episodes.

        Args:
            schedule: of the points; all but the first take all K steps.
            device: of the inner gradients.
        """
        saved, env = self.saved, self.collector.env
        shared, start = expand(saved.params, 1), to(expand(saved.params, env.num_tasks), device)
        fresh = saved.policy.begin(to(start, env.device), env.episodes_per_task)
        config, points, diverged = inner_loop_of(saved.config, 1.0), [Acting(shared, fresh)], 0
        failed = torch.zeros(env.num_tasks, dtype=torch.bool, device=device)
        streams = self.resets.get_state(), self.actions.get_state()
        for steps, episodes in schedule[1:]:
            self.resets.set_state(streams[0])
            self.actions.set_state(streams[1])
            trial = [fresh]  # its belief after each episode
            lived = partial(self._next_episodes, trial=trial, number=episodes // steps)
            loop = run_inner_loop(saved.policy, config, start, steps, lived, collect_last=False)
            diverged += sum(int(rollouts.diverged.sum()) for rollouts in loop.rollouts)
            failed = failed | loop.failed
            points.append(Acting(loop.adapted, trial[-1]))
        return Adaptation(points, None, int(failed.sum()), diverged)

    def _next_episodes(self, params: Params, trial: list[Belief], number: int) -> Rollouts:
        """The next episodes of every trial, joined; appends the beliefs after each to `trial`."""
        parts = []
        for _ in range(number):
            rollouts = self.collector.collect(params, self.resets, self.actions, belief=trial[-1])
            trial.append(belief_after(rollouts))
            parts.append(rollouts)
            self.advance()
        return joined_episodes(parts)

    def by_gradient(self, schedule: Schedule, tasks: Tasks, device: torch.device) -> Adaptation:
        """Adapted parameters of every point, all from one collection before adaptation.

        Args:
            schedule: of the points.
            tasks: that the worlds have.
            device: of the inner gradients.
        """
        saved, collector = self.saved, self.collector
        resets, actions, K = self.resets, self.actions, schedule[-1][0]
        M, E = collector.env.num_tasks, collector.env.episodes_per_task
        start = to(expand(saved.params, M), device)
        diverged: list[int] = []

        def collected(params: Params) -> Rollouts:
            rollouts = collector.collect(params, resets, actions)
            diverged.append(int(rollouts.diverged.sum()))
            return rollouts

        first = collected(start)
        streams = resets.get_state(), actions.get_state()

        def loop(budget: int) -> InnerLoop:
            """K steps on the first `budget` episodes each, with the same randomness every time."""
            resets.set_state(streams[0])
            actions.set_state(streams[1])
            ready = [first]

            def first_episodes(params: Params) -> Rollouts:
                rollouts = ready.pop() if ready else collected(params)
                return rollouts.some_episodes(slice(budget))

            config = inner_loop_of(saved.config, 1.0)
            result = run_inner_loop(
                saved.policy, config, start, K, first_episodes, collect_last=False
            )
            self.advance()
            return result

        full = loop(E)
        params = {(k, k * E): full.policies[k] for k in range(K + 1)}
        failed, examples = full.failed, _examples(full, tasks)
        del full  # a loop's rollouts are large
        for steps, episodes in schedule:
            if (steps, episodes) not in params:
                part = loop(episodes // K)
                params[steps, episodes] = part.adapted
                failed = failed | part.failed
        points = [Acting(params[point], {}) for point in schedule]
        return Adaptation(points, examples, int(failed.sum()), sum(diverged))


def takes_steps(saved: SavedPolicy) -> bool:
    """True for a policy that adapts its parameters."""
    return not isinstance(saved.config.inner, Unadapted)


def on_top(saved: SavedPolicy, kind: str) -> SavedPolicy:
    """The policy with gradient steps of a kind besides its memory.

    Raises:
        InputError: for an unknown kind, or a policy that does not adapt within the episode.
    """
    if kind not in ON_TOP:
        raise unknown_name("kind of gradient step", kind, ON_TOP)
    if not saved.config.outer.within_episode:
        raise InputError(
            f"on_top = {kind!r}: for policies that adapt within the episode; {saved.config.method} "
            "brings its own adaptation; leave it out"
        )
    config = replace(saved.config, inner=ON_TOP[kind], inner_loss="clipped")
    return replace(saved, config=config)


def _examples(loop: InnerLoop, tasks: Tasks) -> Adapted | None:
    valid = torch.nonzero(~loop.failed).reshape(-1)[:KEPT_TASKS]
    if len(valid) == 0:
        return None
    params = {name: value[valid].cpu() for name, value in loop.adapted.items()}
    return Adapted(tasks[valid.tolist()], params)
