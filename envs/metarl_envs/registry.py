"""Names of the shipped task families."""

from __future__ import annotations

from metarl_envs.errors import unknown_name
from metarl_envs.families import half_cheetah, navigation
from metarl_envs.family import TaskFamily

FAMILIES: dict[str, TaskFamily] = {
    family.name: family
    for family in (
        navigation.NAVIGATION,
        half_cheetah.DIRECTION,
        half_cheetah.VELOCITY,
        half_cheetah.DYNAMICS,
        half_cheetah.CRIPPLED,
    )
}


def get_family(name: str) -> TaskFamily:
    """The family of that name.

    Raises:
        InputError: for an unknown name, with the nearest ones.
    """
    if name not in FAMILIES:
        raise unknown_name("task family", name, FAMILIES)
    return FAMILIES[name]
