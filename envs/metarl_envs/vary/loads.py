"""Loads that a robot carries, as bodies of its model. Arguments are those of `vary.bodies`."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.mjcf.names import find
from metarl_envs.parameters import Fields, ModelEffect, Parameter
from metarl_envs.robots.kinds import Robot, model_of
from metarl_envs.vary.apply import Range, changing, check_not_negative, ranged

Axis = Literal["x", "y", "z"]


def payload(
    robot: Robot,
    body: str,
    train: Range,
    *,
    extrapolation: Range | None = None,
    name: str = "payload",
) -> Parameter:
    """Mass of a body that is a load, kg; its size goes along, so that its density stays.

    Lengths grow with the cube root of the mass, about the origin of the body's frame: the centre of
    mass, and sizes and places of the geoms, which pictures show. The moments of inertia grow with
    mass * length^2. Place the geom of a load beside that origin, so that it grows away from what
    carries it.

    The model's own load is the nominal one. To begin with an empty robot, give it a load of a gram.

    Raises:
        InputError: for several bodies, one without mass, one that carries other bodies, geoms of
            meshes, whose size no field holds, or a mass below 0.
    """
    model = model_of(robot)
    load = _single(robot, body, name)
    plain = float(model.body_mass[load])
    if plain <= 0:
        raise InputError(
            f"{name}: body '{body}' weighs nothing in the model, so it has no density to keep; "
            'give its geom a small mass there, such as mass="0.001"'
        )
    if load in model.body_parentid[1:]:
        raise InputError(
            f"{name}: body '{body}' carries other bodies, which would not grow with it; name one "
            "that carries nothing"
        )
    geoms = [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) == load]
    meshes = [geom for geom in geoms if int(model.geom_dataid[geom]) >= 0]
    if meshes:
        raise InputError(
            f"{name}: geom {meshes[0]} of body '{body}' is a mesh, which does not grow; make the "
            "load of boxes, spheres, capsules or cylinders, or use vary.mass"
        )
    powers = {"body_mass": 3, "body_inertia": 5, "body_ipos": 1, "geom_size": 1, "geom_pos": 1}
    rows = {field: [load] if field.startswith("body") else geoms for field in powers}
    if not geoms:
        powers = {field: power for field, power in powers.items() if field.startswith("body")}

    def transform(fields: Fields, value: Tensor) -> Fields:
        mass = value / plain  # (N,)
        # Not mass ** (1 / 3), whose last bit depends on how many worlds are computed at once.
        length = (mass.log() / 3).exp()
        factors = {1: length, 3: mass, 5: mass * length.square()}
        result = {}
        for field, power in powers.items():
            changed = fields[field].clone()
            factor = factors[power].to(changed)
            changed[:, rows[field]] *= factor.reshape(-1, *[1] * (changed.dim() - 1))
            result[field] = changed
        return result

    effect = ModelEffect(tuple(powers), transform)
    made = ranged(name, "kg", f"mass of the load '{body}'", plain, train, extrapolation, effect)
    check_not_negative(made)
    return made


def place(
    robot: Robot,
    body: str,
    axis: Axis,
    train: Range,
    *,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Offset of a body from its place in the model, m, along an axis of what it is fixed to.

    With `payload`, the place of a load on the robot.

    Raises:
        InputError: for several bodies, an unknown axis, or a body with a free joint, whose place is
            a part of the state.
    """
    name = name or f"{body}_{axis}"
    if axis not in get_args(Axis):
        raise InputError(f"{name}: axis = '{axis}': allowed are {', '.join(get_args(Axis))}")
    model = model_of(robot)
    placed = _single(robot, body, name)
    if int(model.body_dofnum[placed]) == 6:
        raise InputError(
            f"{name}: body '{body}' has a free joint, so its place is where an episode starts; let "
            "the robot's reset draw it"
        )
    entry = {"body_pos": (placed, get_args(Axis).index(axis))}
    what = f"offset of '{body}' along {axis}"
    return ranged(name, "m", what, 0.0, train, extrapolation, changing(model, [entry], "add"))


def _single(robot: Robot, body: str, name: str) -> int:
    """The number of the one body of that name."""
    found = find(model_of(robot), "body", body)
    if len(found) > 1:
        raise InputError(f"{name}: '{body}' matches {len(found)} bodies; name one of them")
    return found[0]
