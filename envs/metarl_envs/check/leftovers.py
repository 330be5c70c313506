"""State of a Gymnasium environment that its reset does not set back, by name."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import gymnasium
import numpy as np
from torch import Generator

from metarl_envs.gym_worlds.worlds import Source, World, opened
from metarl_envs.inputs.numbers import is_number, shown

STEPS = 200
"""Of the episode between two resets, at most."""
OF_DATA = ("time", "act", "ctrl", "qacc_warmstart", "mocap_pos", "mocap_quat", "xfrc_applied")
"""State of MuJoCo besides positions and velocities."""
SEEDED = ("_np_random", "_np_random_seed")
"""Attributes that Gymnasium's own reset sets."""


@dataclass(frozen=True)
class GeneratorState:
    """The state of a random generator."""

    text: str


def leftovers(source: Source) -> tuple[list[str], list[str]]:
    """Generators that reset(seed=0) does not set back, and other values, "wear is 0, then 40"."""
    with opened(source) as world:
        world.reset(0)
        before = dict(_contents(world))
        space = world.asked.action_space
        space.seed(0)
        for _ in range(STEPS):
            stepped = world.step(np.asarray(space.sample()).reshape(-1))
            if stepped.terminated or stepped.truncated:
                break
        world.reset(0)
        after = dict(_contents(world))
    changed = {n: (v, after[n]) for n, v in before.items() if n in after and _differ(v, after[n])}
    generators = [name for name, (one, _) in changed.items() if isinstance(one, GeneratorState)]
    return generators, [
        f"{name} is {_described(one)} after the first reset and {_described(two)} after the second"
        for name, (one, two) in changed.items()
        if name not in generators
    ]


def _contents(world: World) -> Iterator[tuple[str, object]]:
    """All values in an environment and its wrappers, by name."""
    layer = world.env
    while isinstance(layer, gymnasium.Wrapper):
        yield from _flat(type(layer).__name__, layer, depth=2)
        layer = layer.env
    for name, value in _members(layer).items():
        yield from _flat(name, value, depth=1)
    if world.simulation is not None:
        model, data = world.simulation.model, world.simulation.data
        for name in dir(model):
            value = None if name.startswith("_") else getattr(model, name)
            if isinstance(value, np.ndarray):
                yield f"model.{name}", value.copy()
        for name in OF_DATA:
            yield f"data.{name}", np.array(getattr(data, name))


def _flat(name: str, value: object, depth: int) -> Iterator[tuple[str, object]]:
    """A value and, `depth` levels down, those in it."""
    if isinstance(value, np.random.Generator):
        yield name, GeneratorState(str(value.bit_generator.state))
    elif isinstance(value, np.random.RandomState):
        yield name, GeneratorState(str(value.get_state()))
    elif isinstance(value, random.Random):
        yield name, GeneratorState(str(value.getstate()))
    elif isinstance(value, Generator):
        yield name, GeneratorState(str(value.get_state().tolist()))
    elif value is None or isinstance(value, bool | str) or is_number(value):
        yield name, value
    elif isinstance(value, np.ndarray):
        yield name, value.copy()
    elif isinstance(value, list | tuple) and all(is_number(entry) for entry in value):
        yield name, np.array(value, dtype=np.float64)
    elif depth:
        for part, entry in _members(value).items():
            yield from _flat(f"{name}.{part}", entry, depth - 1)


def _members(value: object) -> dict[str, object]:
    """Members of an object or a dictionary; none of other environments and of simulators."""
    if isinstance(value, Mapping):
        return {str(key): entry for key, entry in value.items()}
    try:
        own = vars(value)
    except TypeError:  # without a __dict__
        return {}
    return {
        name: entry
        for name, entry in own.items()
        if name not in SEEDED and not isinstance(entry, gymnasium.Env)
    }


def _differ(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return not np.array_equal(np.asarray(one), np.asarray(other))
    return bool(one != other)


def _described(value: object) -> str:
    if isinstance(value, np.ndarray) and value.size > 4:
        return f"{value.size} numbers"
    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=3, separator=", ")
    return shown(value)
