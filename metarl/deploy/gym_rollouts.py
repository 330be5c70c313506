"""Rollouts from one `gymnasium.Env`, such as a real robot's: one world, one episode at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray
from torch import Generator, Tensor

from metarl.deploy.collected import Collected, Exploration, collected
from metarl.deploy.episode_so_far import EpisodeSoFar
from metarl.deploy.episodes import Episode
from metarl.deploy.limits import NO_LIMITS, Limits
from metarl.policies import GaussianMlpPolicy
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
        InputError: for an observation or a reward of another form.
    """
    space: Any = env.action_space  # a Box: `check_spaces`
    met = EpisodeSoFar(limits)
    observation = _observation(env.reset(seed=seed)[0], env)
    if not np.isfinite(observation).all():
        return met.episode(diverged=True)
    met.begin(observation)
    for t in range(horizon):
        action = np.clip(control(t, observation), space.low, space.high)  # rounding is outside
        action = action.astype(space.dtype)
        moved, given, terminated, truncated, info = env.step(action)
        observation, reward = _observation(moved, env), _number(given)
        over = met.add(
            action,
            reward,
            observation,
            terminated=bool(terminated),
            truncated=bool(truncated),
            fault=bool(info.get("fault", False)),
        )
        if over is not None:
            return over
    return met.episode(truncated=True)


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
    check_spaces(policy, env)
    exploration = Exploration(policy, params, episodes, horizon, actions)
    met: list[Episode] = []
    error: BaseException | None = None
    for e in range(episodes):
        exploration.start(e)
        try:
            met.append(explored(env, exploration, limits, reset_seed if e == 0 else None))
        except BaseException as raised:
            error = raised
            break
    return collected(policy, params, met, horizon, error)


def explored(
    env: gymnasium.Env[Any, Any], exploration: Exploration, limits: Limits, seed: int | None
) -> Episode:
    """An episode with action noise: `run_episode`, with the policy's outputs.

    Raises:
        UnsafeStartError, InputError: as `run_episode`.
    """
    episode = run_episode(
        env, lambda _, seen: exploration.act(seen), exploration.horizon, limits, seed
    )
    return exploration.with_outputs(episode)


def plain_array(given: Any) -> NDArray[Any]:  # noqa: ANN401 - whatever an environment gives
    """The value as NumPy has it, whatever its type; of a tensor without its gradient."""
    return given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)


def _number(reward: Any) -> float:  # noqa: ANN401 - whatever an environment gives
    """A reward as a number, finite or not.

    Raises:
        InputError: for anything else, such as one reward per world.
    """
    found = plain_array(reward)
    if found.dtype.kind not in "biuf" or found.size != 1:
        shown = " ".join(repr(reward).split())
        raise InputError(f"reward of the environment = {shown}: must be one number")
    return float(found.reshape(()))


def _observation(given: Any, env: gymnasium.Env[Any, Any]) -> NDArray[np.float64]:  # noqa: ANN401
    """An observation in double precision, finite or not: (O,).

    Raises:
        InputError: for another shape than the environment's space, or no numbers.
    """
    found = plain_array(given)
    if found.dtype.kind not in "biuf" or found.shape != env.observation_space.shape:
        shown = " ".join(repr(given).split())[:60]
        raise InputError(
            f"observation of the environment = {shown}: must be numbers of shape "
            f"{env.observation_space.shape}, as its observation space says"
        )
    return found.astype(np.float64)
