"""Worlds that are Gymnasium environments: several in one process, as rows of numbers.

A bundle of them is itself a `gymnasium.Env`, so that Gymnasium's own vector environments run
bundles side by side, in processes started afresh ("spawn").
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl_envs.errors import InputError
from metarl_envs.gym_calls import OWN, AskedEnv, Stepped, ask
from metarl_envs.gym_mujoco import Simulation, simulation_at
from metarl_envs.numbers import is_number, tensor
from metarl_envs.own_file import OwnFile

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


@dataclass(frozen=True)
class Source:
    """How an environment is made, in this process or in a worker that knows nothing of it."""

    env_id: str
    kwargs: Mapping[str, Any]
    file: OwnFile | None = None
    """A person's own file that was being run when the robot was made: it may register the id."""
    module: str = ""
    """Where its class is, which may register the id as well."""
    data: str = ""
    """Where it keeps its `mujoco.MjData`; "": it has none."""

    def make(self) -> World:
        """The environment without a time limit: the horizon is the family's.

        Raises:
            InputError: for whatever keeps it from being made.
        """
        module, _, own_id = self.env_id.rpartition(":")
        if module:
            call = f"environment {self.env_id}: importing {module}"
            ask(call, "it must be installed, and register the id", importlib.import_module, module)
        known = f"gymnasium.make({self.env_id!r}, ...) must work with these arguments"
        unknown = (
            "gymnasium.pprint_registry() lists the ids that are known; import what registers it, "
            f"or name that module: 'module:{own_id}'"
        )
        env = ask(
            f"environment {self.env_id}: making it",
            known if own_id in gymnasium.registry else unknown,
            gymnasium.make,
            own_id,
            max_episode_steps=-1,
            disable_env_checker=True,
            **self.kwargs,
        )
        return World(env, self)

    def make_elsewhere(self) -> World:
        """`make` in a worker process, where only what was imported anew is registered.

        Raises:
            InputError: see `make`; also for an id that this process cannot know.
        """
        if self.file is not None:
            if not self.file.has_run():
                self.file.run()
        elif self.env_id not in gymnasium.registry and self.module not in ("", "__main__"):
            ask(f"environment {self.env_id}: making it", OWN, importlib.import_module, self.module)
        if ":" not in self.env_id and self.env_id not in gymnasium.registry:
            raise InputError(
                f"environment {self.env_id} is not registered in worker processes: register it at "
                "the top of a file, outside of `if __name__ == '__main__':`, or name the module "
                f"that does, 'module:{self.env_id}'; sim_threads = 1 needs no workers"
            )
        return self.make()


@contextmanager
def opened(source: Source) -> Iterator[World]:
    """A fresh environment, unmodified, for as long as it is needed.

    Raises:
        InputError: see `Source.make`, and for one that cannot be closed.
    """
    world = source.make()
    try:
        yield world
    except BaseException:
        with suppress(InputError):  # the first error is the one to tell
            world.close()
        raise
    world.close()


