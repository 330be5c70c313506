"""Hidden parameters as numbers: the differences between a world's model and the nominal one.

They are read from the two models alone, so that they serve any family, whatever its parameters are
called and whichever function made them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from metarl_envs.rendering.drawing import Vector
from metarl_envs.scene.subject import floors
from metarl_envs.vary.actuator_kinds import TRANSMISSION, Actuator, actuators

SAME = 1e-3
"""Relative differences up to this are rounding: fields of the engine warp are of single precision.
"""
JOINTS = (TRANSMISSION.mjTRN_JOINT, TRANSMISSION.mjTRN_JOINTINPARENT)
SLIDE = mujoco.mjtJoint.mjJNT_SLIDE
NO_GRIP = 1e-3
"""The least ratio of frictions; lower ones look the same."""


@dataclass(frozen=True)
class Differences:
    """All that pictures show of a world's hidden parameters; see `Nominal.differences`."""

    forces: Vector  # (actuators,) force over the nominal one; below 0: in reverse
    friction: float
    """Friction of what slides on the floor over the nominal one."""
    wind: Vector  # (2,) horizontal velocity of the medium, m/s
    pull: Vector  # (2,) horizontal acceleration that the nominal gravity lacks, m/s^2
    growth: Vector  # (bodies,) lengths of loads over those of their geoms
    added: Vector  # (bodies,) mass that other moving bodies have gained, kg; below 0: lost


class Nominal:
    """The nominal model of a robot, with what its actuators move, its loads, and what touches."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Finds them.

        Args:
            model: the nominal one; kept, and not to be changed.
            data: at the start, after `mj_forward`.
        """
        self.model, self.actuators = model, actuators(model, "*") if model.nu else []
        self.parts = _parts(model, data, self.actuators)
        """Geoms that each actuator moves."""
        self.loads = _loads(model)
        self._floor, self._touching = _contacts(model)  # (pairs,) each
        driven = set().union(*(_driven(model, data, each) for each in self.actuators))
        slides = (int(d) for d in range(model.nv) if model.jnt_type[model.dof_jntid[d]] == SLIDE)
        self._sliding = [d for d in slides if int(model.dof_bodyid[d]) not in driven]

    def differences(self, world: mujoco.MjModel) -> Differences:
        """The differences of a world's model."""
        growth, added = self._masses(world)
        return Differences(
            forces=np.array([force_factor(a, self.model, world) for a in self.actuators]),
            friction=self._friction(world),
            wind=wind(world),
            pull=(world.opt.gravity - self.model.opt.gravity)[:2],
            growth=growth,
            added=added,
        )

    def _friction(self, world: mujoco.MjModel) -> float:
        """Geometric mean of the ratios that differ from 1; 1 where none does.

        Those of all pairs of geoms of the robot and the floor, and of the dry friction of bodies
        that slide without an actuator: a puck on a rail has it in place of a contact.
        """
        now, before = (self._coefficients(model) for model in (world, self.model))
        rubs = before > 0
        ratios = np.log(np.maximum(now[rubs] / before[rubs], NO_GRIP))
        changed = ratios[np.abs(ratios) > SAME]
        return math.exp(changed.mean()) if len(changed) else 1.0

    def _coefficients(self, model: mujoco.MjModel) -> Vector:
        """Sliding friction of each pair by MuJoCo's rule, then dry friction of what slides."""
        own, priority = model.geom_friction[:, 0], model.geom_priority
        a, b = self._floor, self._touching
        above, larger = priority[a] - priority[b], np.maximum(own[a], own[b])
        pairs = np.select([above > 0, above < 0], [own[a], own[b]], larger)
        return np.concatenate([pairs, model.dof_frictionloss[self._sliding]])

    def _masses(self, world: mujoco.MjModel) -> tuple[Vector, Vector]:
        """Growth of loads, and mass that is added to other moving bodies: (bodies,) each."""
        growth, before = np.ones(world.nbody), self.model.body_mass
        moves = (self.model.body_weldid > 0) & (before > 0)
        gained = np.where(moves, world.body_mass - before, 0.0)
        added = np.where(np.abs(gained) > SAME * before, gained, 0.0)
        for body, geoms in self.loads.items():
            if added[body]:  # of one whose geoms have grown themselves, nothing is left to do
                same_size = np.allclose(world.geom_size[geoms], self.model.geom_size[geoms], SAME)
                growth[body] = np.cbrt(world.body_mass[body] / before[body]) if same_size else 1.0
                added[body] = 0.0
        return growth, added


def wind(model: mujoco.MjModel) -> Vector:
    """Horizontal velocity of the medium, (2,), m/s; 0 where nothing drags."""
    return model.opt.wind[:2] * float(model.opt.density > 0 or model.opt.viscosity > 0)


