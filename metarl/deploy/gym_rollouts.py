"""Rollouts from one `gymnasium.Env`, such as a real robot's: one world, one episode at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray
from torch import Generator, Tensor

from metarl.deploy.limits import Limits
from metarl.policies import Gaussian, GaussianMlpPolicy, log_prob
from metarl.rollouts import Rollouts
from metarl_envs import InputError

NO_LIMITS = Limits()


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


@dataclass(frozen=True)
class Episode:
    """One episode as it was met, of L steps before anything went wrong."""

    observations: list[NDArray[np.float64]]  # L + 1 of (O,); none if the first was not finite
    rewards: list[float]  # L
    terminated: bool
    faulted: bool
    """An observation or reward was not finite, or the environment said so in `info["fault"]`."""
    stopped: bool
    """By a limit; the last reward then counts for the rest of the horizon."""


def run_episode(
    env: gymnasium.Env[Any, Any],
    control: Callable[[int, NDArray[np.float64]], NDArray[np.float32]],
    horizon: int,
    limits: Limits,
    seed: int | None = None,
) -> Episode:
    """Step an environment from its reset to the episode's end, to a limit or to the horizon.

    Args:
        env: with a Box of actions.
        control: step and observation (O,) to the action (A,) that is sent.
        horizon: T.
        limits: when to stop.
        seed: given to the reset.

    Raises:
        InputError: if the robot is unsafe before its first step.
    """
    space: Any = env.action_space  # a Box: `check_spaces`
    observation = np.asarray(env.reset(seed=seed)[0], dtype=np.float64)
    observations: list[NDArray[np.float64]] = []
    rewards: list[float] = []

    def ended(*, terminated: bool = False, faulted: bool = False, stopped: bool = False) -> Episode:
        return Episode(observations, rewards, terminated, faulted, stopped)

    if not np.isfinite(observation).all():
        return ended(faulted=True)
    if limits.unsafe is not None and limits.unsafe(observation):
        raise InputError(
            "limits.unsafe: the robot is unsafe before its first step; bring it to a safe start"
        )
    observations.append(observation)
    for t in range(horizon):
        action = np.clip(control(t, observation), space.low, space.high)  # rounding is outside
        moved, given, terminated, truncated, info = env.step(action.astype(space.dtype))
        observation, reward = np.asarray(moved, dtype=np.float64), _number(given)
        finite = bool(np.isfinite(observation).all()) and math.isfinite(reward)
        if not finite or info.get("fault", False):
            return ended(faulted=True)
        observations.append(observation)
        rewards.append(reward)
        if terminated or truncated:
            return ended(terminated=bool(terminated))
        low = limits.min_return is not None and sum(rewards) < limits.min_return
        if low or (limits.unsafe is not None and limits.unsafe(observation)):
            rewards[-1] += min(rewards) * (horizon - t - 1)
            return ended(stopped=True)
    return ended()


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
    limits: Limits = NO_LIMITS,
) -> tuple[Rollouts, int]:
    """E episodes of one task (M = 1), with the action noise that `collect` would draw.

    Where resets and dynamics are the same, the rollouts are those of the batched path. `quantity`
    is NaN: an arbitrary environment has none.

    Args:
        env: keeps its task over resets.
        policy: the policy function.
        params: per-task parameters with leading axis 1.
        episodes: E.
        horizon: T; an episode that goes on is cut there, as in meta-training.
        actions: source of action noise.
        reset_seed: given to the first reset (None: the environment goes on from where it is).
        limits: when an episode is stopped; the controls' bounds are the policy's.

    Returns:
        The rollouts, and how many episodes a limit stopped.
    """
    check_spaces(policy, env)
    E, T, A = episodes, horizon, policy.action_size
    dtype = params["log_std"].dtype
    observations = torch.zeros((1, E, T, policy.observation_size), dtype=dtype)
    outputs, rewards = torch.zeros((1, E, T, A), dtype=dtype), torch.zeros((1, E, T), dtype=dtype)
    valid, terminated, truncated = (torch.zeros((1, E, T), dtype=torch.bool) for _ in range(3))
    final, faulted = torch.zeros_like(observations[:, :, 0]), torch.zeros((1, E), dtype=torch.bool)
    noise = torch.randn((T, 1, E, A), generator=actions, dtype=dtype)
    std = policy.log_std(params).exp()[0]  # (1, A)
    stopped = 0

    for e in range(E):

        def control(t: int, observation: NDArray[np.float64], e: int = e) -> NDArray[np.float32]:
            seen = torch.as_tensor(observation, dtype=dtype)
            mean = policy.mean(params, seen.view(1, 1, -1))[0]
            outputs[0, e, t] = (mean + std * noise[t, :, e])[0]
            return policy.controls(outputs[0, e, t]).numpy()

        seed = reset_seed if e == 0 else None
        episode = run_episode(env, control, T, limits, seed)
        stopped += episode.stopped
        faulted[0, e] = episode.faulted
        if episode.faulted or not episode.rewards:
            continue
        length = len(episode.rewards)
        seen = torch.as_tensor(np.stack(episode.observations), dtype=dtype)
        observations[0, e, :length], final[0, e] = seen[:-1], seen[-1]
        rewards[0, e, :length] = torch.tensor(episode.rewards, dtype=dtype)
        valid[0, e, :length] = True
        terminated[0, e, length - 1] = episode.terminated
        truncated[0, e, length - 1] = not episode.terminated

    offset = noise.permute(1, 2, 0, 3) * std
    log_std = std.log().expand_as(offset)
    rollouts = Rollouts(
        observations=observations,
        actions=outputs,
        log_probs=log_prob(Gaussian(torch.zeros_like(outputs), log_std), offset),
        rewards=rewards,
        terminated=terminated,
        truncated=truncated,
        valid=valid,
        final_observations=final,
        quantity=torch.full((1, E), torch.nan, dtype=dtype),
        faulted=faulted,
    )
    return rollouts, stopped


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