class World:
    """One environment and the varied fields that it has."""

    def __init__(self, env: gymnasium.Env[Any, Any], source: Source) -> None:
        """Takes a fresh environment, unmodified."""
        self.env, self._source = env, source
        self._asked = AskedEnv(env, source.env_id)
        self._simulation = simulation_at(env, source.data) if source.data else None
        self._fields: Mapping[str, NDArray[Any]] = {}

    @property
    def simulation(self) -> Simulation | None:
        """What MuJoCo steps, live; None of an environment without MuJoCo.

        One that builds it at its reset is reset first.
        """
        if self._simulation is None and self._source.data:
            self.reset(0)
        return self._simulation

    def reset(self, seed: int) -> NDArray[np.float64]:
        """The first observation.

        An environment may build its model anew at the reset, or set an attribute anew: the varied
        fields get their values again after it. The first observation is then from before that.
        """
        observation = self._asked.reset(seed)
        if self._source.data:
            self._simulation = simulation_at(self.env, self._source.data)
        if self._simulation is not None:
            for warning in self._simulation.data.warning:
                warning.number = 0  # those of the episode before are not those of this one
        if any(not np.array_equal(self.read(name), own) for name, own in self._fields.items()):
            self.write(self._fields)
        return observation

    def step(self, action: NDArray[Any]) -> Stepped:
        """One step."""
        return self._asked.step(action)

    @property
    def name(self) -> str:
        """Its id."""
        return self._source.env_id

    def infos(self, stepped: Stepped, keys: tuple[str, ...]) -> list[float]:
        """Numbers of a step's info."""
        return self._asked.infos(stepped, keys)

    def close(self) -> None:
        """Close the environment."""
        self._asked.close()

    def numbers(self) -> list[str]:
        """Names of the attributes that are numbers."""
        env = self.env.unwrapped
        held = [name for cls in type(env).__mro__ for name in vars(cls)] + list(vars(env))
        return [
            name
            for name in dict.fromkeys(held)
            if is_number(inspect.getattr_static(env, name))  # without running its properties
        ]

    def read(self, name: str) -> NDArray[np.float64]:
        """A varied field's present value: a copy."""
        return tensor(name, self._ask("reading", name, getattr)).numpy()

    def write(self, fields: Mapping[str, NDArray[Any]]) -> None:
        """Set varied fields; constants that MuJoCo derives from them are refreshed.

        Raises:
            InputError: for a field that is not there any more, or has another size.
        """
        self._fields = fields
        for name, value in fields.items():
            if name.startswith(ATTRIBUTE):
                self._ask("setting", name, setattr, float(value))
            else:
                self._ask("setting", name, _fill, value)
        if self.simulation is not None and not all(name.startswith(ATTRIBUTE) for name in fields):
            mujoco.mj_setConst(self.simulation.model, mujoco.MjData(self.simulation.model))

    def _ask(self, doing: str, name: str, function: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
        owner, field = self._owner(name)
        call = f"environment {self._source.env_id}: {doing} {field}"
        return ask(
            call, "it must keep it, and its size, over resets", function, owner, field, *args
        )

    def _owner(self, name: str) -> tuple[Any, str]:
        if name.startswith(ATTRIBUTE):
            return self.env.unwrapped, name.removeprefix(ATTRIBUTE)
        if self.simulation is None:
            raise InputError(f"environment {self._source.env_id}: its MuJoCo model is gone")
        model = self.simulation.model
        return (model.opt, name.removeprefix(OPTION)) if name.startswith(OPTION) else (model, name)


def _fill(owner: Any, field: str, value: NDArray[Any]) -> None:  # noqa: ANN401 - an MjModel
    getattr(owner, field)[...] = value


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
                    space = world.env.action_space
                    control = action[i, :-1].reshape(space.shape).astype(space.dtype)
                    self._note(i, world, world.step(control))
        except InputError as error:
            self._failure = error
        return self._rows.copy(), 0.0, False, False, self._told()

    def close(self) -> None:
        """Close all worlds; one that cannot be closed is told as a warning, since it is over."""
        for world in self._worlds:
            if world is not None:
                try:
                    world.close()
                except InputError as error:
                    warnings.warn(str(error), stacklevel=2)

    def _fields_of(self, i: int) -> dict[str, NDArray[Any]]:
        return {name: value[i] for name, value in self._fields.items()}

    def _told(self) -> dict[str, Any]:
        return {} if self._failure is None else {"failure": self._failure}

    def _reset(self, i: int, seed: int) -> None:
        world = self._worlds[i]
        if world is None:
            world = self._worlds[i] = self._make()
            world.write(self._fields_of(i))
        self._rows[i] = 0.0
        for key in self._infos:
            self._rows[i, self._columns[key]] = np.nan  # there are none before the first step
        self._observe(i, world, world.reset(seed))

    def _note(self, i: int, world: World, stepped: Stepped) -> None:
        row, at = self._rows[i], self._columns
        row[at["reward"]] = stepped.reward
        row[at["terminated"]], row[at["truncated"]] = stepped.terminated, stepped.truncated
        for key, value in zip(self._infos, world.infos(stepped, self._infos), strict=True):
            row[at[key]] = value
        self._observe(i, world, stepped.observation)

    def _observe(self, i: int, world: World, observation: NDArray[np.float64]) -> None:
        row, at = self._rows[i], self._columns
        row[at["observation"]] = observation.reshape(-1)
        if "qpos" in at and world.simulation is not None:
            data = world.simulation.data
            row[at["qpos"]], row[at["qvel"]] = data.qpos, data.qvel
            row[at["faults"]] = sum(warning.number for warning in data.warning)
