"""What a robot is: a model plus pure functions of its state, batched over worlds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import gymnasium
import mujoco
import torch
from torch import Generator, Tensor

State = Mapping[str, Tensor]
"""Read-only view of an engine's named tensors, each (N, ...)."""


@dataclass(frozen=True)
class Transition:
    """One control step of N worlds, as rewards, terminations and quantities see it."""

    before: State
    """Copies of the robot's `remembered` fields from before the step."""
    after: State
    action: Tensor  # (N, A), in control units
    dt_s: float
    task: Mapping[str, Tensor]  # parameter values, each (N,) or (N, d)


class ResetState(Protocol):
    """Draws initial positions and velocities around the model's own."""

    def __call__(
        self, qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """(nq,), (nv,) -> (N, nq), (N, nv)."""
        ...


def never(transition: Transition) -> Tensor:
    """No termination: (N,) False."""
    return torch.zeros(len(transition.action), dtype=torch.bool, device=transition.action.device)


@dataclass(frozen=True, kw_only=True)
class MujocoRobot:
    """A robot simulated by MuJoCo."""

    name: str
    xml: Path
    frame_skip: int
    """Simulator substeps per control step."""
    observation: Callable[[State], Tensor]  # -> (N, O)
    observation_size: int
    reset_state: ResetState
    terminated: Callable[[Transition], Tensor]  # -> (N,) bool
    quantities: Mapping[str, Callable[[Transition], Tensor]]
    """Named physical quantities in SI units, such as "forward_velocity_m_per_s": -> (N,)."""
    remembered: tuple[str, ...] = ("qpos",)
    """Fields that rewards and quantities compare with their value before the step."""
    outputs: tuple[str, ...] = ()
    """Engine outputs that the functions above read, besides qpos and qvel."""
    camera: str | None = "track"

    def load_model(self) -> mujoco.MjModel:
        """The nominal model, compiled anew."""
        mujoco.set_mju_user_warning(lambda message: None)  # deprecated-attribute chatter of MJCFs
        try:
            return mujoco.MjModel.from_xml_path(str(self.xml))
        finally:
            mujoco.set_mju_user_warning(None)


@dataclass(frozen=True, kw_only=True)
class AnalyticRobot:
    """A robot whose dynamics are one tensor function."""

    name: str
    dynamics: Callable[[Tensor, Tensor], Tensor]  # (N, nq), (N, nu) -> (N, nq)
    num_positions: int
    control_limit: float
    """Controls lie in [-limit, limit]."""
    action_size: int
    dt_s: float
    observation: Callable[[State], Tensor]  # -> (N, O)
    observation_size: int
    reset_state: ResetState
    terminated: Callable[[Transition], Tensor]  # -> (N,) bool
    quantities: Mapping[str, Callable[[Transition], Tensor]] = field(default_factory=dict)
    remembered: tuple[str, ...] = ("qpos",)


Robot = MujocoRobot | AnalyticRobot


def uniform_noise(
    shape: tuple[int, ...], half_width: float, generator: Generator
) -> Tensor:
    """Uniform on [-half_width, half_width], float64."""
    u = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
    return (2 * u - 1) * half_width


def gymnasium_asset(file_name: str) -> Path:
    """An MJCF file of the installed Gymnasium (MIT), found without importing its MuJoCo part."""
    return Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / file_name
