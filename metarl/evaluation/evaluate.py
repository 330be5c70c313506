"""Evaluation: adapt a policy to tasks of each split, and measure it as it would be deployed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from metarl.adaptation.inner_loop import InnerLoop, run_inner_loop
from metarl.adaptation.none import Unadapted
from metarl.evaluation.controls import averaged, exchanged, other_tasks
from metarl.evaluation.results import Adapted, Controls, Evaluation, SplitEvaluation
from metarl.methods.baselines import RANDOM
from metarl.methods.setup import env_of, family_of, inner_loop_of
from metarl.policies.params import Params, expand, to
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.runs.checkpoint import SavedPolicy
from metarl.runs.progress import Bar
from metarl_envs import SPLITS, EngineName, InputError, Split, TaskFamily, Tasks
from metarl_envs.inputs.numbers import whole, wholes

CPU = torch.device("cpu")
KEPT_TASKS = 40
"""Tasks of a split whose adapted parameters an evaluation keeps."""


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

    A policy adapts by episodes with its noise and is measured, as it is deployed, by its mean
    action in others. All points of a split are measured from the same initial states, so that they
    differ by the policy alone. Every adapted point has its controls: the same tasks with another
    task's adapted parameters, and with the mean of all (see `metarl.evaluation.controls`).

    Args:
        saved: the policy with the configuration it was trained with.
        splits: which ones (None: all that the family has). A finite family has no `test` apart
            from `train`, so there `test` means `train`.
        num_tasks: M, tasks per split; a finite family's tasks recur in equal shares.
        steps: K, gradient steps, >= 1.
        episodes_per_step: E, episodes that each gradient step sees, and each point is measured on.
        budgets: adds points of the policy after all K steps which saw the first so many of the
            episodes, at most E. All of them start from the same episodes before adaptation.
        explore: measure with the policy's noise too. The random baseline, which is nothing else,
            always is.
        seed: fixes tasks, resets and actions of each split, whatever other splits are asked for.
        sim_threads: simulator threads; results do not depend on it.
        device: where the inner gradients are computed.
        engine: what simulates; `auto` is warp where `device` is a GPU.
        progress: the name under which progress is shown on stderr; None: nothing is shown.

    Raises:
        InputError: for sizes below 1, a budget above E, a split that the family does not have, or
            a policy that was chosen on the tasks that it would be measured on.
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
    wanted: tuple[Split, ...] = family.splits if splits is None else tuple(splits)
    if family.is_finite:
        wanted = tuple("train" if split == "test" else split for split in wanted)
    _check_choice(saved, family, wanted)
    env = env_of(
        saved.config,
        num_tasks,
        episodes_per_step,
        sim_threads=sim_threads,
        engine=engine,
        device=device,
    )
    explore = explore or saved.config.method == RANDOM
    chosen = tuple(dict.fromkeys(wanted))
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
    """Label of one of a run's policies: the last one, or one that was chosen, and by what."""
    chosen, iteration = saved.metadata.get("chosen"), saved.metadata.get("iteration")
    if chosen is not None:
        return f"{chosen}"
    if not iteration:
        if "start" in saved.metadata:
            return "another run's weights"
        return "trained elsewhere" if saved.metadata.get("env_steps") else "untrained"
    if iteration < saved.config.iterations:
        return f"policy of iteration {iteration} of {saved.config.iterations}"
    return f"final policy, iteration {iteration}"


