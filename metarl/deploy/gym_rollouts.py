"""Episodes and adaptation on one `gymnasium.Env`, such as a real robot's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space, Tuple
from numpy.typing import NDArray

from metarl.deploy.adapt import AdaptedOnRobot, RobotAdaptation
from metarl.deploy.collected import Exploration
from metarl.deploy.episode_so_far import EpisodeSoFar
from metarl.deploy.episodes import Episode, EpisodeRecord
from metarl.deploy.limits import Limits
from metarl.deploy.stops import time_limit
from metarl.policies.base import Policy
from metarl.runs.policy_folder import SavedPolicy
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


def explored(
    env: gymnasium.Env[Any, Any], exploration: Exploration, limits: Limits, seed: int | None
) -> Episode:
    """An episode with action noise: `run_episode`, with the policy's outputs.

    Raises:
        UnsafeStartError, InputError: as `run_episode`.
    """
    episode = run_episode(env, exploration, exploration.horizon, limits, seed)
    return exploration.with_outputs(episode)


def adapt_on_env(
    saved: SavedPolicy,
    env: gymnasium.Env[Any, Any],
    *,
    episodes: int,
    steps: int | None,
    seed: int,
    limits: Limits,
    on_episode: Callable[[EpisodeRecord], object] | None = None,
) -> AdaptedOnRobot:
    """Collect, step, collect again, one episode at a time.

    Args:
        saved: the policy to start from.
        env: keeps its task over resets.
        episodes: per gradient step, >= 1; with a check >= 2.
        steps: gradient steps, >= 1; None: as many as the policy was trained for.
        seed: fixes the action noise, and is given to the environment's first reset.
        limits: in force in all episodes.
        on_episode: called with every episode; an error of it ends the adaptation like one of `env`.

    Raises:
        InputError: for other spaces, sizes that are too small, or limits that do not fit the
            action space; for the environment's own error, which is its cause, before the first
            whole episode that did not diverge.
        AdaptationNotFiniteError: if a step is not finite.
    """
    check_env(saved.policy, env)
    adapting = RobotAdaptation(
        saved,
        episodes=episodes,
        steps=steps,
        seed=seed,
        limits=limits,
        max_steps=time_limit(env, saved.config.horizon),
        on_episode=on_episode,
    )
    while not adapting.finished:
        reset_seed = None if adapting.gathered else seed
        try:
            adapting.append(explored(env, adapting.explore(), limits, reset_seed))
        except BaseException as error:
            adapting.cut_short(error)
        adapting.learn()
    return adapting.result()
