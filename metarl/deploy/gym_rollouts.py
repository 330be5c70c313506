"""Episodes on one `gymnasium.Env`, such as a real robot's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space, Tuple
from gymnasium.wrappers import TimeLimit

from metarl.deploy.episode_in_progress import Actor, EpisodeInProgress
from metarl.deploy.episodes import Episode
from metarl.deploy.limits import Limits
from metarl.policies.base import Policy
from metarl_envs import InputError
from metarl_envs.gym_worlds.calls import AskedEnv


class HasSpaces(Protocol):
    """An environment, a vector of them, or a policy of Stable-Baselines3."""

    observation_space: Space[Any]
    action_space: Space[Any]


def check_spaces(policy: Policy, owner: HasSpaces, whose: str = "the policy") -> None:
    """Refuse spaces of `owner` that are not the policy's; `whose` they are, in words.

    Raises:
        InputError: naming both spaces.
    """
    observations, actions = owner.observation_space, owner.action_space
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


def check_env(policy: Policy, env: gymnasium.Env[Any, Any]) -> None:
    """Refuse anything but one environment with the policy's spaces.

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


def time_limit(env: gymnasium.Env[Any, Any], horizon: int) -> int:
    """Steps of an episode that nothing else ends: the horizon, or the environment's own limit."""
    limits = [horizon]
    if env.spec is not None and env.spec.max_episode_steps is not None:
        limits.append(env.spec.max_episode_steps)
    layer = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, TimeLimit):  # in a spec only if the wrapped environment has one
            limits.append(layer._max_episode_steps)
        layer = layer.env
    return min(limits)


def run_episode(
    env: gymnasium.Env[Any, Any],
    actor: Actor,
    horizon: int,
    limits: Limits,
    seed: int | None = None,
) -> Episode:
    """Step an environment from its reset to the episode's end, to a limit or to the horizon.

    Raises:
        UnsafeStartError: if the robot is unsafe before its first step.
        InputError: for an error of the environment, which is the cause, or a value in another form
            than Gymnasium's.
        SystemExit: the environment's own, as of a signal that ends the program.
    """
    asked = AskedEnv(env)
    space: Any = env.action_space  # a Box: `check_env`
    episode = EpisodeInProgress(actor, limits, space, horizon)
    with _exits_let_through():
        observation = asked.reset(seed)
    if not np.isfinite(observation).all():
        return episode.end(diverged=True)
    while True:
        action = episode.act(observation)
        with _exits_let_through():
            stepped = asked.step(action)
        observation = stepped.observation
        over = episode.observe(
            stepped.reward,
            observation,
            terminated=stepped.terminated,
            truncated=stepped.truncated,
            fault=bool(stepped.info.get("fault", False)),
        )
        if over is not None:
            return over


@contextmanager
def _exits_let_through() -> Iterator[None]:
    """Raise an environment's `SystemExit` itself, with its code, in place of the `InputError`."""
    try:
        yield
    except InputError as error:
        if isinstance(error.__cause__, SystemExit):
            raise error.__cause__ from None
        raise
