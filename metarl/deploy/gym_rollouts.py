"""Rollouts from one `gymnasium.Env`, such as a real robot's: one world, one episode at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space, Tuple
from numpy.typing import NDArray
from torch import Generator, Tensor

from metarl.deploy.collected import Collected, Exploration, collected
from metarl.deploy.episode_so_far import EpisodeSoFar
from metarl.deploy.episodes import Episode
from metarl.deploy.limits import NO_LIMITS, Limits
from metarl.policies.base import Policy
from metarl_envs import InputError
from metarl_envs.gym_worlds.calls import AskedEnv


class HasSpaces(Protocol):
    """An environment, a vector of them, or a policy of Stable-Baselines3."""

    observation_space: Space[Any]
    action_space: Space[Any]


class Actor(Protocol):
    """Whoever drives one robot: in turn `act` and `observe`."""

    def act(self, observation: NDArray[np.float64]) -> NDArray[np.float32]:
        """The action to send: (O,) -> (A,)."""
        ...

    def observe(
        self, reward: float, observation: NDArray[np.float64], terminated: bool, truncated: bool
    ) -> None:
        """Take what it led to."""
        ...


def check_spaces(policy: Policy, found: HasSpaces, whose: str = "the policy") -> None:
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


def check_env(policy: Policy, env: gymnasium.Env[Any, Any]) -> None:
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


def run_episode(
    env: gymnasium.Env[Any, Any],
    actor: Actor,
    horizon: int,
    limits: Limits,
    seed: int | None = None,
) -> Episode:
    """Step an environment from its reset to the episode's end, to a limit or to the horizon.

    Args:
        env: with a Box of actions.
        actor: who acts, at the start of an episode.
        horizon: T.
        limits: when to stop.
        seed: given to the reset.

    Raises:
        UnsafeStartError: if the robot is unsafe before its first step.
        InputError: for what the environment raises, or gives in another form than Gymnasium's;
            the error itself is its cause.
        SystemExit: the environment's own, as of a signal that ends the program.
    """
    asked = AskedEnv(env)
    space: Any = env.action_space  # a Box: `check_env`
    met = EpisodeSoFar(limits)
    with exits_let_through():
        observation = asked.reset(seed)
    if not np.isfinite(observation).all():
        return met.episode(diverged=True)
    met.begin(observation)
    for t in range(horizon):
        action = np.clip(actor.act(observation), space.low, space.high)  # rounding is outside
        action = action.astype(space.dtype)
        with exits_let_through():
            stepped = asked.step(action)
        observation = stepped.observation
        truncated = stepped.truncated or t + 1 == horizon
        actor.observe(stepped.reward, observation, stepped.terminated, truncated)
        over = met.add(
            action,
            stepped.reward,
            observation,
            terminated=stepped.terminated,
            truncated=stepped.truncated,
            fault=bool(stepped.info.get("fault", False)),
        )
        if over is not None:
            return over
    return met.episode(truncated=True)


@contextmanager
def exits_let_through() -> Iterator[None]:
    """Raise an environment's `SystemExit` itself, with its code, where an error told of it."""
    try:
        yield
    except InputError as error:
        if isinstance(error.__cause__, SystemExit):
            raise error.__cause__ from None
        raise


def collect_from_env(
    env: gymnasium.Env[Any, Any],
    policy: Policy,
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
    episode = run_episode(env, exploration, exploration.horizon, limits, seed)
    return exploration.with_outputs(episode)
