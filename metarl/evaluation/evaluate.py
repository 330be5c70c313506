"""Evaluation: adapt a policy to tasks of each split, and measure it as it would be deployed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.evaluation.adapting import Acting, Adaptation, Adapting, takes_steps
from metarl.evaluation.controls import averaged, other_tasks
from metarl.evaluation.hypotheses import NO_HYPOTHESES, Hypotheses, hypotheses_of
from metarl.evaluation.results import Controls, Evaluation, SplitEvaluation, task_groups
from metarl.evaluation.streams import evaluation_generators, measuring_generators
from metarl.evaluation.trials import remembers
from metarl.methods.baselines import RANDOM
from metarl.methods.setup import env_of, family_of
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.runs.checkpoint import SavedPolicy
from metarl.runs.progress import Bar
from metarl_envs import EngineName, InputError, Split, TaskFamily
from metarl_envs.inputs.numbers import whole, wholes

TRIALS = 5
"""Trials of each task, at most, that a policy with a belief is measured in."""
CPU = torch.device("cpu")
BUDGETS = (1, 2, 5)
"""Numbers of adaptation episodes that commands measure after, besides none and all."""


def evaluate(
    saved: SavedPolicy,
    *,
    splits: Sequence[Split] | None = None,
    num_tasks: int = 40,
    steps: int = 1,
    episodes_per_step: int = 20,
    measured: int | None = None,
    budgets: Sequence[int] = (),
    explore: bool = False,
    other_beliefs: bool = True,
    seed: int = 0,
    sim_threads: int = 1,
    device: torch.device = CPU,
    engine: EngineName = "cpu",
    progress: str | None = None,
) -> Evaluation:
    """Adapt a policy to tasks of each split and measure it before, between and after the steps.

    A policy adapts by episodes with its action noise and is measured in others by its mean action,
    as it is deployed. All points of a split are measured from the same initial states, so that they
    differ by the policy alone. Controls of every adapted point: the same tasks with another task's
    adapted parameters, and with the mean of all (see `metarl.evaluation.controls`).

    A policy with a belief lives through `TRIALS` trials of each task by its mean action, and is
    measured with its beliefs after as many episodes as gradient methods adapt on; its first point
    is a trial's first episode. A trial that returns less than any training task goes on with the
    best of its own belief and those of training tasks (`metarl.evaluation.hypotheses`), as a robot
    that is adapted does. Control: the beliefs of another task's trials. With an adaptation
    besides its belief, every trial also takes gradient steps of its own, on its own episodes alone,
    which then have action noise.

    Args:
        saved: the policy with the configuration it was trained with.
        splits: of the family (None: all). In a finite family `test` means `train`.
        num_tasks: M, tasks per split; a finite family's tasks recur in equal shares.
        steps: K, gradient steps, >= 1.
        episodes_per_step: E, episodes of each gradient step, or of a trial.
        measured: episodes of each task that a point is measured on (None: E); of a policy with a
            belief, trials of each task, at most `TRIALS`.
        budgets: numbers of episodes, at most E: each adds a point after K steps on so many of the
            episodes. All points share the episodes before adaptation.
        explore: measure with action noise; always so for the random baseline.
        other_beliefs: False: a trial keeps its own belief, whatever it returns.
        seed: fixes tasks, resets and actions of each split, whatever the other splits.
        sim_threads: simulator threads; results do not depend on it.
        device: of the inner gradients.
        engine: the simulator; `auto` is warp where `device` is a GPU.
        progress: label of the progress on stderr; None: nothing is shown.

    Raises:
        InputError: for sizes below 1, a budget above E, a split that the family does not have, or
            a policy that was chosen on the tasks it would be measured on.
    """
    num_tasks, steps = whole("num_tasks", num_tasks, least=1), whole("steps", steps, least=1)
    episodes_per_step = whole("episodes_per_step", episodes_per_step, least=1)
    budgets, seed = wholes("budgets", budgets), whole("seed", seed, least=0)
    fresh = episodes_per_step if measured is None else whole("measured", measured, least=1)
    for budget in budgets:
        if not 1 <= budget <= episodes_per_step:
            raise InputError(
                f"budget = {budget} adaptation episodes: must be from 1 to the {episodes_per_step} "
                "episodes of a gradient step"
            )
    family = family_of(saved.config)
    chosen: Sequence[Split] = family.splits if splits is None else splits
    if not family.holds_out:
        chosen = ["train" if split == "test" else split for split in chosen]
    chosen = tuple(dict.fromkeys(chosen))
    _check_choice(saved, family, chosen)
    if remembers(saved.policy, saved.params):
        fresh = min(fresh, TRIALS)

    def collector_of(tasks: int, worlds: int) -> Collector:
        """Of so many worlds for each of the tasks."""
        env = env_of(
            saved.config, tasks, worlds, sim_threads=sim_threads, engine=engine, device=device
        )
        return Collector(env, saved.policy)

    # A policy that adapts in both ways has parameters of its own in every trial.
    both = takes_steps(saved) and remembers(saved.policy, saved.params)
    collector = collector_of(*((num_tasks * fresh, 1) if both else (num_tasks, fresh)))
    adapting = collector
    if takes_steps(saved) and not both and fresh != episodes_per_step:
        adapting = collector_of(num_tasks, episodes_per_step)
    explore = explore or saved.config.method == RANDOM
    sizes = num_tasks, episodes_per_step
    searches = other_beliefs and not takes_steps(saved)
    hypotheses = hypotheses_of(saved, sim_threads) if searches else NO_HYPOTHESES
    measuring = _Measuring(
        saved,
        family,
        adapting,
        collector,
        sizes,
        steps,
        tuple(budgets),
        explore,
        seed,
        device,
        hypotheses,
    )
    with Bar(progress or "", len(chosen) * measuring.parts, quiet=progress is None) as bar:
        results = tuple(measuring.split(split, bar) for split in chosen)
    return Evaluation(
        family,
        results,
        saved.config.horizon,
        episodes_per_step,
        seed,
        dict(saved.metadata),
        adapts(saved),
        tuple(measuring.schedule) if budgets or measuring.remembers else (),
        measured_by="with action noise" if explore else "mean action",
        policy=which_policy(saved),
        remembers=measuring.remembers,
        measured_on=fresh,
    )


def adapts(saved: SavedPolicy) -> bool:
    """True for a policy that changes with the episodes of its task."""
    return takes_steps(saved) or remembers(saved.policy, saved.params)


def which_policy(saved: SavedPolicy) -> str:
    """Label of the policy within its run: the last one, or one chosen by a criterion."""
    chosen, iteration = saved.metadata.get("chosen"), saved.metadata.get("iteration")
    if chosen is not None:
        return str(chosen)
    if not iteration:
        if "start" in saved.metadata:
            return "another run's weights"
        return "trained elsewhere" if saved.metadata.get("env_steps") else "untrained"
    if iteration < saved.config.iterations:
        return f"policy of iteration {iteration} of {saved.config.iterations}"
    return f"final policy, iteration {iteration}"


def _check_choice(saved: SavedPolicy, family: TaskFamily, splits: Sequence[Split]) -> None:
    """Refuse tasks that the best of many policies was chosen on: its return there is biased."""
    if "chosen" in saved.metadata and family.is_finite and "train" in splits:
        fix = "evaluate the run itself, its final policy"
        raise InputError(
            f"policy = {saved.metadata['chosen']}: {family.name} has no tasks but those it was "
            f"chosen on, so its return there means nothing; {fix}"
            if not family.holds_out
            else f"policy = {saved.metadata['chosen']}: it was chosen on tasks of the split train, "
            f"so its return there means nothing; leave that split out (--splits test), or {fix}"
        )


@dataclass(frozen=True)
class _Measuring:
    """An evaluation's settings, the same for all of its splits."""

    saved: SavedPolicy
    family: TaskFamily
    adapting: Collector
    """Of M tasks in E worlds each; of a policy with a belief, the same as `collector`."""
    collector: Collector
    """Of M tasks in some worlds each, or one world of each trial that takes steps of its own."""
    sizes: tuple[int, int]  # M, and episodes of a gradient step
    steps: int
    budgets: tuple[int, ...]
    explore: bool
    seed: int
    device: torch.device
    hypotheses: Hypotheses

    @cached_property
    def remembers(self) -> bool:
        """True for a policy with a belief."""
        return remembers(self.saved.policy, self.saved.params)

    @cached_property
    def schedule(self) -> list[tuple[int, int]]:
        """(gradient steps, adaptation episodes) of every point, each once, by rising episodes.

        A policy with a belief alone takes no steps: it is measured after the same numbers of
        episodes. One that adapts in both ways takes all K steps at every point but the first.
        """
        _, episodes = self.sizes
        points = {(k, k * episodes) for k in range(self.steps + 1)}
        points |= {(self.steps, self.steps * budget) for budget in self.budgets}
        if self.remembers and takes_steps(self.saved):
            points = {point for point in points if point[0] in (0, self.steps)}
        elif self.remembers:
            points = {(0, number) for _, number in points}
        return sorted(points, key=lambda point: (point[1], point[0]))

    @property
    def parts(self) -> int:
        """Adaptations and measurements of a split, each of all tasks and episodes."""
        points = len(self.schedule)
        if self.remembers:
            lived = [number for _, number in self.schedule]
            episodes = sum(lived) if takes_steps(self.saved) else max(lived)
            return episodes + points + (points - 1)
        if not takes_steps(self.saved):
            return 1
        budgets = points - (self.steps + 1)
        return 1 + budgets + points + 2 * (points - 1)

    def split(self, split: Split, bar: Bar) -> SplitEvaluation:
        """Adapt to tasks of a split, then measure every point and its controls."""
        (num_tasks, _), env = self.sizes, self.collector.env
        stream, resets, actions = evaluation_generators(self.seed, split)
        tasks = self.family.sample_tasks(num_tasks, stream, split)
        env.set_tasks(tasks[np.repeat(np.arange(num_tasks), env.num_tasks // num_tasks).tolist()])
        if self.adapting is not self.collector:
            self.adapting.env.set_tasks(tasks)

        def adapted() -> None:
            bar.advance({"adapted": split})

        adapting = Adapting(self.saved, self.adapting, resets, actions, adapted)

        def measured(acting: Acting) -> _Measured:
            streams = measuring_generators(self.seed, split)
            rollouts = self.collector.collect(
                acting.params, *streams, explore=self.explore, belief=acting.belief
            )
            bar.advance({"measured": split})
            rollouts = _by_task(rollouts, num_tasks)
            diverged = int(rollouts.diverged.sum())
            quantity, rewards = mean_quantity(rollouts), mean_rewards(rollouts)
            return _Measured(mean_returns(rollouts), quantity, rewards, diverged)

        if self.remembers and takes_steps(self.saved):
            adaptation = adapting.by_both(self.schedule, self.device)
        elif self.remembers:
            adaptation = adapting.by_belief(self.schedule, self.hypotheses, explore=self.explore)
        elif takes_steps(self.saved):
            adaptation = adapting.by_gradient(self.schedule, tasks, self.device)
        else:
            adaptation = Adaptation([Acting(expand(self.saved.params, num_tasks), {})])
        points = [measured(acting) for acting in adaptation.points]
        diverged = adaptation.diverged + sum(point.diverged for point in points)
        controls, later = None, adaptation.points[1:]
        others = other_tasks(task_groups(tasks)[0])
        if others is None:
            bar.advance({"measured": split}, (1 if self.remembers else 2) * len(later))
        elif later:
            unknown = np.full(num_tasks, np.nan)
            # In the worlds of a task stand those of another one, each in its place.
            trials = env.num_tasks // num_tasks
            worlds = (others[:, None] * trials + np.arange(trials)).reshape(-1)
            rows = [measured(acting.of_other_tasks(worlds)).returns for acting in later]
            means = None
            if not self.remembers:  # beliefs have no mean: half-way between two is no belief
                means = [measured(Acting(averaged(params), {})).returns for params, _ in later]
            controls = Controls(
                np.stack([unknown, *rows]), None if means is None else np.stack([unknown, *means])
            )
        if len(points) == 1:  # it does not adapt, so that one measurement is all
            points *= len(self.schedule)
        return SplitEvaluation(
            split,
            tasks,
            returns=np.stack([point.returns for point in points]),
            quantity=np.stack([point.quantity for point in points]),
            faulted_episodes=diverged,
            failed_adaptations=adaptation.failed,
            controls=controls,
            adapted=adaptation.examples,
            first_rewards=points[0].rewards,
        )


class _Measured(NamedTuple):
    """Means over one collection."""

    returns: NDArray[np.float64]  # (M,)
    quantity: NDArray[np.float64]  # (M,)
    rewards: NDArray[np.float64]  # (M, T)
    diverged: int


def _by_task(rollouts: Rollouts, num_tasks: int) -> Rollouts:
    """Rollouts whose returns and quantities have the axes (M, E), whatever worlds they are of."""
    if len(rollouts.diverged) == num_tasks:
        return rollouts
    return replace(
        rollouts,
        rewards=rollouts.rewards.reshape(num_tasks, -1, rollouts.rewards.shape[-1]),
        quantity=rollouts.quantity.reshape(num_tasks, -1),
        diverged=rollouts.diverged.reshape(num_tasks, -1),
    )


def mean_returns(rollouts: Rollouts) -> NDArray[np.float64]:
    """Mean return over the valid episodes of each task: (M,), NaN where there is none."""
    return rollouts.task_returns().double().cpu().numpy()


def mean_rewards(rollouts: Rollouts) -> NDArray[np.float64]:
    """Mean reward at each step over the valid episodes of each task, 0 after their end: (M, T)."""
    rewards = torch.where(rollouts.diverged.unsqueeze(-1), torch.nan, rollouts.rewards.double())
    return rewards.nanmean(dim=1).cpu().numpy()


def mean_quantity(rollouts: Rollouts) -> NDArray[np.float64]:
    """The physical quantity, averaged over the valid episodes of each task: (M,).

    A flag of success becomes the share of episodes that succeeded.
    """
    quantity = torch.where(rollouts.diverged, torch.nan, rollouts.quantity.double())
    return quantity.nanmean(dim=1).cpu().numpy()
