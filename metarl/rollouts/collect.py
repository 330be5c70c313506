"""Collection of rollouts: M different policies act in M x E worlds at once.

Axes: M tasks, E episodes per task, T steps, O observation, A action.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from metarl.distributed import Share
from metarl.policies.base import Policy
from metarl.policies.belief import Belief
from metarl.policies.gaussian import Gaussian, log_prob
from metarl.policies.params import to
from metarl.rollouts.cuda_graph import cuda_graph
from metarl.rollouts.data import Rollouts
from metarl.rollouts.stepping import (
    Capture,
    CapturedSteps,
    Changes,
    StepBuffers,
    by_policy,
    run_while_alive,
)
from metarl.rollouts.task_env import TaskEnv
from metarl.rollouts.threads import torch_threads


def stream_on(device: torch.device, generator: Generator) -> Generator:
    """The generator, or if it is not on `device` a fresh one there, seeded by its next number.

    Random streams of a run live on the CPU, where checkpoints are the same for every device; a
    collection on a GPU draws its numbers there, without waiting for the GPU.
    """
    if generator.device.type == device.type:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return Generator(device).manual_seed(seed)


def captures_on(device: torch.device) -> Capture | None:
    """Capture of time steps as CUDA graphs; None on a CPU, where nothing is captured."""
    return functools.partial(cuda_graph, device=device) if device.type == "cuda" else None


class Collector:
    """Collects episodes of one policy function in the worlds of one environment.

    On a GPU the first collection captures a time step as graphs, which it and the later ones
    repeat. Nothing waits for the GPU before the last step, and random numbers are drawn there
    (see `stream_on`).
    """

    def __init__(
        self,
        env: TaskEnv,
        policy: Policy,
        capture: Capture | None = None,
        share: Share | None = None,
    ) -> None:
        """Store the parts; nothing is captured yet.

        Args:
            env: M tasks, E episodes; its tasks must be set before a collection.
            policy: the policy function.
            capture: of a time step; None: `captures_on` the environment's device.
            share: the slots of a larger meta-batch that the environment runs; None: it is all.
        """
        self.env, self.policy = env, policy
        self.share = share or Share(env.num_tasks)
        self._capture = capture or captures_on(env.device)
        self._captured: dict[Any, CapturedSteps] = {}

    @torch.no_grad()
    def collect(
        self,
        params: Mapping[str, Tensor],
        resets: Generator,
        actions: Generator,
        *,
        explore: bool = True,
        belief: Belief | None = None,
        changes: Changes | None = None,
    ) -> Rollouts:
        """One episode in each of the M x E worlds, task m acting with the m-th parameters.

        One batched forward pass per time step serves all policies. Random numbers are drawn for
        every world and step of the whole meta-batch, so that none depends on the length of another
        world's episode, nor on the number of processes that share the meta-batch. Worlds
        that exceeded a limit of the engine are a warning. torch uses one thread meanwhile.

        Args:
            params: per-task parameters with leading axis M; or of one policy that acts in all
                worlds, with leading axis 1, which is faster than M copies.
            resets: source of reset noise.
            actions: source of action noise.
            explore: add noise to the mean action, as adaptation needs; False: act as when deployed,
                drawing nothing from `actions`.
            belief: of an earlier collection whose trial goes on; None: a new trial begins.
            changes: other tasks from a step on, by its number; they stay set.
        """
        env, policy, device = self.env, self.policy, self.env.device
        M, E, T = env.num_tasks, env.episodes_per_task, env.horizon
        with torch_threads(1):
            resets = stream_on(device, resets)
            actions = stream_on(device, actions) if explore else actions
            params = to(params, device)
            start = {} if belief is None else to(belief, device)
            P, W = by_policy(params, M * E)
            belief = policy.begin(params, W) if belief is None else _regrouped(start, (P, W))
            log_std = policy.log_std(params)
            like = {"dtype": log_std.dtype, "device": device}
            noise = (
                self._noise(actions, **like)
                if explore
                else torch.zeros((T, M, E, policy.action_size), **like)
            )
            noise = (noise * log_std.exp()).flatten(1, 2)  # log_std: (M, 1, A) or (1, 1, A)
            if self._capture is None:
                buffers = StepBuffers(policy, params, noise, belief)
                buffers.observations[0] = self._reset(resets)
                length = run_while_alive(env, buffers, changes or {})
            else:
                form = tuple((name, value.shape, value.dtype) for name, value in params.items())
                if form not in self._captured:
                    self._captured[form] = CapturedSteps(
                        env, policy, params, noise, belief, self._capture
                    )
                captured = self._captured[form]
                captured.run(params, noise, belief, self._reset(resets), changes or {})
                buffers, length = captured.buffers, T
            rollouts = _rollouts(
                buffers, length, noise, log_std, (M, E), start, env.measures_success
            )
            message = env.overflow_message()
            # Worlds that were stepped on after their end do not count.
            if message and bool(rollouts.diverged.any()):
                warnings.warn(message, stacklevel=2)
        return rollouts

    def _noise(self, generator: Generator, **like: Any) -> Tensor:  # noqa: ANN401
        """Standard normal noise of the outputs: (T, M, E, A)."""
        total, own = self.share
        shape = (self.env.horizon, total, self.env.episodes_per_task, self.policy.action_size)
        noise = torch.randn(shape, generator=generator, **like)
        return noise if own is None else noise[:, own.to(noise.device)]

    def _reset(self, generator: Generator) -> Tensor:
        """Start an episode in every world: (N, O)."""
        env, (total, own) = self.env, self.share
        if own is None:
            return env.reset(generator)
        E = env.episodes_per_task
        worlds = (E * own.unsqueeze(1) + torch.arange(E)).flatten().to(env.device)
        return env.reset_part(generator, total * E, worlds)


def _rollouts(
    buffers: StepBuffers,
    length: int,
    noise: Tensor,
    log_std: Tensor,
    worlds: tuple[int, int],
    start: Belief,
    measures_success: bool,
) -> Rollouts:
    """Rollouts of the first `length` steps in the buffers: copies, as those are used again."""

    def by_task(tensor: Tensor) -> Tensor:
        """(T, N, ...) -> (M, E, T, ...)."""
        split = tensor.unflatten(1, worlds).movedim(0, 2)
        return split.clone(memory_format=torch.contiguous_format)

    terminated, truncated, diverged = buffers.terminated, buffers.truncated, buffers.diverged
    ended = terminated | truncated | diverged
    reached = (ended.cumsum(0) - ended.long()) == 0  # no end before this step
    failed = (diverged & reached).any(0)
    valid = by_task(reached & ~failed)
    quantity = torch.where(valid, by_task(buffers.quantity), 0.0)
    mean = quantity.sum(-1) / valid.sum(-1).clamp(min=1)
    spread = log_std.unsqueeze(1)
    return Rollouts(
        observations=by_task(buffers.observations[:-1]),
        actions=by_task(buffers.outputs),
        # log pi(a|s) needs only a - mean, which is the scaled noise.
        log_probs=log_prob(Gaussian(torch.zeros_like(spread), spread), by_task(noise)),
        rewards=torch.where(valid, by_task(buffers.rewards), 0.0),
        terminated=by_task(terminated & reached),
        truncated=by_task(truncated & reached),
        valid=valid,
        final_observations=buffers.observations[length].unflatten(0, worlds).clone(),
        quantity=quantity.amax(-1) if measures_success else mean,
        diverged=failed.view(worlds),
        start=start,
        belief={name: v.clone() for name, v in _regrouped(buffers.belief, worlds).items()},
    )


def _regrouped(belief: Belief, worlds: tuple[int, int]) -> Belief:
    """Views of a belief's entries, (M, E, ...), with other first axes of the same N worlds."""
    return {name: value.reshape(*worlds, *value.shape[2:]) for name, value in belief.items()}
