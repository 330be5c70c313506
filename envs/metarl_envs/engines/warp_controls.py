"""Controls that are not finite, noted on the device as part of a step."""
# A kernel is written in Warp's language, which only looks like typed Python:
# pyright: reportIndexIssue=false, reportArgumentType=false
# pyright: reportAssignmentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

import warp as wp


def note_bad_controls(ctrl: wp.array, bad: wp.array) -> None:
    """Set `bad` (N,) where a control of `ctrl` (N, nu) is not finite.

    mujoco_warp clamps controls, NaN included, and goes on; C MuJoCo warns.
    """
    wp.launch(_note_bad_controls, dim=ctrl.shape, inputs=[ctrl], outputs=[bad])


@wp.kernel
def _note_bad_controls(ctrl: wp.array2d[float], bad: wp.array[bool]) -> None:
    world, actuator = wp.tid()
    if not wp.isfinite(ctrl[world, actuator]):
        bad[world] = True
