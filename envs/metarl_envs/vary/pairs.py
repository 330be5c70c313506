"""Friction of contact pairs. Arguments are those of `metarl_envs.vary.bodies`."""

from __future__ import annotations

import fnmatch

import mujoco

from metarl_envs.errors import InputError, unknown_name
from metarl_envs.mjcf.names import LISTED, Patterns, texts
from metarl_envs.mjcf.names import names as names_of
from metarl_envs.parameters import Parameter
from metarl_envs.robots.kinds import Robot, model_of
from metarl_envs.vary.apply import How, Range, changing, described, name_from


def pair_friction(
    robot: Robot,
    names: Patterns,
    train: Range,
    *,
    how: How = "scale",
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Friction of contacts that the model lists as `<pair>` of two geoms.

    Such a contact has a friction of its own, whatever that of its geoms, which is `friction`. A
    factor is on all five numbers; added to or set are the two sliding coefficients.

    Args:
        robot: whose model is changed.
        names: of pairs, or of geoms, all of whose pairs change.
        train, how, each, extrapolation, name: as in `vary.bodies`.

    Raises:
        InputError: for a name of no pair, or pairs without friction (condim 1).
    """
    model = model_of(robot)
    called = _names(model)
    pairs = _find(robot, model, called, names)
    name = name or name_from(names, "pair_friction")
    for pair in pairs:
        if model.pair_dim[pair] == 1:
            raise InputError(
                f"{name}: the pair {_shown(called[pair])} is without friction (condim 1); give it "
                "condim 3 in the model, or leave it out"
            )
    elements = [{"pair_friction": pair if how == "scale" else (pair, [0, 1])} for pair in pairs]
    shown = [_shown(called[pair]) for pair in pairs]
    return described(
        name,
        f"friction between {', '.join(shown if len(shown) <= LISTED else texts(names))}",
        "1",
        [float(model.pair_friction[pair, 0]) for pair in pairs],
        how,
        each,
        train,
        extrapolation,
        changing(model, elements, how, each),
    )


def _names(model: mujoco.MjModel) -> list[tuple[str, str, str]]:
    """Names of each pair: its own, and those of its geoms, in MuJoCo's order."""
    geoms = names_of(model, "geom")
    return [
        (model.pair(i).name, geoms[int(model.pair_geom1[i])], geoms[int(model.pair_geom2[i])])
        for i in range(model.npair)
    ]


def _find(
    robot: Robot, model: mujoco.MjModel, called: list[tuple[str, str, str]], patterns: Patterns
) -> list[int]:
    """Pairs of which any name matches any of the patterns, in the model's order."""
    if not model.npair:
        raise InputError(
            f"names = {texts(patterns)}: {robot.name} has no <pair> of geoms in its model; use "
            "vary.friction of the geoms"
        )
    found: set[int] = set()
    for pattern in texts(patterns):
        matches = {
            i
            for i, own in enumerate(called)
            if any(fnmatch.fnmatchcase(text, pattern) for text in own)
        }
        if not matches:
            known = {text for own in called for text in own if text}
            raise unknown_name("contact pair", pattern, known)
        found |= matches
    return sorted(found)


def _shown(called: tuple[str, str, str]) -> str:
    own, one, two = called
    return f"'{own}'" if own else f"{one or 'a geom'} and {two or 'a geom'}"
