"""Search for the MuJoCo simulation inside a third-party Gymnasium environment, under any name.

Gymnasium's own environments keep `model` and `data`, as do those of gymnasium-robotics; robosuite
and dm_control keep them some attributes deeper, in wrappers. All of them hold a `mujoco.MjData`,
which is therefore searched for.
"""

from __future__ import annotations

import operator
import types
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np
from torch import Tensor

from metarl_envs.errors import InputError

DEPTH = 5
"""Levels of attributes that are searched: dm_control's data lie four deep in shimmy."""
MOST = 20_000
"""Most objects that are searched."""
CLOSED = (types.ModuleType, type, types.FunctionType, types.MethodType, gymnasium.Space, Tensor)
"""Types of objects that cannot hold an environment's own simulation."""


@dataclass(frozen=True)
class Simulation:
    """The live MuJoCo model and data of an environment."""

    model: mujoco.MjModel
    data: mujoco.MjData


def paths_of_data(env: gymnasium.Env[Any, Any]) -> list[str]:
    """Attributes that hold an environment's `MjData`, such as "data" or "sim.data": the nearest."""
    level: list[tuple[str, Any]] = [("", env.unwrapped)]
    seen = {id(env.unwrapped)}
    for _ in range(DEPTH):
        held = [(path + name, value) for path, owner in level for name, value in _held(owner)]
        found = [path for path, value in held if isinstance(value, mujoco.MjData)]
        if found:
            return found
        level = []
        for path, value in held:
            if id(value) not in seen and not isinstance(value, CLOSED):
                seen.add(id(value))
                level.append((f"{path}.", value))
        if len(seen) > MOST:
            break
    return []


def simulation_at(env: gymnasium.Env[Any, Any], path: str) -> Simulation | None:
    """The simulation whose data are there; None if there are none, as before a first reset.

    Where the environment keeps a model beside the data, it may step them with that one instead of
    the one that they were made from: then it is taken, if both have the same sizes.
    """
    place, _, name = path.rpartition(".")
    try:
        owner = operator.attrgetter(place)(env.unwrapped) if place else env.unwrapped
        data = operator.attrgetter(name)(owner)
    except AttributeError:
        return None
    if not isinstance(data, mujoco.MjData):
        return None
    beside = {
        value._address: value for _, value in _held(owner) if isinstance(value, mujoco.MjModel)
    }
    fitting = [value for value in beside.values() if _sizes(value) == _sizes(data.model)]
    if data.model._address in beside or len(fitting) != 1:
        return Simulation(data.model, data)
    return Simulation(fitting[0], data)


def clocks(env: gymnasium.Env[Any, Any], paths: list[str]) -> list[float]:
    """Simulated seconds of the data at each path; NaN where there are none."""
    found = [simulation_at(env, path) for path in paths]
    return [np.nan if one is None else float(one.data.time) for one in found]


def single(env: gymnasium.Env[Any, Any], paths: list[str]) -> str:
    """The path of the robot's data: the only one, or of several for one model the one named data.

    Raises:
        InputError: for several models, or several data without that name.
    """
    found = {path: simulation_at(env, path) for path in paths}
    models = {one.model._address for one in found.values() if one is not None}
    named = [path for path in paths if path.rpartition(".")[2].lstrip("_") == "data"]
    if len(paths) == 1:
        return paths[0]
    if len(models) == 1:
        return (named or paths)[0]
    raise InputError(
        f"it holds {len(models)} MuJoCo models, with the data {', '.join(paths)}, and which one is "
        "the robot's is unknown: vary its attributes with vary.attribute, or write the robot "
        "as MJCF (mujoco_robot)"
    )


def _sizes(model: mujoco.MjModel) -> tuple[int, ...]:
    return model.nq, model.nv, model.nu, model.nbody, model.ngeom


def _held(owner: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - any object
    """Attributes that an object keeps."""
    try:
        return list(vars(owner).items())
    except (TypeError, ReferenceError):  # a number, an array, or a dead weak reference
        return []
