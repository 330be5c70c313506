"""Evaluation: adapt a policy to tasks of each split, with fresh rollouts after each step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from metarl.adaptation_curve import Evaluation, SplitEvaluation
from metarl.checkpoint import SavedPolicy
from metarl.inner_loop import run_inner_loop
from metarl.params import expand
from metarl.rollouts import Rollouts
from metarl_envs import SPLITS, BatchEnv, EngineName, InputError, Split

CPU = torch.device("cpu")


def evaluate(
    saved: SavedPolicy,
    *,
    splits: Sequence[Split] | None = None,
    num_tasks: int = 40,
    steps: int = 1,
    episodes_per_step: int = 20,
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
        episodes_per_step: E, episodes that each gradient step sees.
        seed: fixes tasks, resets and actions of each split, whatever other splits are asked for.
        sim_threads: simulator threads; results do not depend on it.
        device: where the inner gradients are computed.
        engine: what simulates; `auto` is warp where `device` is a GPU.

    Raises:
        InputError: for sizes below 1 or a split that the family does not have.
    """
    if steps < 1:
        raise InputError(f"steps = {steps}: must be at least 1")
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
        _evaluate_split(saved, env, split, steps, seed, device) for split in dict.fromkeys(wanted)
    )
    return Evaluation(
        family, results, saved.config.horizon, episodes_per_step, seed, dict(saved.metadata)
    )


def _evaluate_split(
    saved: SavedPolicy, env: BatchEnv, split: Split, steps: int, seed: int, device: torch.device
) -> SplitEvaluation:
    tasks, resets, actions = evaluation_generators(seed, split)
    env.set_tasks(env.family.sample_tasks(env.num_tasks, tasks, split))
    start, how = expand(saved.params, env.num_tasks), saved.config.inner_loop(progress=1.0)
    inner = run_inner_loop(env, saved.policy, start, how, steps, resets, actions, device)
    return SplitEvaluation(
        split,
        env.tasks,
        returns=np.stack([mean_returns(r) for r in inner.rollouts]),
        quantity=np.stack([mean_quantity(r) for r in inner.rollouts]),
        faulted_episodes=int(sum(r.faulted.sum() for r in inner.rollouts)),
        failed_adaptations=int(inner.failed.sum()),
    )


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
