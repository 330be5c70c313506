"""Evaluation: adapt a policy to tasks of each split, and measure it as it would be deployed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from metarl.adaptation.inner_loop import InnerLoop, run_inner_loop
from metarl.adaptation.none import Unadapted
from metarl.evaluation.controls import averaged, exchanged, other_tasks
from metarl.evaluation.results import Adapted, Controls, Evaluation, SplitEvaluation, task_groups
from metarl.evaluation.streams import evaluation_generators, measuring_generators
from metarl.methods.baselines import RANDOM
from metarl.methods.setup import env_of, family_of, inner_loop_of
from metarl.policies.params import Params, expand, to
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.runs.checkpoint import SavedPolicy
from metarl.runs.progress import Bar
from metarl_envs import EngineName, InputError, Split, TaskFamily, Tasks
from metarl_envs.inputs.numbers import whole, wholes

CPU = torch.device("cpu")
KEPT_TASKS = 40
"""Number of tasks of a split whose adapted parameters an evaluation keeps."""


def evaluate(
    saved: SavedPolicy,
    *,
    splits: Sequence[Split] | None = None,
    num_tasks: int = 40,
    steps: int = 1,
    episodes_per_step: int = 20,
    budgets: Sequence[int] = (),
    explore: bool = False,
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

    Args:
        saved: the policy with the configuration it was trained with.
        splits: of the family (None: all). In a finite family `test` means `train`.
        num_tasks: M, tasks per split; a finite family's tasks recur in equal shares.
        steps: K, gradient steps, >= 1.
        episodes_per_step: E, episodes of each gradient step, and of each measurement.
        budgets: numbers of episodes, at most E: each adds a point after K steps on so many of the
            episodes. All points share the episodes before adaptation.
        explore: measure with action noise; always so for the random baseline.
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
    for budget in budgets:
        if not 1 <= budget <= episodes_per_step:
            raise InputError(
                f"budget = {budget} adaptation episodes: must be from 1 to the {episodes_per_step} "
                "episodes that each point is measured on"
            )
    family = family_of(saved.config)
    chosen: Sequence[Split] = family.splits if splits is None else splits
    if family.is_finite:
        chosen = ["train" if split == "test" else split for split in chosen]
    chosen = tuple(dict.fromkeys(chosen))
    _check_choice(saved, family, chosen)
    env = env_of(
        saved.config,
        num_tasks,
        episodes_per_step,
        sim_threads=sim_threads,
        engine=engine,
        device=device,
    )
    explore = explore or saved.config.method == RANDOM
    collector = Collector(env, saved.policy)
    measuring = _Measuring(saved, family, collector, steps, tuple(budgets), explore, seed, device)
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
        tuple(measuring.schedule) if budgets else (),
        measured_by="with action noise" if explore else "mean action",
        policy=which_policy(saved),
    )


def adapts(saved: SavedPolicy) -> bool:
    """True for a policy that changes with the episodes of its task."""
    return not isinstance(saved.config.inner, Unadapted)


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
        raise InputError(
            f"policy = {saved.metadata['chosen']}: {family.name} has no tasks but those it was "
            "chosen on, so its return there means nothing; evaluate the run itself, its final "
            "policy"
        )


@dataclass(frozen=True)
class _Measuring:
    """An evaluation's settings, the same for all of its splits."""

    saved: SavedPolicy
    family: TaskFamily
    collector: Collector
    steps: int
    budgets: tuple[int, ...]
    explore: bool
    seed: int
    device: torch.device

    @property
    def schedule(self) -> list[tuple[int, int]]:
        """(gradient steps, adaptation episodes) of every point, each once, by rising episodes."""
        episodes = self.collector.env.episodes_per_task
        points = {(k, k * episodes) for k in range(self.steps + 1)}
        points |= {(self.steps, self.steps * budget) for budget in self.budgets}
        return sorted(points, key=lambda point: (point[1], point[0]))

    @property
    def parts(self) -> int:
        """Adaptations and measurements of a split, each of all tasks and episodes."""
        if not adapts(self.saved):
            return 1
        points = len(self.schedule)
        budgets = points - (self.steps + 1)
        return 1 + budgets + points + 2 * (points - 1)

    def split(self, split: Split, bar: Bar) -> SplitEvaluation:
        """Adapt to tasks of a split, then measure every point and its controls."""
        num_tasks = self.collector.env.num_tasks
        stream, resets, actions = evaluation_generators(self.seed, split)
        tasks = self.family.sample_tasks(num_tasks, stream, split)
        self.collector.env.set_tasks(tasks)

        def measured(params: Params) -> _Measured:
            streams = measuring_generators(self.seed, split)
            rollouts = self.collector.collect(params, *streams, explore=self.explore)
            bar.advance({"measured": split})
            diverged = int(rollouts.diverged.sum())
            return _Measured(mean_returns(rollouts), mean_quantity(rollouts), diverged)

        if adapts(self.saved):
            adaptation = self.adapt(tasks, resets, actions, lambda: bar.advance({"adapted": split}))
            points = [measured(params) for params in adaptation.params]
            diverged = adaptation.diverged + sum(point.diverged for point in points)
        else:
            adaptation = _Adaptation([])
            points = [measured(expand(self.saved.params, num_tasks))] * len(self.schedule)
            diverged = points[0].diverged
        controls, adapted = None, adaptation.params[1:]
        others = other_tasks(task_groups(tasks)[0])
        if others is None:
            bar.advance({"measured": split}, 2 * len(adapted))
        elif adapted:
            unknown = np.full(num_tasks, np.nan)
            exchanges = [measured(exchanged(params, others)).returns for params in adapted]
            averages = [measured(averaged(params)).returns for params in adapted]
            controls = Controls(np.stack([unknown, *exchanges]), np.stack([unknown, *averages]))
        return SplitEvaluation(
            split,
            tasks,
            returns=np.stack([point.returns for point in points]),
            quantity=np.stack([point.quantity for point in points]),
            faulted_episodes=diverged,
            failed_adaptations=adaptation.failed,
            controls=controls,
            adapted=adaptation.examples,
        )

    def adapt(
        self, tasks: Tasks, resets: Generator, actions: Generator, adapted: Callable[[], None]
    ) -> _Adaptation:
        """Parameters of every point, all from one collection; calls `adapted` after each loop."""
        saved, collector, K = self.saved, self.collector, self.steps
        M, E = collector.env.num_tasks, collector.env.episodes_per_task
        start = to(expand(saved.params, M), self.device)
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
            adapted()
            return result

        full = loop(E)
        params = {(k, k * E): full.policies[k] for k in range(K + 1)}
        failed, examples = full.failed, _examples(full, tasks)
        del full  # a loop's rollouts are large
        for steps, episodes in self.schedule:
            if (steps, episodes) not in params:
                part = loop(episodes // K)
                params[steps, episodes] = part.adapted
                failed = failed | part.failed
        ordered = [params[point] for point in self.schedule]
        return _Adaptation(ordered, examples, int(failed.sum()), sum(diverged))


class _Adaptation(NamedTuple):
    """Result of adapting to the tasks of a split."""

    params: list[Params]
    """Of every point of the schedule, each (M, ...)."""
    examples: Adapted | None = None
    failed: int = 0
    diverged: int = 0


class _Measured(NamedTuple):
    """Means over one collection."""

    returns: NDArray[np.float64]  # (M,)
    quantity: NDArray[np.float64]  # (M,)
    diverged: int


def _examples(loop: InnerLoop, tasks: Tasks) -> Adapted | None:
    valid = torch.nonzero(~loop.failed).reshape(-1)[:KEPT_TASKS]
    if len(valid) == 0:
        return None
    params = {name: value[valid].cpu() for name, value in loop.adapted.items()}
    return Adapted(tasks[valid.tolist()], params)


def mean_returns(rollouts: Rollouts) -> NDArray[np.float64]:
    """Mean return over the valid episodes of each task: (M,), NaN where there is none."""
    return rollouts.task_returns().double().cpu().numpy()


def mean_quantity(rollouts: Rollouts) -> NDArray[np.float64]:
    """The physical quantity, averaged over the valid episodes of each task: (M,)."""
    quantity = torch.where(rollouts.diverged, torch.nan, rollouts.quantity.double())
    return quantity.nanmean(dim=1).cpu().numpy()
