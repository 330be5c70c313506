"""The inner loop: collect, adapt, collect again, for all tasks of an environment at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl.adaptation.gradient import GradientAdaptationConfig, gradient_step
from metarl.advantages import PolicyBatch, policy_batch
from metarl.params import Params, expand, to
from metarl.policies import GaussianMlpPolicy
from metarl.rollouts import Rollouts, collect
from metarl.runtime import torch_threads
from metarl_envs import BatchEnv


@dataclass(frozen=True)
class InnerLoop:
    """What an inner loop of K steps leaves behind."""

    rollouts: list[Rollouts]
    """K + 1 collections: before adaptation, then after each step."""
    batches: list[PolicyBatch]
    """The same as losses read them, on the update's device."""
    adapted: Params
    """Per-task parameters after K steps, each (M, ...)."""
    failed: Tensor  # (M,) tasks that kept their last finite parameters
    collect_s: float
    """Wall-clock seconds spent in the collections."""


def run_inner_loop(
    env: BatchEnv,
    policy: GaussianMlpPolicy,
    params: Mapping[str, Tensor],
    config: GradientAdaptationConfig,
    num_steps: int,
    resets: Generator,
    actions: Generator,
    device: torch.device,
) -> InnerLoop:
    """Adapt one policy to each of the environment's M tasks, with fresh rollouts after each step.

    Args:
        env: M tasks, E episodes per task and collection; its tasks must be set.
        policy: the policy function.
        params: the policy's parameters, without axis M.
        config: the inner step.
        num_steps: K, gradient steps; `config.adaptation_steps` in training, free in evaluation.
        resets: source of reset noise.
        actions: source of action noise.
        device: where the inner gradients are computed.
    """
    adapted = to(expand(params, env.num_tasks), device)
    failed = torch.zeros(env.num_tasks, dtype=torch.bool, device=device)
    rollouts, batches, collect_s = [], [], 0.0
    for k in range(num_steps + 1):
        start = time.perf_counter()
        with torch_threads(1):
            rollouts.append(collect(env, policy, adapted, resets, actions))
        collect_s += time.perf_counter() - start
        batches.append(policy_batch(rollouts[-1].to(device), config.discount, config.gae_lambda))
        if k < num_steps:
            with torch.no_grad():
                stepped = gradient_step(policy, adapted, batches[-1], config, k)
            adapted, broken = keep_finite(adapted, stepped)
            failed |= broken
    return InnerLoop(rollouts, batches, adapted, failed, collect_s)


def keep_finite(before: Params, after: Params) -> tuple[Params, Tensor]:
    """`after`, but a task with a non-finite entry keeps its parameters from `before`.

    Returns:
        Parameters (M, ...) and which tasks fell back (M,).
    """
    finite = torch.stack(
        [torch.isfinite(value).reshape(len(value), -1).all(dim=1) for value in after.values()]
    ).all(dim=0)
    kept = {
        name: torch.where(finite.view(-1, *[1] * (value.dim() - 1)), value, before[name])
        for name, value in after.items()
    }
    return kept, ~finite
