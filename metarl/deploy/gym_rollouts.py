"""Rollouts from one `gymnasium.Env`, such as a real robot's: one world, one episode at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Space, Tuple
from numpy.typing import NDArray
from torch import Generator, Tensor

from metarl.deploy.limits import Limits
from metarl.policies import Gaussian, GaussianMlpPolicy, log_prob
from metarl.rollouts import Rollouts
from metarl_envs import InputError
from metarl_envs.gym_calls import AskedEnv

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
        flat = isinstance(observations, Dict | Tuple)
        raise InputError(
            f"observation space {observations}: {whose} reads a Box of shape "
            f"({policy.observation_size},)"
            f"{', such as gymnasium.wrappers.FlattenObservation makes' if flat else ''}"
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


def check_env(policy: GaussianMlpPolicy, env: gymnasium.Env[Any, Any]) -> None:
    """Refuse what is not one environment with the policy's spaces.

    Raises:
        InputError: for a vector of environments, an environment of the old Gym, or other spaces.
    """
    if not isinstance(env, gymnasium.Env):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"env is of type {type(env).__name__}: must be one gymnasium.Env; of a vector "
            "environment give one of those in it (vec.envs[0]), of anything else a subclass of "
            "gymnasium.Env around it"
        )
    check_spaces(policy, env)


@dataclass(frozen=True)
class Episode:
    """One episode as it was met, of L steps before anything went wrong."""

    observations: list[NDArray[np.float64]]  # L + 1 of (O,); none if the first was not finite
    rewards: list[float]  # L
    terminated: bool
    faulted: bool
    """An observation or reward was not finite, or the environment said so in `info["fault"]`."""
    stopped: bool
    """By a limit; the rewards are what was earned until then."""


class UnsafeStartError(InputError):
    """A robot that `Limits.unsafe` calls unsafe before its first step."""


@dataclass(frozen=True)
class Collected:
    """Episodes of one task as they were met."""

    rollouts: Rollouts  # M = 1, rewards as earned
    stopped: tuple[bool, ...]  # (E,) by a limit
    error: BaseException | None = None
    """What ended the collection before its last episode; it holds those that were whole."""

    @property
    def usable(self) -> int:
        """How many episodes did not diverge."""
        return int((~self.rollouts.faulted).sum())

    def earned(self) -> list[NDArray[np.float64]]:
        """Rewards of each episode, (L,); none of one that diverged."""
        rewards, valid = self.rollouts.rewards[0].double(), self.rollouts.valid[0]
        return [rewards[e, valid[e]].numpy() for e in range(len(rewards))]

    def counted(self, costs: NDArray[np.float64]) -> Rollouts:
        """The rollouts with `stop_costs`, (E,), added to the last rewards of the episodes."""
        rewards = self.rollouts.rewards.clone()
        last = (self.rollouts.valid.sum(-1) - 1).clamp(min=0).unsqueeze(-1)
        added = torch.as_tensor(costs, dtype=rewards.dtype).view(last.shape)
        rewards.scatter_add_(-1, last, added)
        return replace(self.rollouts, rewards=rewards)

    def bad_share(self) -> float:
        """Share of the episodes that were stopped or diverged."""
        bad = self.rollouts.faulted | torch.tensor([self.stopped], dtype=torch.bool)
        return float(bad.double().mean())

    def describe(self) -> dict[str, Any]:
        """What was earned, steps survived, and bad ends, as JSON values."""
        faulted = self.rollouts.faulted[0]
        return {
            "episodes": len(faulted),
            "return": float(self.rollouts.task_returns()),
            "steps": float(self.rollouts.valid[0, ~faulted].sum(-1).double().mean()),
            "stopped": sum(self.stopped),
            "diverged": int(faulted.sum()),
        }


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
        UnsafeStartError: if the robot is unsafe before its first step.
        InputError: for what the environment raises, or gives in another form than Gymnasium's;
            the error itself is its cause.
    """
    asked = AskedEnv(env)
    space: Any = env.action_space  # a Box: `check_spaces`
    observation = asked.reset(seed)
    observations: list[NDArray[np.float64]] = []
    rewards: list[float] = []

    def ended(*, terminated: bool = False, faulted: bool = False, stopped: bool = False) -> Episode:
        return Episode(observations, rewards, terminated, faulted, stopped)

    if not np.isfinite(observation).all():
        return ended(faulted=True)
    if limits.is_unsafe(observation):
        raise UnsafeStartError(
            "limits.unsafe: the robot is unsafe before its first step; bring it to a safe start"
        )
    observations.append(observation)
    for t in range(horizon):
        action = np.clip(control(t, observation), space.low, space.high)  # rounding is outside
        stepped = asked.step(action.astype(space.dtype))
        observation, reward = stepped.observation, stepped.reward
        finite = bool(np.isfinite(observation).all()) and math.isfinite(reward)
        if not finite or stepped.info.get("fault", False):
            return ended(faulted=True)
        observations.append(observation)
        rewards.append(reward)
        if stepped.terminated:
            return ended(terminated=True)
        low = limits.min_return is not None and sum(rewards) < limits.min_return
        if low or limits.is_unsafe(observation):
            return ended(stopped=True)
        if stepped.truncated:
            break
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
) -> Collected:
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
        The episodes. An error of the environment, an unsafe start and Ctrl-C end the collection:
        what was gathered on hardware is not thrown away for what came after it.

    Raises:
        InputError: for other spaces.
    """
    check_env(policy, env)
    E, T, A = episodes, horizon, policy.action_size
    dtype = params["log_std"].dtype
    observations = torch.zeros((1, E, T, policy.observation_size), dtype=dtype)
    outputs, rewards = torch.zeros((1, E, T, A), dtype=dtype), torch.zeros((1, E, T), dtype=dtype)
    valid, terminated, truncated = (torch.zeros((1, E, T), dtype=torch.bool) for _ in range(3))
    final, faulted = torch.zeros_like(observations[:, :, 0]), torch.zeros((1, E), dtype=torch.bool)
    noise = torch.randn((T, 1, E, A), generator=actions, dtype=dtype)
    std = policy.log_std(params).exp()[0]  # (1, A)
    stopped: list[bool] = []
    error: BaseException | None = None

    for e in range(E):

        def control(t: int, observation: NDArray[np.float64], e: int = e) -> NDArray[np.float32]:
            seen = torch.as_tensor(observation, dtype=dtype)
            mean = policy.mean(params, seen.view(1, 1, -1))[0]
            outputs[0, e, t] = (mean + std * noise[t, :, e])[0]
            return policy.controls(outputs[0, e, t]).numpy()

        seed = reset_seed if e == 0 else None
        try:
            episode = run_episode(env, control, T, limits, seed)
        except (Exception, KeyboardInterrupt) as raised:
            error = raised
            break
        stopped.append(episode.stopped)
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
    return Collected(rollouts.first_episodes(len(stopped)), tuple(stopped), error)
