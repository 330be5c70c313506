"""Rollouts: M different policies on M x E worlds, collected together.

Axes, here and everywhere: M tasks, E episodes per task, T steps, O observation, A action,
S = E*T samples of a task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor

from metarl.params import to
from metarl.policies import Gaussian, GaussianMlpPolicy, log_prob
from metarl_envs import BatchEnv


@dataclass(frozen=True)
class Rollouts:
    """E episodes of each of M tasks. Where `valid` is false, values are finite and mean nothing."""

    observations: Tensor  # (M, E, T, O)
    actions: Tensor  # (M, E, T, A) policy outputs, before scaling and clipping
    log_probs: Tensor  # (M, E, T) of the policy that acted
    rewards: Tensor  # (M, E, T) zero where not valid
    terminated: Tensor  # (M, E, T)
    truncated: Tensor  # (M, E, T)
    valid: Tensor  # (M, E, T) false after an episode's end, and in all of a faulted episode
    final_observations: Tensor  # (M, E, O) after each episode's last step
    quantity: Tensor  # (M, E) the family's physical quantity, averaged over the episode
    faulted: Tensor  # (M, E)

    def to(self, device: torch.device) -> Rollouts:
        """The same rollouts on another device."""
        return Rollouts(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def returns(self) -> Tensor:
        """Undiscounted return of every episode: (M, E); NaN for faulted episodes."""
        return torch.where(self.faulted, torch.nan, self.rewards.sum(-1))

    def task_returns(self) -> Tensor:
        """Mean return over the sound episodes of each task: (M,)."""
        return self.returns().nanmean(dim=1)

    def num_steps(self) -> int:
        """Environment steps simulated, those of faulted episodes included."""
        ended = (self.terminated | self.truncated).any(-1)
        length = (self.terminated | self.truncated).float().argmax(-1) + 1
        horizon = self.rewards.shape[-1]
        return int(torch.where(ended, length, horizon).sum())


@torch.no_grad()
def collect(
    env: BatchEnv,
    policy: GaussianMlpPolicy,
    params: Mapping[str, Tensor],
    resets: Generator,
    actions: Generator,
) -> Rollouts:
    """One episode in each of the M x E worlds, task m acting with the m-th parameters.

    One batched forward pass per time step serves all policies. Random numbers are drawn for every
    world and step, so no world's stream depends on how long another one lives.

    Args:
        env: M tasks, E episodes; its tasks must be set.
        policy: the policy function.
        params: per-task parameters with leading axis M (`expand` for one shared policy).
        resets: source of reset noise.
        actions: source of action noise.
    """
    M, E, T = env.num_tasks, env.episodes_per_task, env.horizon
    obs_size, A = policy.observation_size, policy.action_size
    device = env.device
    params = to(params, device)
    dtype = params["log_std"].dtype
    quantity_of = env.family.robot.quantities[env.family.quantity]

    def buffer(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    observations, outputs = buffer(M, E, T, obs_size), buffer(M, E, T, A)
    rewards, valid = buffer(M, E, T), buffer(M, E, T, dtype=torch.bool)
    terminated, truncated = torch.zeros_like(valid), torch.zeros_like(valid)
    faulted, quantity = buffer(M, E, dtype=torch.bool), buffer(M, E)
    noise = torch.randn((T, M, E, A), generator=actions, dtype=dtype, device=device)

    log_std = policy.distribution(params, buffer(M, 1, obs_size)).log_std
    std = log_std.exp()
    observation = env.reset(resets).view(M, E, obs_size).to(dtype)
    alive = torch.ones((M, E), dtype=torch.bool, device=device)
    for t in range(T):
        observations[:, :, t] = observation
        output = policy.distribution(params, observation).mean + std * noise[t]
        outputs[:, :, t] = output
        controls = policy.controls(output).view(M * E, A)
        step = env.step(controls, None if bool(alive.all()) else alive.view(-1))

        fault = step.faulted.view(M, E) & alive
        valid[:, :, t] = alive & ~fault
        rewards[:, :, t] = step.rewards.view(M, E)
        terminated[:, :, t] = step.terminated.view(M, E) & alive
        truncated[:, :, t] = step.truncated.view(M, E) & alive
        quantity += quantity_of(step.transition).view(M, E) * valid[:, :, t]
        moved = step.observations.view(M, E, obs_size).to(dtype)
        observation = torch.where(alive[..., None], moved, observation)
        faulted |= fault
        alive = alive & ~(fault | terminated[:, :, t] | truncated[:, :, t])
        if not bool(alive.any()):
            break

    quantity /= valid.sum(-1).clamp(min=1)
    valid &= ~faulted[..., None]
    # log pi(a|s) needs only a - mean, which is the scaled noise.
    offset = noise.permute(1, 2, 0, 3) * std.unsqueeze(1)
    centred = Gaussian(torch.zeros_like(outputs), log_std.unsqueeze(1))
    return Rollouts(
        observations=observations,
        actions=outputs,
        log_probs=log_prob(centred, offset),
        rewards=rewards * valid,
        terminated=terminated,
        truncated=truncated,
        valid=valid,
        final_observations=observation,
        quantity=quantity,
        faulted=faulted,
    )
