"""Parameters of bodies, geoms, joints and the world.

Arguments that mean the same everywhere:

    robot: whose model is changed.
    names: name or glob pattern, or several, of the elements that change.
    train, extrapolation: ranges of values, of training and outside of it.
    how: `scale` the model's value, `add` to it or `set` it anew.
    each: one value per element (a vector), instead of one for all.
    name: of the parameter; None: made from `names`.

Names that match nothing, factors on a zero and the like are an `InputError`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.mjcf.names import Patterns, dofs, find, listed
from metarl_envs.parameters import Fields, ModelEffect, Parameter
from metarl_envs.robots.kinds import Robot, model_of
from metarl_envs.vary.apply import (
    How,
    Range,
    changed,
    changing,
    described,
    name_from,
    owners,
    ranged,
)


def mass(
    robot: Robot,
    names: Patterns,
    train: Range,
    *,
    how: How = "scale",
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Masses of bodies, kg; inertias change by the same factor, so every body can exist."""
    name = name or name_from(names, "mass")
    model = model_of(robot)
    bodies = find(model, "body", names)
    plain = [float(model.body_mass[body]) for body in bodies]
    if how != "scale" and not all(plain):
        raise InputError(f"{name}: a body without mass has no inertia to change; leave it out")
    both = owners(model, [{"body_mass": body, "body_inertia": body} for body in bodies])
    masses_alone = {"body_mass": both["body_mass"]}

    def transform(fields: Fields, value: Tensor) -> Fields:
        factor = value if each else value[:, None]
        if how != "scale":
            masses = fields["body_mass"]
            new = changed({"body_mass": masses}, masses_alone, factor, how)["body_mass"]
            # A mass that another parameter has set to 0 stays 0: 0 / 0 is no factor.
            factor = torch.where(masses > 0, new / masses, 1.0)[:, bodies]
        return changed(fields, both, factor, "scale")

    effect = ModelEffect(("body_mass", "body_inertia"), transform)
    what = f"mass and inertia of {listed(model, 'body', names)}"
    return described(name, what, "kg", plain, how, each, train, extrapolation, effect)


def centre_of_mass(
    robot: Robot,
    names: Patterns,
    train: Range,
    *,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Offset (x, y, z) of the bodies' centre of mass in their own frame, m."""
    model = model_of(robot)
    bodies = find(model, "body", names)
    effect = changing(model, [{"body_ipos": (bodies, axis)} for axis in range(3)], "add", each=True)
    name = name or name_from(names, "centre_of_mass")
    what = f"offset of the centre of mass of {listed(model, 'body', names)}"
    return ranged(name, "m", what, (0.0, 0.0, 0.0), train, extrapolation, effect)


def friction(
    robot: Robot,
    names: Patterns,
    train: Range,
    *,
    how: How = "scale",
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Friction of geoms: a factor on all its kinds; added to or set, the sliding coefficient.

    In a contact MuJoCo takes the larger one of the two geoms' (or that with the higher priority).
    That of a `<pair>` of geoms is `pair_friction`.
    """
    model = model_of(robot)
    geoms = find(model, "geom", names)
    elements = [{"geom_friction": geom if how == "scale" else (geom, 0)} for geom in geoms]
    plain = [float(model.geom_friction[geom, 0]) for geom in geoms]
    return described(
        name or name_from(names, "friction"),
        f"friction of {listed(model, 'geom', names)}",
        "1",
        plain,
        how,
        each,
        train,
        extrapolation,
        changing(model, elements, how, each),
    )


class VaryJoints(Protocol):
    """A function that makes a parameter of joints; the arguments are at the top of this file."""

    def __call__(
        self,
        robot: Robot,
        names: Patterns,
        train: Range,
        *,
        how: How = "scale",
        each: bool = False,
        extrapolation: Range | None = None,
        name: str | None = None,
    ) -> Parameter:
        """The parameter."""
        ...


def _of_joints(function: str, field: str, what: str, unit: str, doc: str) -> VaryJoints:
    """The function of this name and docstring, for a model field along degrees of freedom."""

    def vary(
        robot: Robot,
        names: Patterns,
        train: Range,
        *,
        how: How = "scale",
        each: bool = False,
        extrapolation: Range | None = None,
        name: str | None = None,
    ) -> Parameter:
        model = model_of(robot)
        joints = [dofs(model, joint) for joint in find(model, "joint", names)]
        return described(
            name or name_from(names, function),
            f"{what} of {listed(model, 'joint', names)}",
            unit,
            [float(getattr(model, field)[joint[0]]) for joint in joints],
            how,
            each,
            train,
            extrapolation,
            changing(model, [{field: joint} for joint in joints], how, each),
        )

    vary.__name__ = vary.__qualname__ = function
    vary.__doc__ = f"{doc}, {unit}."
    return vary


damping = _of_joints("damping", "dof_damping", "damping", "N s/m or N m s/rad", "Damping of joints")
armature = _of_joints(
    "armature",
    "dof_armature",
    "armature",
    "kg or kg m^2",
    "Armature of joints (reflected rotor inertia)",
)
friction_loss = _of_joints(
    "friction_loss", "dof_frictionloss", "dry friction", "N or N m", "Dry friction of joints"
)


def joint_range(
    robot: Robot,
    names: Patterns,
    train: Range,
    *,
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Factor on the distance of both joint limits from the joint's reference position.

    Raises:
        InputError: for joints without limits.
    """
    model = model_of(robot)
    joints = find(model, "joint", names)
    name = name or name_from(names, "range")
    for joint in joints:
        if not model.jnt_limited[joint]:
            raise InputError(
                f"{name}: joint '{model.joint(joint).name}' has no limits in the model; give it a "
                "range there, or leave it out"
            )
    reference = torch.from_numpy(model.qpos0[model.jnt_qposadr[joints]].copy())

    def transform(fields: Fields, value: Tensor) -> Fields:
        ranges = fields["jnt_range"].clone()
        middle = reference.to(ranges)[:, None]
        factor = value.to(ranges).reshape(len(value), -1, 1)
        ranges[:, joints] = middle + (ranges[:, joints] - middle) * factor
        return {"jnt_range": ranges}

    nominal = (1.0,) * len(joints) if each else 1.0
    effect = ModelEffect(("jnt_range",), transform)
    what = f"factor on limits of {listed(model, 'joint', names)}"
    return ranged(name, "1", what, nominal, train, extrapolation, effect)


def gravity(
    robot: Robot,
    train: Range,
    *,
    extrapolation: Range | None = None,
    name: str = "gravity",
) -> Parameter:
    """Factor on gravity.

    Raises:
        InputError: if the model has none.
    """
    model = model_of(robot)
    strength = float((model.opt.gravity**2).sum()) ** 0.5
    effect = changing(model, [{"opt.gravity": slice(None)}], "scale")
    return described(
        name, "gravity", "m/s^2", [strength], "scale", False, train, extrapolation, effect
    )
