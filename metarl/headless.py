"""The GL backend of machines without a display. Imports nothing heavy."""

from __future__ import annotations

import os
import sys


def use_headless_gl() -> None:
    """Let MuJoCo render through EGL on Linux without a display, unless MUJOCO_GL says otherwise.

    MuJoCo reads the variable when it is first imported, so programs call this before that. Library
    code never does: it is a setting of the whole process.
    """
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not has_display:
        os.environ.setdefault("MUJOCO_GL", "egl")
