"""Worlds that are Gymnasium environments: several in one process, as rows of numbers.

A bundle of them is itself a `gymnasium.Env`, so that Gymnasium's own vector environments run
bundles side by side, in processes started afresh ("spawn").
"""

from __future__ import annotations

import copy
import os
import signal
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl_envs.errors import InputError
from metarl_envs.gym_worlds.calls import Stepped
from metarl_envs.gym_worlds.worlds import World
from metarl_envs.inputs.user_functions import described, where


@dataclass(frozen=True)
class Row:
    """The layout of a world's row of float64 numbers."""

    sizes: Mapping[str, int]

    def columns(self) -> dict[str, slice]:
        """The columns of each entry."""
        ends = np.cumsum(list(self.sizes.values())).tolist()
        return {
            name: slice(end - size, end)
            for (name, size), end in zip(self.sizes.items(), ends, strict=True)
        }

    @property
    def width(self) -> int:
        """Numbers in all."""
        return sum(self.sizes.values())


def in_worker(parent: int, make: Callable[[], Bundle]) -> Bundle:
    """A bundle, in a process that leaves stop signals to its parent.

    Ctrl-C, a closed terminal and schedulers send them to all processes of a command. The parent
    answers by finishing its iteration, for which it needs its workers. SIGTERM ends them as before:
    Gymnasium ends its workers by it.

    Args:
        parent: the number of the process that may make a bundle too, to ask for its spaces.
        make: makes the bundle.
    """
    if os.getpid() != parent:
        for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
            if name in signal.Signals.__members__:  # Windows has one of them
                signal.signal(signal.Signals[name], signal.SIG_IGN)
    return make()


class Bundle(gymnasium.Env[NDArray[np.float64], NDArray[np.float64]]):
    """`size` environments stepped one after the other.

    Observation: one `Row` per world, (size, width). Action: (size, A + 1), where the last number
    says whether the world moves (1) or stays as it is (0). Worlds are made at their first reset,
    so those that nobody uses cost nothing. What goes wrong with one is `info["failure"]`, an
    `InputError`: raised here, a vector environment would print it and lose its message.
    """

    def __init__(
        self,
        make: Callable[[], World],
        row: Row,
        infos: tuple[str, ...],
        size: int,
        action_size: int,
        index: int,
    ) -> None:
        """Takes note; nothing is made yet.

        Args:
            make: makes a world.
            row: what a world's row holds.
            infos: keys of `info` that belong to it.
            size: worlds.
            action_size: A.
            index: which bundle this is.
        """
        self._make = make
        self._columns, self._infos, self._index = row.columns(), infos, index
        self._worlds: list[World | None] = [None] * size
        self._fields: dict[str, NDArray[Any]] = {}
        self._failure: InputError | None = None
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
        try:
            for i, world in enumerate(self._worlds):
                if world is not None:
                    world.write(self._fields_of(i))
        except InputError as error:
            self._failure = error

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Reset the worlds to whose seed `options["seeds"][index]` gives a number >= 0."""
        del seed
        assert options is not None
        try:
            for i, own in enumerate(options["seeds"][self._index].tolist()):
                if own >= 0:
                    self._reset(i, own)
        except InputError as error:
            self._failure = error
        return self._rows.copy(), self._told()

    def step(
        self, action: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """One step of the worlds that move."""
        try:
            for i, world in enumerate(self._worlds):
                if world is not None and action[i, -1]:
                    self._note(i, world, world.step(action[i, :-1]))
        except InputError as error:
            self._failure = error
        return self._rows.copy(), 0.0, False, False, self._told()

    def copy_of_world(self, bundle: int, i: int) -> tuple[mujoco.MjModel, mujoco.MjData] | None:
        """Copies of what MuJoCo has of a world of mine; None of others, or before the reset."""
        world = self._worlds[i] if bundle == self._index else None
        simulation = None if world is None else world.simulation
        if simulation is None:
            return None
        return copy.copy(simulation.model), copy.copy(simulation.data)

    def picture_of_world(self, bundle: int, i: int) -> Any:  # noqa: ANN401 - whatever it draws
        """The picture that a world of this bundle draws, or the reason for none as a text.

        None of others, or before the reset.
        """
        world = self._worlds[i] if bundle == self._index else None
        if world is None:
            return None
        try:
            env = world.env
            return env.render() if env.render_mode == "rgb_array" else "it has no such mode"
        except Exception as error:  # third-party code may raise anything
            return f"{described(error)}{where(error)}"

    def close(self) -> None:
        """Close all worlds; one that cannot be closed only causes a warning, as no work is lost."""
        for world in self._worlds:
            if world is not None:
                try:
                    world.asked.close()
                except InputError as error:
                    warnings.warn(str(error), stacklevel=2)

    def _fields_of(self, i: int) -> dict[str, NDArray[Any]]:
        return {name: value[i] for name, value in self._fields.items()}

    def _told(self) -> dict[str, Any]:
        return {} if self._failure is None else {"failure": self._failure}

    def _reset(self, i: int, seed: int) -> None:
        world = self._worlds[i]
        if world is None:
            world = self._make()
            self._check_apart(world)
            self._worlds[i] = world
            world.write(self._fields_of(i))
        self._rows[i] = 0.0
        for key in self._infos:
            self._rows[i, self._columns[key]] = np.nan  # there are none before the first step
        self._observe(i, world, world.reset(seed))

    def _check_apart(self, new: World) -> None:
        """Refuse environments that share a model: each has its own task."""
        held = [new, *(world for world in self._worlds if world is not None)]
        models = [world.simulation.model._address for world in held if world.simulation is not None]
        if len(set(models)) < len(models):
            raise InputError(
                f"environment {new.name}: two of them step one and the same MjModel, so they "
                "cannot be in different tasks: each has to make a model of its own, or a "
                "copy.copy of it"
            )

    def _note(self, i: int, world: World, stepped: Stepped) -> None:
        row, at = self._rows[i], self._columns
        row[at["reward"]] = stepped.reward
        row[at["terminated"]], row[at["truncated"]] = stepped.terminated, stepped.truncated
        for key, value in zip(self._infos, world.asked.infos(stepped, self._infos), strict=True):
            row[at[key]] = value
        self._observe(i, world, stepped.observation)

    def _observe(self, i: int, world: World, observation: NDArray[np.float64]) -> None:
        self._put(i, world, "observation", observation.reshape(-1))
        if "qpos" in self._columns and world.simulation is not None:
            data = world.simulation.data
            self._put(i, world, "qpos", data.qpos)
            self._put(i, world, "qvel", data.qvel)
            # All kinds at once: objects of the single ones take 80 times as long.
            self._rows[i, self._columns["faults"]] = data.warning.number.sum()

    def _put(self, i: int, world: World, name: str, value: NDArray[np.float64]) -> None:
        place = self._rows[i, self._columns[name]]
        if value.shape != place.shape:
            raise InputError(
                f"environment {world.name}: {name} has {value.size} numbers in this episode, and "
                f"had {place.size} when the robot was made: it must keep its size"
            )
        place[:] = value
