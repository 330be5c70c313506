"""MuJoCo's process-global warning handler."""

from __future__ import annotations

import mujoco


def ignore_mujoco_warnings() -> None:
    """Keep MuJoCo from printing warnings and from writing MUJOCO_LOG.TXT where the user stands.

    Nothing is lost: engines count the faults of each world. The handler is global to the process
    and cannot be read back, so it is set where MuJoCo is used and not restored.
    """
    mujoco.set_mju_user_warning(_ignore)


def _ignore(message: str | bytes) -> None:
    pass