def _check_choice(saved: SavedPolicy, family: TaskFamily, splits: Sequence[Split]) -> None:
    """A best of many looks better than it is on the tasks that it was chosen by."""
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
        partial = points - (self.steps + 1)
        return 1 + partial + points + 2 * (points - 1)

    def split(self, split: Split, bar: Bar) -> SplitEvaluation:
        """Adapt to tasks of a split, then measure every point and its controls."""
        env = self.collector.env
        stream, resets, actions = evaluation_generators(self.seed, split)
        tasks = self.family.sample_tasks(env.num_tasks, stream, split)
        env.set_tasks(tasks)

        def measured(params: Params) -> Measured:
            point = self.measure(params, split)
            bar.advance({"measured": split})
            return point

        if not adapts(self.saved):
            once = measured(expand(self.saved.params, env.num_tasks))
            points = [once] * len(self.schedule)
            return _as_result(split, tasks, points, once.diverged)
        adaptation = self.adapt(tasks, resets, actions, lambda: bar.advance({"adapted": split}))
        points = [measured(adaptation.params[point]) for point in self.schedule]
        diverged = adaptation.diverged + sum(point.diverged for point in points)
        result = _as_result(split, tasks, points, diverged, adaptation)
        others = other_tasks(result.groups[0])
        after = [adaptation.params[point] for point in self.schedule[1:]]
        if others is None:
            bar.advance({"measured": split}, 2 * len(after))
            return result
        exchanges = [measured(exchanged(params, others)).returns for params in after]
        averages = [measured(averaged(params)).returns for params in after]
        nothing = np.full(env.num_tasks, np.nan)
        controls = Controls(np.stack([nothing, *exchanges]), np.stack([nothing, *averages]))
        return replace(result, controls=controls)

    def measure(self, params: Params, split: Split) -> Measured:
        """Fresh episodes, from the same initial states each time."""
        generators = measuring_generators(self.seed, split)
        return measure(self.collector, params, *generators, explore=self.explore)

    def adapt(
        self, tasks: Tasks, resets: Generator, actions: Generator, adapted: Callable[[], None]
    ) -> _Adaptation:
        """The parameters of every point, all from one collection before adaptation.

        `adapted` is called after each loop of gradient steps.
        """
        saved, collector, K = self.saved, self.collector, self.steps
        env = collector.env
        start = to(expand(saved.params, env.num_tasks), self.device)
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

            def seen(params: Params) -> Rollouts:
                rollouts = ready.pop() if ready else collected(params)
                return rollouts.some_episodes(slice(budget))

            inner_config = inner_loop_of(saved.config, 1.0)
            return run_inner_loop(saved.policy, inner_config, start, K, seen, collect_last=False)

        full = loop(env.episodes_per_task)
        adapted()
        params = {(k, k * env.episodes_per_task): full.policies[k] for k in range(K + 1)}
        failed, kept = full.failed, _kept(full, tasks)
        del full  # a loop's rollouts are large
        for point in self.schedule:
            if point in params:
                continue
            part = loop(point[1] // K)
            adapted()
            params[point] = part.adapted
            failed = failed | part.failed
        return _Adaptation(params, kept, int(failed.sum()), sum(diverged))


class _Adaptation(NamedTuple):
    """Result of adapting to the tasks of a split."""

    params: dict[tuple[int, int], Params]
    """By (gradient steps, adaptation episodes), each (M, ...)."""
    kept: Adapted | None
    failed: int
    diverged: int


class Measured(NamedTuple):
    """Means over one collection."""

    returns: NDArray[np.float64]  # (M,)
    quantity: NDArray[np.float64]  # (M,)
    diverged: int


def measure(
    collector: Collector,
    params: Params,
    resets: Generator,
    actions: Generator,
    *,
    explore: bool = False,
) -> Measured:
    """Fresh episodes of per-task parameters, (M, ...), with the mean action unless `explore`.

    Nothing learns from them.
    """
    rollouts = collector.collect(params, resets, actions, explore=explore)
    return Measured(mean_returns(rollouts), mean_quantity(rollouts), int(rollouts.diverged.sum()))


def _as_result(
    split: Split,
    tasks: Tasks,
    points: Sequence[Measured],
    diverged: int,
    adaptation: _Adaptation | None = None,
) -> SplitEvaluation:
    return SplitEvaluation(
        split,
        tasks,
        returns=np.stack([point.returns for point in points]),
        quantity=np.stack([point.quantity for point in points]),
        faulted_episodes=diverged,
        failed_adaptations=adaptation.failed if adaptation else 0,
        adapted=adaptation.kept if adaptation else None,
    )


def _kept(loop: InnerLoop, tasks: Tasks) -> Adapted | None:
    sound = torch.nonzero(~loop.failed).reshape(-1)[:KEPT_TASKS]
    if len(sound) == 0:
        return None
    params = {name: value[sound].cpu() for name, value in loop.adapted.items()}
    return Adapted(tasks[sound.tolist()], params)


def evaluation_generators(seed: int, split: Split) -> tuple[Generator, Generator, Generator]:
    """Streams for tasks, resets and actions, from the seed and the split alone.

    Those of the episodes adapted on. Not those that a training run with the same seed draws from.
    """
    tasks, resets, actions = _generators(seed, split, 0xE7A1, 3)
    return tasks, resets, actions


def measuring_generators(seed: int, split: Split) -> tuple[Generator, Generator]:
    """Fresh streams for resets and actions of measured episodes, apart from those adapted on."""
    resets, actions = _generators(seed, split, 0x3EA5, 2)
    return resets, actions


def _generators(seed: int, split: Split, purpose: int, count: int) -> list[Generator]:
    if seed < 0:
        raise InputError(f"seed = {seed}: must be at least 0")
    root = np.random.SeedSequence([seed, SPLITS.index(split), purpose])
    return [Generator().manual_seed(int(word)) for word in root.generate_state(count, np.uint32)]


def mean_returns(rollouts: Rollouts) -> NDArray[np.float64]:
    """Mean return over the valid episodes of each task: (M,), NaN where there is none."""
    return rollouts.task_returns().double().cpu().numpy()


def mean_quantity(rollouts: Rollouts) -> NDArray[np.float64]:
    """The physical quantity, averaged over the valid episodes of each task: (M,)."""
    sound = torch.where(rollouts.diverged, torch.nan, rollouts.quantity.double())
    return sound.nanmean(dim=1).cpu().numpy()
