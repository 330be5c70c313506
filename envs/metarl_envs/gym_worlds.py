"""Worlds that are Gymnasium environments: several in one process, as rows of numbers.

A bundle of them is itself a `gymnasium.Env`, so that Gymnasium's own vector environments run
bundles side by side, in processes started afresh ("spawn").
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl_envs.numbers import tensor

ATTRIBUTE, OPTION = "attribute.", "opt."
"""Beginnings of varied fields that are attributes of the environment, or of its model's options."""


@dataclass(frozen=True)
class Row:
    """What a world's row of float64 numbers holds, in this order."""

    sizes: Mapping[str, int]

    def columns(self) -> dict[str, slice]:
        """Where each entry is."""
        ends = np.cumsum(list(self.sizes.values())).tolist()
        return {
            name: slice(end - size, end)
            for (name, size), end in zip(self.sizes.items(), ends, strict=True)
        }

    @property
    def width(self) -> int:
        """Numbers in all."""
        return sum(self.sizes.values())


def make_world(env_id: str, kwargs: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """The environment without a time limit: the horizon is the family's."""
    return gymnasium.make(env_id, max_episode_steps=-1, disable_env_checker=True, **kwargs)


def model_of(env: gymnasium.Env[Any, Any]) -> mujoco.MjModel | None:
    """The model of a MuJoCo environment, live; None of any other."""
    from gymnasium.envs.mujoco.mujoco_env import MujocoEnv  # brings an image library with it

    return env.unwrapped.model if isinstance(env.unwrapped, MujocoEnv) else None


def read_field(env: gymnasium.Env[Any, Any], name: str) -> NDArray[np.float64]:
    """A varied field's present value: a copy."""
    owner, field = _owner(env, name)
    return tensor(field, getattr(owner, field)).numpy()


def write_fields(env: gymnasium.Env[Any, Any], fields: Mapping[str, NDArray[Any]]) -> None:
    """Set varied fields; constants that MuJoCo derives from them are refreshed."""
    for name, value in fields.items():
        owner, field = _owner(env, name)
        if name.startswith(ATTRIBUTE):
            setattr(owner, field, float(value))
        else:
            getattr(owner, field)[...] = value
    model = model_of(env)
    if model is not None:
        mujoco.mj_setConst(model, mujoco.MjData(model))


def _owner(env: gymnasium.Env[Any, Any], name: str) -> tuple[Any, str]:
    if name.startswith(ATTRIBUTE):
        return env.unwrapped, name.removeprefix(ATTRIBUTE)
    model: Any = model_of(env)
    return (model.opt, name.removeprefix(OPTION)) if name.startswith(OPTION) else (model, name)


class Bundle(gymnasium.Env[NDArray[np.float64], NDArray[np.float64]]):
    """`size` environments stepped one after the other.

    Observation: one `Row` per world, (size, width). Action: (size, A + 1), where the last number
    says whether the world moves (1) or stays as it is (0). Worlds are made at their first reset,
    so those that nobody uses cost nothing.
    """

    def __init__(
        self,
        env_id: str,
        kwargs: Mapping[str, Any],
        row: Row,
        infos: tuple[str, ...],
        size: int,
        action_size: int,
        index: int,
    ) -> None:
        """Takes note; nothing is made yet.

        Args:
            env_id: Gymnasium's id.
            kwargs: for `gymnasium.make`.
            row: what a world's row holds.
            infos: keys of `info` that belong to it.
            size: worlds.
            action_size: A.
            index: which bundle this is.
        """
        self._make: Callable[[], gymnasium.Env[Any, Any]] = functools.partial(
            make_world, env_id, dict(kwargs)
        )
        self._columns, self._infos, self._index = row.columns(), infos, index
        self._worlds: list[gymnasium.Env[Any, Any] | None] = [None] * size
        self._fields: dict[str, NDArray[Any]] = {}
        self._rows = np.zeros((size, row.width))
        self.observation_space = Box(-np.inf, np.inf, self._rows.shape, np.float64)
        self.action_space = Box(-np.inf, np.inf, (size, action_size + 1), np.float64)

    @property
    def fields(self) -> dict[str, NDArray[Any]]:
        """Varied fields, each (size, ...)."""
        return self._fields

    @fields.setter
    def fields(self, fields: dict[str, NDArray[Any]]) -> None:
        self._fields = fields
        for i, world in enumerate(self._worlds):
            if world is not None:
                write_fields(world, {name: value[i] for name, value in fields.items()})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Reset the worlds to whose seed `options["seeds"][index]` gives a number >= 0."""
        del seed
        assert options is not None
        for i, own in enumerate(options["seeds"][self._index].tolist()):
            if own >= 0:
                world = self._worlds[i]
                if world is None:
                    world = self._worlds[i] = self._make()
                    write_fields(world, {name: value[i] for name, value in self._fields.items()})
                observation, _ = world.reset(seed=int(own))
                self._write(i, world, observation, 0.0, False, False, {})
        return self._rows.copy(), {}

    def step(
        self, action: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """One step of the worlds that move."""
        for i, world in enumerate(self._worlds):
            if world is not None and action[i, -1]:
                space = world.action_space
                control = action[i, :-1].reshape(space.shape).astype(space.dtype)
                observation, reward, terminated, truncated, info = world.step(control)
                self._write(i, world, observation, float(reward), terminated, truncated, info)
        return self._rows.copy(), 0.0, False, False, {}

    def copy_of_world(self, bundle: int, i: int) -> tuple[mujoco.MjModel, mujoco.MjData] | None:
        """Copies of what MuJoCo has of a world of mine; None of others, or before the reset."""
        world = self._worlds[i] if bundle == self._index else None
        model = None if world is None else model_of(world)
        if world is None or model is None:
            return None
        return copy.copy(model), copy.copy(world.unwrapped.data)  # pyright: ignore[reportAttributeAccessIssue]

    def picture_of_world(self, bundle: int, i: int) -> Any:  # noqa: ANN401 - whatever it draws
        """What a world of mine draws of itself, or why it does not as a text.

        None of others, or before the reset.
        """
        world = self._worlds[i] if bundle == self._index else None
        if world is None:
            return None
        try:
            return world.render() if world.render_mode == "rgb_array" else "it has no such mode"
        except Exception as error:  # somebody's own code may raise anything
            return f"{type(error).__name__}: {error}"

    def close(self) -> None:
        """Close all worlds."""
        for world in self._worlds:
            if world is not None:
                world.close()

    def _write(
        self,
        i: int,
        world: gymnasium.Env[Any, Any],
        observation: NDArray[Any],
        reward: float,
        terminated: bool,
        truncated: bool,
        info: Mapping[str, Any],
    ) -> None:
        row, at = self._rows[i], self._columns
        row[at["observation"]] = np.asarray(observation, dtype=np.float64).reshape(-1)
        row[at["reward"]] = reward
        row[at["terminated"]], row[at["truncated"]] = terminated, truncated
        for key in self._infos:
            row[at[key]] = float(info.get(key, np.nan))
        if "qpos" in at:
            data: Any = getattr(world.unwrapped, "data")  # noqa: B009 - of a MujocoEnv
            row[at["qpos"]], row[at["qvel"]] = data.qpos, data.qvel
            row[at["faults"]] = sum(warning.number for warning in data.warning)
