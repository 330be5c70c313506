"""Engines step N worlds at once; `make_engine` picks one for a robot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from metarl_envs.engines.analytic import AnalyticEngine
from metarl_envs.engines.base import Engine
from metarl_envs.engines.cpu import CpuEngine
from metarl_envs.robots.base import AnalyticRobot, Robot

__all__ = ["AnalyticEngine", "AnyEngine", "CpuEngine", "Engine", "make_engine"]


AnyEngine = CpuEngine | AnalyticEngine

if TYPE_CHECKING:
    _FOLLOW_THE_PROTOCOL: tuple[type[Engine], ...] = (CpuEngine, AnalyticEngine)


def make_engine(robot: Robot, num_worlds: int, *, varied: Sequence[str], threads: int) -> AnyEngine:
    """An engine with N worlds of `robot`, of which the fields `varied` may differ."""
    if isinstance(robot, AnalyticRobot):
        return AnalyticEngine(
            robot.dynamics, num_worlds, nq=robot.num_positions, nu=robot.action_size
        )
    return CpuEngine(
        robot.load_model(), num_worlds, varied=varied, outputs=robot.outputs, threads=threads
    )
