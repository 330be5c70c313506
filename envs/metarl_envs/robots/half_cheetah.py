"""Half-cheetah, as `HalfCheetah-v5` of Gymnasium: dt 0.05 s, 17 observations, 6 actuators."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from metarl_envs.robots.base import (
    MujocoRobot,
    State,
    Transition,
    gymnasium_asset,
    never,
    uniform_noise,
)


def observation(state: State) -> Tensor:
    """Positions without x, then velocities: (N, 17)."""
    return torch.cat([state["qpos"][:, 1:], state["qvel"]], dim=1)


def forward_velocity(transition: Transition) -> Tensor:
    """Mean x velocity over the control step, m/s: (N,)."""
    moved = transition.after["qpos"][:, 0] - transition.before["qpos"][:, 0]
    return moved / transition.dt_s


def reset_state(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """qpos + U(+-0.1), qvel + 0.1 N(0, 1), as Gymnasium v5."""
    noise = torch.randn(
        (num_worlds, len(qvel)), generator=generator, dtype=torch.float64, device=generator.device
    )
    return qpos + uniform_noise((num_worlds, len(qpos)), 0.1, generator), qvel + 0.1 * noise


HALF_CHEETAH = MujocoRobot(
    name="half-cheetah",
    xml=gymnasium_asset("half_cheetah.xml"),
    frame_skip=5,
    observation=observation,
    observation_size=17,
    reset_state=reset_state,
    terminated=never,
    quantities={"forward_velocity_m_per_s": forward_velocity},
)
