"""Friction axes of plane-capsule contacts on Warp, as C MuJoCo has them."""
# A kernel is written in Warp's language, which only looks like typed Python:
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false

from __future__ import annotations

from typing import Any

import mujoco
import warp as wp

PLANE = wp.constant(int(mujoco.mjtGeom.mjGEOM_PLANE))
CAPSULE = wp.constant(int(mujoco.mjtGeom.mjGEOM_CAPSULE))
SHORTEST_TANGENT = wp.constant(1.0e-6)
"""Of a unit axis; below it single precision knows no direction, and any will do."""


def capsule_contact_frames(m: Any, d: Any) -> None:  # noqa: ANN401 -- mujoco_warp's Model, Data
    """Turn the friction axes of plane-capsule contacts along the capsule, as C MuJoCo does.

    mujoco_warp takes an axis of the world instead where the capsule stands within 30 degrees of
    the normal. A pyramidal friction cone then is another one: an ant's velocities differed by up
    to 0.4 after one substep, and with this by less than 1e-5.
    """
    wp.launch(
        _turn_capsule_frames,
        dim=d.naconmax,
        inputs=[m.geom_type, d.geom_xmat, d.nacon, d.contact.geom, d.contact.worldid],
        outputs=[d.contact.frame],
    )


@wp.kernel
def _turn_capsule_frames(
    geom_type: wp.array[int],
    geom_xmat: wp.array2d[wp.mat33],
    num_contacts: wp.array[int],
    contact_geom: wp.array[wp.vec2i],
    contact_world: wp.array[int],
    contact_frame: wp.array[wp.mat33],
) -> None:
    contact = wp.tid()
    if contact >= num_contacts[0]:
        return
    geoms = contact_geom[contact]
    if geoms[0] < 0 or geoms[1] < 0:
        return
    if geom_type[geoms[0]] != PLANE or geom_type[geoms[1]] != CAPSULE:
        return
    turn = geom_xmat[contact_world[contact], geoms[1]]
    axis = wp.vec3(turn[0, 2], turn[1, 2], turn[2, 2])
    frame = contact_frame[contact]
    normal = wp.vec3(frame[0, 0], frame[0, 1], frame[0, 2])
    along = axis - normal * wp.dot(normal, axis)
    length = wp.length(along)
    if length < SHORTEST_TANGENT:
        return
    first = along / length
    contact_frame[contact] = wp.matrix_from_rows(normal, first, wp.cross(normal, first))
