"""One third-party Gymnasium environment: its construction, and the fields that vary in it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Dict
from gymnasium.wrappers import FlattenObservation
from numpy.typing import NDArray

from metarl_envs.errors import InputError
from metarl_envs.gym_worlds.calls import OWN, AskedEnv, Stepped, ask
from metarl_envs.gym_worlds.mujoco_4 import fix_for_mujoco_4
from metarl_envs.gym_worlds.mujoco_data import Simulation, simulation_at
from metarl_envs.inputs.numbers import is_number, tensor
from metarl_envs.inputs.own_file import OwnFile, RunOnArrival
from metarl_envs.mjcf.fields import owner_of
from metarl_envs.mjcf.muscles import fixed_muscle_forces

ATTRIBUTE = "attribute."
"""Beginning of varied fields that are attributes of the environment."""
PLAIN = (str, int, float, bool, type(None))
"""Types of arguments that can be sent to any process as they are."""


@dataclass(frozen=True)
class Source:
    """The arguments that make an environment, in this process or in a worker process."""

    env_id: str
    kwargs: Mapping[str, Any]
    file: OwnFile | None = None
    """The user's file that was running when the robot was made: it may register the id."""
    module: str = ""
    """The module of its class, which may register the id as well."""
    data: str = ""
    """The attribute that holds its `mujoco.MjData`; "": it has none."""

    def make(self) -> World:
        """The environment without a time limit: the horizon is the family's.

        Observations that are a dictionary of arrays become one vector, in the order of their keys.

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
        making = f"environment {self.env_id}: making it"
        ask(making, OWN, fix_for_mujoco_4, own_id)
        env = ask(
            making,
            known if own_id in gymnasium.registry else unknown,
            gymnasium.make,
            own_id,
            max_episode_steps=-1,
            disable_env_checker=True,
            **self.kwargs,
        )
        world = World(env, self)
        if isinstance(world.asked.observation_space, Dict):
            world = World(ask(making, OWN, FlattenObservation, env), self)
        return world

    def __reduce__(self) -> tuple[Any, ...]:
        """Sends the file first, as arguments may be functions and objects of that file."""
        plain = all(isinstance(value, PLAIN) for value in self.kwargs.values())
        file = self.file if self.file is None or plain else RunOnArrival(self.file)
        return _arrived, (file, self.env_id, self.kwargs, self.module, self.data)

    def make_elsewhere(self) -> World:
        """`make` in a worker process, where only what was imported anew is registered.

        Raises:
            InputError: see `make`; also for an id that this process cannot know.
        """
        if self.env_id not in gymnasium.registry:
            if self.file is not None:
                if not self.file.has_run():
                    self.file.run()
            elif self.module not in ("", "__main__"):
                call = f"environment {self.env_id}: importing {self.module}"
                ask(call, OWN, importlib.import_module, self.module)
        if ":" not in self.env_id and self.env_id not in gymnasium.registry:
            raise InputError(
                f"environment {self.env_id} is not registered in worker processes: register it at "
                "the top of a file, outside of `if __name__ == '__main__':`, or name the module "
                f"that does, 'module:{self.env_id}'; sim_threads = 1 needs no workers"
            )
        return self.make()


def _arrived(
    file: OwnFile | None, env_id: str, kwargs: Mapping[str, Any], module: str, data: str
) -> Source:
    """The source, unpickled in another process."""
    return Source(env_id, kwargs, file, module, data)


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
        with suppress(InputError):  # the first error is the one to report
            world.asked.close()
        raise
    world.asked.close()


class World:
    """One environment and the varied fields that it has."""

    def __init__(self, env: gymnasium.Env[Any, Any], source: Source) -> None:
        """Takes a fresh environment, unmodified."""
        self.env, self._source = env, source
        self.asked = AskedEnv(env, source.env_id)
        self._simulation = self._found() if source.data else None
        self._fields: Mapping[str, NDArray[Any]] = {}

    @property
    def simulation(self) -> Simulation | None:
        """The live MuJoCo simulation; None for an environment without MuJoCo.

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
        observation = self.asked.reset(seed)
        if self._source.data:
            self._simulation = self._found()
            if self._simulation is None:
                raise InputError(
                    f"environment {self.name}: after this reset its MuJoCo data are not in "
                    f"'{self._source.data}' any more, where they were when the robot was made"
                )
            # Those of the episode before are not those of this one.
            self._simulation.data.warning.number[:] = 0
        if any(not np.array_equal(self.read(name), own) for name, own in self._fields.items()):
            self.write(self._fields)
        return observation

    def step(self, action: NDArray[np.float64]) -> Stepped:
        """One step with an action (A,), rounded where the environment takes whole numbers."""
        space: Any = self.asked.action_space
        taken = np.rint(action) if space.dtype.kind in "iu" else action
        return self.asked.step(taken.reshape(space.shape).astype(space.dtype))

    @property
    def name(self) -> str:
        """Its id."""
        return self._source.env_id

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata of its class, such as render modes; {} if they are not a dict."""
        said: Any = self.env.metadata
        return said if isinstance(said, Mapping) else {}

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

    def _found(self) -> Simulation | None:
        """The simulation after the last reset, with muscles of fixed force."""
        simulation = simulation_at(self.env, self._source.data)
        if simulation is not None:
            fixed_muscle_forces(simulation.model)
        return simulation

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
            raise InputError(f"environment {self.name}: its MuJoCo model is gone")
        return owner_of(self.simulation.model, name)


def _fill(owner: Any, field: str, value: NDArray[Any]) -> None:  # noqa: ANN401 - an MjModel
    getattr(owner, field)[...] = value
