"""Engines step N worlds at once; `make_engine` picks one for a robot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from metarl_envs.engines.analytic import AnalyticEngine
from metarl_envs.engines.base import Engine
from metarl_envs.engines.choice import ENGINES, EngineName, chosen_engine, warp_problem
from metarl_envs.engines.cpu import CpuEngine
from metarl_envs.robots.base import AnalyticRobot, Robot

if TYPE_CHECKING:
    from metarl_envs.engines.warp import WarpEngine

    AnyEngine = CpuEngine | AnalyticEngine | WarpEngine
    _FOLLOW_THE_PROTOCOL: tuple[type[Engine], ...] = (CpuEngine, AnalyticEngine, WarpEngine)

__all__ = [
    "ENGINES",
    "AnalyticEngine",
    "CpuEngine",
    "Engine",
    "EngineName",
    "chosen_engine",
    "make_engine",
    "warp_problem",
]


def make_engine(
    robot: Robot,
    num_worlds: int,
    *,
    varied: Sequence[str],
    threads: int,
    engine: EngineName,
    device: torch.device,
) -> AnyEngine:
    """An engine with N worlds of `robot`, of which the fields `varied` may differ.

    Args:
        robot: what is simulated.
        num_worlds: N.
        varied: model fields that differ between worlds.
        threads: of the engine cpu.
        engine: which one.
        device: where the learner works; the engine warp and robots without a simulator work there
            too, unless the engine cpu is asked for.

    Raises:
        InputError: for an engine that cannot be used.
    """
    if isinstance(robot, AnalyticRobot):
        return AnalyticEngine(
            robot.dynamics,
            num_worlds,
            nq=robot.num_positions,
            nu=robot.action_size,
            device=torch.device("cpu") if engine == "cpu" else device,
        )
    if chosen_engine(engine, device) == "cpu":
        return CpuEngine(
            robot.load_model(), num_worlds, varied=varied, outputs=robot.outputs, threads=threads
        )
    from metarl_envs.engines.warp import WarpEngine  # an extra, and slow to import

    return WarpEngine(
        robot.load_model(),
        num_worlds,
        varied=varied,
        outputs=robot.outputs,
        max_contacts=robot.max_contacts,
        max_constraints=robot.max_constraints,
        device=device,
    )