def force_factor(actuator: Actuator, nominal: mujoco.MjModel, world: mujoco.MjModel) -> float:
    """Force that reaches what an actuator drives over the nominal one; below 0: in reverse.

    The gear times the gain or the limit of the force, whichever has changed more.
    """
    gain, limit = 1.0, 1.0
    strength = actuator.entries.get("strength", {})
    for field in ("actuator_biasprm", "actuator_gainprm"):  # the gain counts, where there is one
        if field in strength and getattr(nominal, field)[strength[field]].any():
            gain = _ratio(nominal, world, field, strength[field])
    if nominal.actuator_forcelimited[actuator.index]:
        limit = _ratio(nominal, world, "actuator_forcerange", actuator.index)
    joint = int(nominal.actuator_trnid[actuator.index, 0])
    of_joint = TRANSMISSION(int(nominal.actuator_trntype[actuator.index])) in JOINTS
    if of_joint and nominal.jnt_actfrclimited[joint]:
        limit *= _ratio(nominal, world, "jnt_actfrcrange", joint)
    factor = max((gain, limit), key=lambda each: abs(math.log(max(abs(each), 1e-9))))
    gear = actuator.entries.get("gear", {}).get("actuator_gear")
    return factor if gear is None else factor * _ratio(nominal, world, "actuator_gear", gear)


def _ratio(nominal: mujoco.MjModel, world: mujoco.MjModel, field: str, index: object) -> float:
    """The factor by which numbers of a field have changed, in the least squares."""
    before, now = (np.ravel(getattr(model, field)[index]) for model in (nominal, world))
    return float(before @ now / (before @ before)) if before.any() else 1.0


def _parts(
    model: mujoco.MjModel, data: mujoco.MjData, found: list[Actuator]
) -> list[NDArray[np.int_]]:
    """Geoms that each actuator moves.

    Those of the bodies that it drives, and of what is carried by them up to the next body that is
    driven; of a thruster, which acts on a site, the geom of the site's body that is nearest to it.
    """
    driven = [_driven(model, data, actuator) for actuator in found]
    every, parts = set().union(*driven), []
    for actuator, bodies in zip(found, driven, strict=True):
        target, kind = int(model.actuator_trnid[actuator.index, 0]), _transmission(model, actuator)
        if kind == TRANSMISSION.mjTRN_SITE:
            body, place = int(model.site_bodyid[target]), model.site_pos[target]
            drawn = (model.geom_bodyid == body) & (model.geom_rgba[:, 3] > 0)
            away = np.linalg.norm(model.geom_pos - place, axis=1)
            away = np.where(drawn & (model.geom_group < 3), away, np.inf)
            parts.append(np.flatnonzero((away <= away.min() + 1e-6) & np.isfinite(away)))
            continue
        carried = set(bodies)
        for body in range(1, model.nbody):  # a parent comes before its children
            if int(model.body_parentid[body]) in carried and body not in every:
                carried.add(body)
        parts.append(np.flatnonzero(np.isin(model.geom_bodyid, sorted(carried))))
    return parts


def _driven(model: mujoco.MjModel, data: mujoco.MjData, actuator: Actuator) -> set[int]:
    """Bodies of the joints that an actuator acts on: of its moment arms, or the body it holds."""
    kind = _transmission(model, actuator)
    if kind == TRANSMISSION.mjTRN_SITE:
        return set()
    if kind == TRANSMISSION.mjTRN_BODY:
        return {int(model.actuator_trnid[actuator.index, 0])}
    row = int(model.actuator_outadr[actuator.index])
    first = int(data.moment_rowadr[row])
    entries = slice(first, first + int(data.moment_rownnz[row]))
    dofs = data.moment_colind[entries][data.actuator_moment[entries] != 0]
    return set(model.dof_bodyid[dofs].tolist())


def _transmission(model: mujoco.MjModel, actuator: Actuator) -> mujoco.mjtTrn:
    return TRANSMISSION(int(model.actuator_trntype[actuator.index]))


def _loads(model: mujoco.MjModel) -> dict[int, NDArray[np.int_]]:
    """Loads with their geoms: bodies fixed to one that moves, which carry nothing themselves."""
    found = {}
    for body in range(1, model.nbody):
        geoms = np.flatnonzero(model.geom_bodyid == body)
        fixed = model.body_dofnum[body] == 0 and model.body_weldid[body] > 0
        if fixed and body not in model.body_parentid and len(geoms):
            found[body] = geoms
    return found


def _contacts(model: mujoco.MjModel) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Pairs of a floor's geom and one that moves which may rub: (pairs,), (pairs,)."""
    grounds = np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_HFIELD)
    grounds = [*grounds.tolist(), *floors(model, 0.0)]
    moving = np.flatnonzero(model.body_weldid[model.geom_bodyid] > 0)
    a, b = (grid.ravel() for grid in np.meshgrid(np.array(grounds, dtype=int), moving))
    meets = (model.geom_contype[a] & model.geom_conaffinity[b]) | (
        model.geom_contype[b] & model.geom_conaffinity[a]
    )
    above = model.geom_priority[a] - model.geom_priority[b]
    own = model.geom_condim
    larger = np.maximum(own[a], own[b])
    rubs = np.select([above > 0, above < 0], [own[a], own[b]], larger) > 1
    return a[(meets > 0) & rubs], b[(meets > 0) & rubs]
