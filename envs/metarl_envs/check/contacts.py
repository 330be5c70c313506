"""Explanations of friction parameters without effect, by MuJoCo's rules for contacts.

The rules are those of MuJoCo's documentation, "Contact parameters".
"""

from __future__ import annotations

from collections import Counter

import mujoco
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metarl_envs.family import TaskFamily
from metarl_envs.mjcf.names import names
from metarl_envs.parameters import ModelEffect, Parameter, model_fields
from metarl_envs.tasks import Tasks


def idle_friction(family: TaskFamily, parameter: Parameter, ends: Tasks, states: Tensor) -> str:
    """The reason that a friction parameter has no effect; "" for parameters of another kind.

    Args:
        family: of the parameter.
        parameter: that changed nothing.
        ends: tasks with its lowest and highest values.
        states: (T, nq + nv + ...) what the nominal robot went through.
    """
    effect = parameter.effect
    if not isinstance(effect, ModelEffect) or "geom_friction" not in effect.fields:
        return ""
    model = family.robot.load_model()
    fields = {name: np.asarray(getattr(model, name)).copy() for name in effect.fields}
    base = {name: ends.values[parameter.name].new_tensor(value) for name, value in fields.items()}
    frictions = model_fields([parameter], base, ends.values)["geom_friction"].numpy()
    geoms = {int(g) for g in np.flatnonzero((frictions != model.geom_friction).any(axis=(0, 2)))}
    if not geoms:
        return "it leaves the friction as it is at both ends of its range"
    called = names(model, "geom")
    partners = _touched(model, geoms, states.numpy())
    if not partners:
        geom = min(geoms)
        if not any(_fits_any(model, g) for g in geoms) and not _paired(model, geoms):
            masks = f"{model.geom_contype[geom]} and {model.geom_conaffinity[geom]}"
            return (
                f"contype and conaffinity of geom {_name(called, geom)} are {masks} in the model, "
                "which lets it collide with no other geom"
            )
        return f"geom {_name(called, geom)} touches nothing in this time"
    (geom, other, dim, is_pair), _ = partners.most_common(1)[0]
    one, two = _name(called, geom), _name(called, other)
    touch = f"geom {one} touches {two},"
    if is_pair:
        return (
            f"{touch} but by an explicit <pair>, which has a friction of its own: vary that with "
            "vary.pair_friction, or take the pair out of the model"
        )
    if dim == 1:
        return f"{touch} but without friction (condim 1): give one of them condim 3 in the model"
    ours, theirs = int(model.geom_priority[geom]), int(model.geom_priority[other])
    if theirs > ours:
        return (
            f"{touch} whose priority is higher ({theirs} over {ours}), so the friction of {two} "
            "alone counts: vary that, or give both one priority"
        )
    if theirs == ours and other not in geoms:
        highest, given = frictions[:, geom, 0].max(), model.geom_friction[other, 0]
        if highest <= given:
            return (
                f"{touch} and the larger friction of two geoms counts, which is that of {two} "
                f"({given:.3g}, here at most {highest:.3g}): vary {two}, or lower its friction, or "
                f"give {one} a higher priority in the model"
            )
    return f"{touch} but does not slide on it in this time: let the range reach lower values"


def _touched(
    model: mujoco.MjModel, geoms: set[int], states: NDArray[np.float64]
) -> Counter[tuple[int, int, int, bool]]:
    """Contacts of some geoms along states: (geom, what it touches, condim, by a <pair>)."""
    data, found = mujoco.MjData(model), Counter[tuple[int, int, int, bool]]()
    pairs = _pairs(model)
    for row in states:
        data.qpos[:], data.qvel[:] = row[: model.nq], row[model.nq : model.nq + model.nv]
        mujoco.mj_fwdPosition(model, data)
        for contact in data.contact:
            both = (int(contact.geom[0]), int(contact.geom[1]))
            for geom, other in (both, both[::-1]):
                if geom in geoms:
                    found[geom, other, int(contact.dim), frozenset(both) in pairs] += 1
    return found


def _fits_any(model: mujoco.MjModel, geom: int) -> bool:
    """True if the masks of a geom let it collide with any geom of another body."""
    other = model.geom_bodyid != model.geom_bodyid[geom]
    fits = (model.geom_contype[geom] & model.geom_conaffinity) | (
        model.geom_contype & model.geom_conaffinity[geom]
    )
    return bool((other & (fits != 0)).any())


def _pairs(model: mujoco.MjModel) -> set[frozenset[int]]:
    """Geoms that an explicit <pair> brings together."""
    return {
        frozenset((int(model.pair_geom1[i]), int(model.pair_geom2[i]))) for i in range(model.npair)
    }


def _paired(model: mujoco.MjModel, geoms: set[int]) -> bool:
    return any(geoms & pair for pair in _pairs(model))


def _name(called: dict[int, str], geom: int) -> str:
    return f"'{called[geom]}'" if called[geom] else f"number {geom}"
