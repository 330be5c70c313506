"""Engines step N worlds at once; `make_engine` picks one for a robot."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from metarl_envs.engines.analytic import AnalyticEngine
from metarl_envs.engines.base import Engine
from metarl_envs.engines.choice import ENGINES, EngineName, chosen_engine, warp_problem
from metarl_envs.engines.cpu import CpuEngine
from metarl_envs.engines.gym import GymEngine
from metarl_envs.errors import InputError
from metarl_envs.robots.base import AnalyticRobot
from metarl_envs.robots.gym import GymRobot
from metarl_envs.robots.kinds import Robot

if TYPE_CHECKING:
    from metarl_envs.engines.warp import WarpEngine

    AnyEngine = CpuEngine | AnalyticEngine | GymEngine | WarpEngine
    _FOLLOW_THE_PROTOCOL: tuple[type[Engine], ...] = (
        CpuEngine,
        AnalyticEngine,
        GymEngine,
        WarpEngine,
    )

__all__ = [
    "ENGINES",
    "AnalyticEngine",
    "CpuEngine",
    "Engine",
    "EngineName",
    "GymEngine",
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
        threads: of the engine cpu; of a Gymnasium environment, processes.
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
    if isinstance(robot, GymRobot):
        if engine == "warp":
            raise InputError(
                f"engine = 'warp': {robot.env_id} is a Gymnasium environment, which steps itself; "
                "use --engine cpu"
            )
        return GymEngine(robot, num_worlds, varied=varied, processes=threads)
    if chosen_engine(engine, device) == "cpu":
        return CpuEngine(
            robot.load_model(),
            num_worlds,
            varied=varied,
            outputs=robot.outputs,
            lagged_outputs=robot.lagged_outputs,
            keyframe=robot.keyframe,
            warm_start=robot.warm_start,
            threads=threads,
        )
    from metarl_envs.engines.warp import WarpEngine  # an extra, and slow to import

    if device.type == "cpu":
        warnings.warn(
            "engine warp without a GPU: Warp's CPU device is for tests and simulates a few steps "
            "per second; use --engine cpu, which is far faster here",
            stacklevel=3,
        )
    return WarpEngine(
        robot.load_model(),
        num_worlds,
        varied=varied,
        outputs=robot.outputs,
        lagged_outputs=robot.lagged_outputs,
        keyframe=robot.keyframe,
        warm_start=robot.warm_start,
        max_contacts=robot.max_contacts,
        max_constraints=robot.max_constraints,
        device=device,
    )
