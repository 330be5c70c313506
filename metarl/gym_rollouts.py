"""Rollouts from one `gymnasium.Env`, such as a real robot's: one world, one episode at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Space
from torch import Generator, Tensor

from metarl.policies import Gaussian, GaussianMlpPolicy, log_prob
from metarl.rollouts import Rollouts
from metarl_envs import InputError


class HasSpaces(Protocol):
    """An environment, a vector of them, or a policy of Stable-Baselines3."""

    observation_space: Space[Any]
    action_space: Space[Any]


def check_spaces(policy: GaussianMlpPolicy, found: HasSpaces, whose: str = "the policy") -> None:
    """Refuse spaces that the policy was not made for.

    Args:
        policy: the policy function.
        found: what has the spaces.
        whose: who needs other ones, in words.

    Raises:
        InputError: naming the space found and the policy's.
    """
    observations, actions = found.observation_space, found.action_space
    if not isinstance(observations, Box) or observations.shape != (policy.observation_size,):
        raise InputError(
            f"observation space {observations}: {whose} reads a Box of shape "
            f"({policy.observation_size},)"
        )
    low, high = np.array(policy.action_low), np.array(policy.action_high)
    if (
        not isinstance(actions, Box)
        or actions.shape != (policy.action_size,)
        or not np.allclose(actions.low, low)
        or not np.allclose(actions.high, high)
    ):
        raise InputError(
            f"action space {actions}: {whose} gives a Box of shape ({policy.action_size},) "
            f"from {low.tolist()} to {high.tolist()}"
        )


@torch.no_grad()
def collect_from_env(
    env: gymnasium.Env[Any, Any],
    policy: GaussianMlpPolicy,
    params: Mapping[str, Tensor],
    *,
    episodes: int,
    horizon: int,
    actions: Generator,
    reset_seed: int | None,
) -> Rollouts:
    """E episodes of one task (M = 1), with the action noise that `collect` would draw.

    Where resets and dynamics are the same, the rollouts are those of the batched path. `quantity`
    is NaN: an arbitrary environment has none. An episode is faulted if an observation or reward
    is not finite, or `info["fault"]` says so.

    Args:
        env: keeps its task over resets.
        policy: the policy function.
        params: per-task parameters with leading axis 1.
        episodes: E.
        horizon: T; an episode that goes on is cut there, as in meta-training.
        actions: source of action noise.
        reset_seed: given to the first reset (None: the environment goes on from where it is).
    """
    check_spaces(policy, env)
    E, T, A = episodes, horizon, policy.action_size
    dtype = params["log_std"].dtype
    observations = torch.zeros((1, E, T, policy.observation_size), dtype=dtype)
    outputs, rewards = torch.zeros((1, E, T, A), dtype=dtype), torch.zeros((1, E, T), dtype=dtype)
    valid, terminated, truncated = (torch.zeros((1, E, T), dtype=torch.bool) for _ in range(3))
    final, faulted = torch.zeros_like(observations[:, :, 0]), torch.zeros((1, E), dtype=torch.bool)
    noise = torch.randn((T, 1, E, A), generator=actions, dtype=dtype)
    std = policy.distribution(params, observations[:, 0, :1]).log_std.exp()[0]  # (1, A)

    for e in range(E):
        start, _ = env.reset(seed=reset_seed if e == 0 else None)
        observation = torch.as_tensor(start, dtype=dtype)
        for t in range(T):
            observations[0, e, t] = observation
            mean = policy.distribution(params, observation.view(1, 1, -1)).mean[0]
            output = mean + std * noise[t, :, e]
            outputs[0, e, t] = output[0]
            control = policy.controls(output)[0].numpy().astype(env.action_space.dtype)
            moved, given, ended, out_of_time, info = env.step(control)
            reward = _number(given)
            observation = torch.as_tensor(moved, dtype=dtype)
            finite = bool(torch.isfinite(observation).all()) and np.isfinite(reward)
            if not finite or info.get("fault", False):
                faulted[0, e] = True
                break
            rewards[0, e, t], valid[0, e, t] = reward, True
            terminated[0, e, t] = bool(ended)
            truncated[0, e, t] = bool(out_of_time) or t == T - 1
            final[0, e] = observation
            if ended or out_of_time:
                break

    valid &= ~faulted[..., None]
    offset = noise.permute(1, 2, 0, 3) * std
    log_std = std.log().expand_as(offset)
    return Rollouts(
        observations=observations,
        actions=outputs,
        log_probs=log_prob(Gaussian(torch.zeros_like(outputs), log_std), offset),
        rewards=rewards * valid,
        terminated=terminated,
        truncated=truncated,
        valid=valid,
        final_observations=final,
        quantity=torch.full((1, E), torch.nan, dtype=dtype),
        faulted=faulted,
    )


def _number(reward: Any) -> float:  # noqa: ANN401 - whatever an environment gives
    """A reward as a number.

    Raises:
        InputError: for anything else, such as one reward per world.
    """
    try:
        return float(reward)
    except (TypeError, ValueError):
        shown = " ".join(repr(reward).split())
        raise InputError(f"reward of the environment = {shown}: must be one number") from None
