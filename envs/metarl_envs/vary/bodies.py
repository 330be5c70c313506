"""What varies in bodies, geoms, joints and the world.

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

import torch
from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.mjcf.names import Patterns, dofs, find
from metarl_envs.parameters import Fields, ModelEffect, Parameter
from metarl_envs.robots.kinds import ModelledRobot, model_of
from metarl_envs.vary.apply import (
    WORDS,
    Entries,
    How,
    Range,
    apply,
    changed,
    check_how,
    name_from,
    nominal_of,
    per_entry,
    ranged,
)


def mass(
    robot: ModelledRobot,
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
    values = [float(model.body_mass[body]) for body in bodies]
    check_how(name, "kg", values, how, each)
    if how != "scale" and not all(values):
        raise InputError(f"{name}: a body without mass has no inertia to change; leave it out")
    groups = [[body] for body in bodies]

    def transform(fields: Fields, value: Tensor) -> Fields:
        masses, inertias = (fields[n].clone() for n in ("body_mass", "body_inertia"))
        factor = apply(masses[:, bodies], per_entry(value, groups, each), how) / masses[:, bodies]
        # A massless body stays one: 0 / 0 is no factor.
        factor = torch.where(masses[:, bodies] > 0, factor, 1.0)
        masses[:, bodies] *= factor
        inertias[:, bodies] *= factor.unsqueeze(-1)
        return {"body_mass": masses, "body_inertia": inertias}

    nominal = nominal_of(values, how)
    what = f"{WORDS[how]} mass and inertia of {names}"
    effect = ModelEffect(("body_mass", "body_inertia"), transform)
    unit = "1" if how == "scale" else "kg"
    return ranged(name, unit, what, nominal if each else nominal[0], train, extrapolation, effect)


def centre_of_mass(
    robot: ModelledRobot,
    names: Patterns,
    train: Range,
    *,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Offset (x, y, z) of the bodies' centre of mass in their own frame, m."""
    name = name or name_from(names, "centre_of_mass")
    bodies = find(model_of(robot), "body", names)

    def transform(fields: Fields, value: Tensor) -> Fields:
        centres = fields["body_ipos"].clone()
        centres[:, bodies] += value.to(centres)[:, None, :]
        return {"body_ipos": centres}

    effect = ModelEffect(("body_ipos",), transform)
    what = f"offset of the centre of mass of {names}"
    return ranged(name, "m", what, (0.0, 0.0, 0.0), train, extrapolation, effect)


def friction(
    robot: ModelledRobot,
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
    """
    model = model_of(robot)
    geoms = find(model, "geom", names)
    values = [float(model.geom_friction[geom, 0]) for geom in geoms]
    entries = Entries([[geom] for geom in geoms], values, None if how == "scale" else 0)
    return changed(
        name or name_from(names, "friction"),
        f"friction of {names}",
        "1",
        "geom_friction",
        entries,
        how,
        train,
        extrapolation,
        each,
    )


def damping(
    robot: ModelledRobot,
    names: Patterns,
    train: Range,
    *,
    how: How = "scale",
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Damping of joints, N s/m or N m s/rad."""
    entries = _of_joints(robot, names, "dof_damping")
    name = name or name_from(names, "damping")
    what, unit = f"damping of joints {names}", "N s/m or N m s/rad"
    return changed(name, what, unit, "dof_damping", entries, how, train, extrapolation, each)


def armature(
    robot: ModelledRobot,
    names: Patterns,
    train: Range,
    *,
    how: How = "scale",
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Armature of joints (reflected rotor inertia), kg or kg m^2."""
    entries = _of_joints(robot, names, "dof_armature")
    name = name or name_from(names, "armature")
    what, unit = f"armature of joints {names}", "kg or kg m^2"
    return changed(name, what, unit, "dof_armature", entries, how, train, extrapolation, each)


def friction_loss(
    robot: ModelledRobot,
    names: Patterns,
    train: Range,
    *,
    how: How = "scale",
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Dry friction of joints, N or N m."""
    entries = _of_joints(robot, names, "dof_frictionloss")
    name = name or name_from(names, "friction_loss")
    what, unit = f"dry friction of joints {names}", "N or N m"
    return changed(name, what, unit, "dof_frictionloss", entries, how, train, extrapolation, each)


def joint_range(
    robot: ModelledRobot,
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
    groups = [[joint] for joint in joints]

    def transform(fields: Fields, value: Tensor) -> Fields:
        ranges = fields["jnt_range"].clone()
        middle = reference.to(ranges)[None, :, None]
        offset = ranges[:, joints] - middle
        ranges[:, joints] = middle + apply(offset, per_entry(value, groups, each), "scale")
        return {"jnt_range": ranges}

    nominal = (1.0,) * len(joints) if each else 1.0
    effect = ModelEffect(("jnt_range",), transform)
    return ranged(name, "1", f"factor on limits of {names}", nominal, train, extrapolation, effect)


def gravity(
    robot: ModelledRobot,
    train: Range,
    *,
    extrapolation: Range | None = None,
    name: str = "gravity",
) -> Parameter:
    """Factor on gravity.

    Raises:
        InputError: if the model has none.
    """
    strength = float((model_of(robot).opt.gravity ** 2).sum()) ** 0.5
    entries = Entries([[0, 1, 2]], [strength])
    return changed(
        name, "gravity", "m/s^2", "opt.gravity", entries, "scale", train, extrapolation, False
    )


def _of_joints(robot: ModelledRobot, names: Patterns, field: str) -> Entries:
    """Entries of a field along degrees of freedom, by joint."""
    model = model_of(robot)
    groups = [dofs(model, joint) for joint in find(model, "joint", names)]
    return Entries(groups, [float(getattr(model, field)[group[0]]) for group in groups])
