"""Collection of rollouts: M different policies act in M x E worlds at once.

Axes, here and everywhere: M tasks, E episodes per task, T steps, O observation, A action,
S = E*T samples of a task.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from metarl.policies.gaussian import Gaussian, log_prob
from metarl.policies.mlp import GaussianMlpPolicy
from metarl.policies.params import to
from metarl.rollouts.cuda_graph import cuda_graph
from metarl.rollouts.data import Rollouts
from metarl.rollouts.stepping import Episodes, RecordedEpisodes, Recorder, run_while_alive
from metarl_envs import BatchEnv


def stream_on(device: torch.device, generator: Generator) -> Generator:
    """The generator, or if it is not on `device` a fresh one there, seeded by its next number.

    Random streams of a run live on the CPU, where checkpoints are the same for every device; a
    collection on a GPU draws its numbers there, without waiting for the GPU.
    """
    if generator.device.type == device.type:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return Generator(device).manual_seed(seed)


@torch.no_grad()
def collect(
    env: BatchEnv,
    policy: GaussianMlpPolicy,
    params: Mapping[str, Tensor],
    resets: Generator,
    actions: Generator,
    *,
    explore: bool = True,
    record: Recorder | None = None,
) -> Rollouts:
    """One episode in each of the M x E worlds, task m acting with the m-th parameters.

    One batched forward pass per time step serves all policies. Random numbers are drawn for every
    world and step, so no world's stream depends on how long another one lives.

    On a GPU the first collection records a time step as graphs, which it and the later ones with
    the same environment and policy function repeat. Nothing waits for the GPU before the last
    step, steps after every episode's end included, and random numbers are drawn there (see
    `stream_on`). Limits of the engine that were too low are a warning.

    Args:
        env: M tasks, E episodes; its tasks must be set.
        policy: the policy function.
        params: per-task parameters with leading axis M (`expand` for one shared policy).
        resets: source of reset noise.
        actions: source of action noise.
        explore: whether noise is added to the mean action. An adaptation learns from its noise; a
            policy is measured as it is deployed, without, and then draws nothing from `actions`.
        record: how a time step is recorded; None: as a CUDA graph on a GPU, not at all elsewhere.
    """
    M, E, T = env.num_tasks, env.episodes_per_task, env.horizon
    device = env.device
    resets = stream_on(device, resets)
    actions = stream_on(device, actions) if explore else actions
    params = to(params, device)
    log_std = policy.log_std(params)
    shape, made = (T, M, E, policy.action_size), {"dtype": log_std.dtype, "device": device}
    noise = torch.randn(shape, generator=actions, **made) if explore else torch.zeros(shape, **made)
    noise = (noise * log_std.exp()).flatten(1, 2)
    if record is None and device.type == "cuda":
        record = functools.partial(cuda_graph, device=device)
    if record is None:
        episodes = Episodes(env, policy, params, noise)
        episodes.observations[0] = env.reset(resets)
        length = run_while_alive(env, episodes)
    else:
        kind = policy, *((name, value.shape, value.dtype) for name, value in params.items())
        if kind not in env.recordings:
            env.recordings[kind] = RecordedEpisodes(env, policy, params, noise, record)
        recorded: RecordedEpisodes = env.recordings[kind]
        recorded.run(env, params, noise, env.reset(resets))
        episodes, length = recorded.episodes, T
    complaint = env.engine.complaint()

    def by_task(tensor: Tensor) -> Tensor:
        """(T, N, ...) -> (M, E, T, ...): a copy, since the next collection overwrites these."""
        split = tensor.unflatten(1, (M, E)).movedim(0, 2)
        return split.clone(memory_format=torch.contiguous_format)

    terminated, truncated, faulted = episodes.terminated, episodes.truncated, episodes.faulted
    ended = terminated | truncated | faulted
    reached = (ended.cumsum(0) - ended.long()) == 0  # no end before this step
    broken = (faulted & reached).any(0)
    if complaint and bool(broken.any()):  # and not only worlds that went on after their end
        warnings.warn(f"{env.family.robot.name}: {complaint}", stacklevel=2)
    valid = by_task(reached & ~broken)
    lengths = valid.sum(-1).clamp(min=1)
    spread = log_std.unsqueeze(1)
    return Rollouts(
        observations=by_task(episodes.observations[:-1]),
        actions=by_task(episodes.outputs),
        # log pi(a|s) needs only a - mean, which is the scaled noise.
        log_probs=log_prob(Gaussian(torch.zeros_like(spread), spread), by_task(noise)),
        rewards=torch.where(valid, by_task(episodes.rewards), 0.0),
        terminated=by_task(terminated & reached),
        truncated=by_task(truncated & reached),
        valid=valid,
        final_observations=episodes.observations[length].unflatten(0, (M, E)).clone(),
        quantity=torch.where(valid, by_task(episodes.quantity), 0.0).sum(-1) / lengths,
        faulted=broken.view(M, E),
    )
