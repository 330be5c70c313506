"""Repairs of third-party environments that were written for MuJoCo 3 and fail on MuJoCo 4.

Gymnasium-Robotics 1.4.2 (Fetch, ShadowHand, Kitchen): `joint_type in (mjJNT_HINGE, mjJNT_SLIDE)`,
where `joint_type` is a NumPy integer. Python compares the enumeration's member first, and in
MuJoCo 4 that says False to any NumPy integer, so every such environment fails with a bare
AssertionError. The module that asks gets the same enumeration as plain integers instead, which
compare as in MuJoCo 3. Its code stays as it is.

Meta-World's own repair is in `metaworld`, beside what else differs there.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import gymnasium
import mujoco

ROBOTICS = "gymnasium_robotics"


def fix_for_mujoco_4(env_id: str) -> None:
    """Repair the package of an environment, if it is one that needs it; before it is made."""
    spec = gymnasium.registry.get(env_id)
    entry = None if spec is None else spec.entry_point
    if isinstance(entry, str) and entry.startswith(f"{ROBOTICS}."):
        utilities = importlib.import_module(f"{ROBOTICS}.utils.mujoco_utils")
        vars(utilities)["mujoco"] = _PlainJoints()


class _PlainJoints:
    """The module mujoco with the types of joints as plain integers."""

    mjtJoint = SimpleNamespace(  # noqa: N815 - MuJoCo's name
        **{name: int(kind) for name, kind in mujoco.mjtJoint.__members__.items()}
    )

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever MuJoCo has there
        return getattr(mujoco, name)
