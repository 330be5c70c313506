"""Task families by name, and the Gymnasium ids of the shipped ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import gymnasium

from metarl_envs.check.family_probe import probe
from metarl_envs.errors import InputError, unknown_name
from metarl_envs.families import (
    ant,
    arm,
    base,
    half_cheetah,
    hopper,
    navigate,
    navigation,
    puck,
    quadrotor,
    quadruped,
    walker2d,
)
from metarl_envs.family import TaskFamily

FAMILIES: dict[str, TaskFamily] = {
    family.name: family
    for family in (
        navigation.NAVIGATION,
        half_cheetah.DIRECTION,
        half_cheetah.VELOCITY,
        half_cheetah.DYNAMICS,
        half_cheetah.CRIPPLED,
        half_cheetah.REVERSED,
        half_cheetah.PAYLOAD_VELOCITY,
        ant.DIRECTION,
        ant.VELOCITY,
        ant.GOAL,
        ant.CRIPPLED,
        hopper.DYNAMICS,
        walker2d.DYNAMICS,
        puck.SLIDE,
        arm.REACH,
        arm.ENCODER,
        base.REVERSED,
        navigate.HIDDEN,
        quadrotor.WIND,
        quadruped.LOAD,
    )
}
"""The families known in this process."""
SHIPPED = frozenset(FAMILIES)


class OnDemand(NamedTuple):
    """Families that are made when one is first named, as they need an optional package."""

    make: Callable[[str], TaskFamily]
    """Of a name; the same object each time."""
    names: str
    """The names in words."""


ON_DEMAND: dict[str, OnDemand] = {}
"""By the beginning of their names."""


def get_family(name: str) -> TaskFamily:
    """The family of that name.

    Raises:
        InputError: for an unknown name, with the nearest ones; or for one on demand whose package
            is not installed.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    for beginning, families in ON_DEMAND.items():
        if name.startswith(beginning):
            family = families.make(name)
            return FAMILIES.setdefault(family.name, family)
    raise unknown_name("task family", name, FAMILIES)


def register_family(family: TaskFamily) -> None:
    """Make a family known by its name, in this process; a second call replaces it.

    Its functions are tried on two worlds first.

    Raises:
        InputError: for the name of a shipped family, or functions that return what none may.
    """
    if family.name in SHIPPED or family.name.startswith(tuple(ON_DEMAND)):
        raise InputError(f"family '{family.name}': a shipped family has that name; choose another")
    probe(family)
    FAMILIES[family.name] = family


def gymnasium_id(family_name: str) -> str:
    """The id for `gymnasium.make`: "ant-goal" -> "MetaRL/AntGoal-v0"."""
    return f"MetaRL/{''.join(part.capitalize() for part in family_name.split('-'))}-v0"


def register_gymnasium_ids() -> None:
    """Make every family known to `gymnasium.make` and `make_vec`; a second call changes nothing."""
    for name, family in FAMILIES.items():
        if gymnasium_id(name) not in gymnasium.registry:
            gymnasium.register(
                gymnasium_id(name),
                entry_point="metarl_envs.interfaces.gym_env:MetaEnv",
                vector_entry_point="metarl_envs.interfaces.gym_vector:MetaVectorEnv",
                max_episode_steps=family.horizon,
                kwargs={"family": name},
            )
