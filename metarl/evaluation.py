"""Evaluation: adapt a policy to tasks of each split, with fresh rollouts after each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from metarl.adaptation.none import Unadapted
from metarl.adaptation_curve import Adapted, Evaluation, SplitEvaluation
from metarl.checkpoint import SavedPolicy
from metarl.inner_loop import InnerLoop, run_inner_loop
from metarl.params import expand, to
from metarl.rollouts import Rollouts, collect
from metarl.runtime import torch_threads
from metarl_envs import SPLITS, BatchEnv, EngineName, InputError, Split, Tasks
from metarl_envs.numbers import whole, wholes

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
    seed: int = 0,
    sim_threads: int = 1,
    device: torch.device = CPU,
    engine: EngineName = "cpu",
) -> Evaluation:
    """Adapt a policy to tasks of each split and measure it before, between and after the steps.

    Every collection is fresh: the return after k steps is that of episodes which the k-th adapted
    policy acted in, none of which it was adapted on.

    Args:
        saved: the policy with the configuration it was trained with.
        splits: which ones (None: all that the family has). A finite family has no `test` apart
            from `train`, so there `test` means `train`.
        num_tasks: M, tasks per split; a finite family's tasks recur in equal shares.
        steps: K, gradient steps, >= 1.
        episodes_per_step: E, episodes that each gradient step sees, and each point is measured on.
        budgets: adds points of the policy after all K steps which saw the first so many of the
            episodes, at most E. All of them start from the same episodes before adaptation.
        seed: fixes tasks, resets and actions of each split, whatever other splits are asked for.
        sim_threads: simulator threads; results do not depend on it.
        device: where the inner gradients are computed.
        engine: what simulates; `auto` is warp where `device` is a GPU.

    Raises:
        InputError: for sizes below 1, a budget above E, or a split that the family does not have.
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
    family = saved.config.task_family()
    env = BatchEnv(
        family,
        num_tasks,
        episodes_per_step,
        horizon=saved.config.horizon,
        sim_threads=sim_threads,
        engine=engine,
        device=device,
    )
    wanted: tuple[Split, ...] = family.splits if splits is None else tuple(splits)
    if family.is_finite:
        wanted = tuple("train" if split == "test" else split for split in wanted)
    results = tuple(
        _evaluate_split(saved, env, split, steps, budgets, seed, device)
        for split in dict.fromkeys(wanted)
    )
    return Evaluation(
        family,
        results,
        saved.config.horizon,
        episodes_per_step,
        seed,
        dict(saved.metadata),
        adapts(saved),
        tuple(_schedule(steps, episodes_per_step, budgets)) if budgets else (),
    )


def adapts(saved: SavedPolicy) -> bool:
    """Whether a policy changes with the episodes of its task."""
    return not isinstance(saved.config.inner, Unadapted)


def _schedule(steps: int, episodes: int, budgets: Sequence[int]) -> list[tuple[int, int]]:
    """(gradient steps, adaptation episodes) of every point, each once, by rising episodes."""
    points = {(k, k * episodes) for k in range(steps + 1)}
    points |= {(steps, steps * budget) for budget in budgets}
    return sorted(points, key=lambda point: (point[1], point[0]))


def _evaluate_split(
    saved: SavedPolicy,
    env: BatchEnv,
    split: Split,
    steps: int,
    budgets: Sequence[int],
    seed: int,
    device: torch.device,
) -> SplitEvaluation:
    tasks, resets, actions = evaluation_generators(seed, split)
    env.set_tasks(env.family.sample_tasks(env.num_tasks, tasks, split))
    start, how = expand(saved.params, env.num_tasks), saved.config.inner_loop(progress=1.0)
    with torch_threads(1):
        first = collect(env, saved.policy, to(start, device), resets, actions)
    streams = resets.get_state(), actions.get_state()

    def loop(learn_from: int | None) -> InnerLoop:
        """K steps on the first so many episodes, with the same randomness each time."""
        resets.set_state(streams[0])
        actions.set_state(streams[1])
        return run_inner_loop(
            env, saved.policy, start, how, steps, resets, actions, device, learn_from, first
        )

    full = loop(None)
    measured = {
        (k, k * env.episodes_per_task): _Measured.of(rollouts)
        for k, rollouts in enumerate(full.rollouts)
    }
    failed, adapted = full.failed, None
    if adapts(saved):
        adapted = _kept(full, env.tasks)
    del full  # a loop's rollouts are large; of each only the means are kept
    for budget in budgets:
        point = (steps, steps * budget)
        if point in measured:
            continue
        if not adapts(saved):  # it would act the same, bit by bit
            measured[point] = measured[steps, steps * env.episodes_per_task]
            continue
        again = loop(budget)
        measured[point] = _Measured.of(again.rollouts[-1])
        failed = failed | again.failed
    points = [measured[p] for p in _schedule(steps, env.episodes_per_task, budgets)]
    return SplitEvaluation(
        split,
        env.tasks,
        returns=np.stack([point.returns for point in points]),
        quantity=np.stack([point.quantity for point in points]),
        faulted_episodes=sum(point.faulted for point in points),
        failed_adaptations=int(failed.sum()),
        adapted=adapted,
    )


class _Measured(NamedTuple):
    """What is kept of one collection."""

    returns: NDArray[np.float64]  # (M,)
    quantity: NDArray[np.float64]  # (M,)
    faulted: int

    @staticmethod
    def of(rollouts: Rollouts) -> _Measured:
        return _Measured(
            mean_returns(rollouts), mean_quantity(rollouts), int(rollouts.faulted.sum())
        )


def _kept(loop: InnerLoop, tasks: Tasks) -> Adapted | None:
    sound = torch.nonzero(~loop.failed).reshape(-1)[:KEPT_TASKS]
    if len(sound) == 0:
        return None
    params = {name: value[sound].cpu() for name, value in loop.adapted.items()}
    return Adapted(tasks[sound.tolist()], params)


def evaluation_generators(seed: int, split: Split) -> tuple[Generator, Generator, Generator]:
    """Streams for tasks, resets and actions, from the seed and the split alone.

    Not those that a training run with the same seed draws from.
    """
    if seed < 0:
        raise InputError(f"seed = {seed}: must be at least 0")
    root = np.random.SeedSequence([seed, SPLITS.index(split), 0xE7A1])
    first, second, third = (int(word) for word in root.generate_state(3, np.uint32))
    return (
        Generator().manual_seed(first),
        Generator().manual_seed(second),
        Generator().manual_seed(third),
    )


def mean_returns(rollouts: Rollouts) -> NDArray[np.float64]:
    """Mean return over the sound episodes of each task: (M,), NaN where there is none."""
    return rollouts.task_returns().double().cpu().numpy()


def mean_quantity(rollouts: Rollouts) -> NDArray[np.float64]:
    """The physical quantity, averaged over the sound episodes of each task: (M,)."""
    sound = torch.where(rollouts.faulted, torch.nan, rollouts.quantity.double())
    return sound.nanmean(dim=1).cpu().numpy()
