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
from metarl.policies.mlp import GaussianMlpPolicy
from metarl.policies.params import Params, expand, to
from metarl.rollouts.collect import collect
from metarl.rollouts.data import Rollouts
from metarl.rollouts.threads import torch_threads
from metarl.runs.checkpoint import SavedPolicy
from metarl.runs.progress import Bar
from metarl_envs import SPLITS, BatchEnv, EngineName, InputError, Split, TaskFamily, Tasks
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
    found = _Measuring(saved, env, steps, tuple(budgets), explore, seed, device)
    with Bar(progress or "", len(chosen) * found.parts, quiet=progress is None) as bar:
        results = tuple(found.split(split, bar) for split in chosen)
    return Evaluation(
        family,
        results,
        saved.config.horizon,
        episodes_per_step,
        seed,
        dict(saved.metadata),
        adapts(saved),
        tuple(found.schedule) if budgets else (),
        measured_by="with action noise" if explore else "mean action",
        policy=which_policy(saved),
    )


def adapts(saved: SavedPolicy) -> bool:
    """Whether a policy changes with the episodes of its task."""
    return not isinstance(saved.config.inner, Unadapted)


def which_policy(saved: SavedPolicy) -> str:
    """Which of a run's policies it is: the last one, or one that was chosen, and by what."""
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
    env: BatchEnv
    steps: int
    budgets: tuple[int, ...]
    explore: bool
    seed: int
    device: torch.device

    @property
    def schedule(self) -> list[tuple[int, int]]:
        """(gradient steps, adaptation episodes) of every point, each once, by rising episodes."""
        episodes = self.env.episodes_per_task
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
        env = self.env
        tasks, resets, actions = evaluation_generators(self.seed, split)
        env.set_tasks(env.family.sample_tasks(env.num_tasks, tasks, split))

        def measured(params: Params) -> Measured:
            found = self.measure(params, split)
            bar.advance({"measured": split})
            return found

        if not adapts(self.saved):
            once = measured(expand(self.saved.params, env.num_tasks))
            points = [once] * len(self.schedule)
            return _as_result(split, env.tasks, points, once.faulted)
        found = self.adapt(resets, actions, lambda: bar.advance({"adapted": split}))
        points = [measured(found.params[point]) for point in self.schedule]
        faulted = found.faulted + sum(point.faulted for point in points)
        result = _as_result(split, env.tasks, points, faulted, found)
        others = other_tasks(result.groups[0])
        after = [found.params[point] for point in self.schedule[1:]]
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
        return measure(self.env, self.saved.policy, params, *generators, explore=self.explore)

    def adapt(
        self, resets: Generator, actions: Generator, adapted: Callable[[], None]
    ) -> _Adaptation:
        """The parameters of every point, all from one collection before adaptation.

        `adapted` is called after each loop of gradient steps.
        """
        saved, env, K = self.saved, self.env, self.steps
        start, how = expand(saved.params, env.num_tasks), inner_loop_of(saved.config, 1.0)
        with torch_threads(1):
            first = collect(env, saved.policy, to(start, self.device), resets, actions)
        streams = resets.get_state(), actions.get_state()

        def loop(learn_from: int | None) -> InnerLoop:
            """K steps on the first so many episodes, with the same randomness each time."""
            resets.set_state(streams[0])
            actions.set_state(streams[1])
            return run_inner_loop(
                env, saved.policy, start, how, K, resets, actions, self.device, learn_from, first,
                collect_last=False,
            )  # fmt: skip

        full = loop(None)
        adapted()
        params = {(k, k * env.episodes_per_task): full.policies[k] for k in range(K + 1)}
        failed, faulted = full.failed, sum(int(r.faulted.sum()) for r in full.rollouts)
        kept = _kept(full, env.tasks)
        del full  # a loop's rollouts are large
        for point in self.schedule:
            if point in params:
                continue
            part = loop(point[1] // K)
            adapted()
            params[point] = part.adapted
            failed = failed | part.failed
            faulted += sum(int(r.faulted.sum()) for r in part.rollouts[1:])
        return _Adaptation(params, kept, int(failed.sum()), faulted)


class _Adaptation(NamedTuple):
    """What adapting to the tasks of a split left behind."""

    params: dict[tuple[int, int], Params]
    """By (gradient steps, adaptation episodes), each (M, ...)."""
    kept: Adapted | None
    failed: int
    faulted: int


class Measured(NamedTuple):
    """What is kept of one collection."""

    returns: NDArray[np.float64]  # (M,)
    quantity: NDArray[np.float64]  # (M,)
    faulted: int


def measure(
    env: BatchEnv,
    policy: GaussianMlpPolicy,
    params: Params,
    resets: Generator,
    actions: Generator,
    *,
    explore: bool = False,
) -> Measured:
    """Fresh episodes of per-task parameters, (M, ...), with the mean action unless told to explore.

    Nothing learns from them.
    """
    with torch_threads(1):
        rollouts = collect(env, policy, params, resets, actions, explore=explore)
    return Measured(mean_returns(rollouts), mean_quantity(rollouts), int(rollouts.faulted.sum()))


def _as_result(
    split: Split,
    tasks: Tasks,
    points: Sequence[Measured],
    faulted: int,
    found: _Adaptation | None = None,
) -> SplitEvaluation:
    return SplitEvaluation(
        split,
        tasks,
        returns=np.stack([point.returns for point in points]),
        quantity=np.stack([point.quantity for point in points]),
        faulted_episodes=faulted,
        failed_adaptations=found.failed if found else 0,
        adapted=found.kept if found else None,
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
    """Mean return over the sound episodes of each task: (M,), NaN where there is none."""
    return rollouts.task_returns().double().cpu().numpy()


def mean_quantity(rollouts: Rollouts) -> NDArray[np.float64]:
    """The physical quantity, averaged over the sound episodes of each task: (M,)."""
    sound = torch.where(rollouts.faulted, torch.nan, rollouts.quantity.double())
    return sound.nanmean(dim=1).cpu().numpy()
