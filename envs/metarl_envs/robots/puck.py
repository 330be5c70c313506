"""A linear axis that throws a puck along a table: 25 Hz, 4 observations, 1 action.

The action is the tool's speed, from 0 to 4 m/s. The tool pushes the puck over 0.3 m up to a line,
where it meets its end stop; from there on the puck slides alone, until friction or the cushion at
1.5 m stops it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor

from metarl_envs.robots.base import MujocoRobot, State, Transition, never
from metarl_envs.scene.camera import Camera

TOOL, PUCK = 0, 1
"""Their joints; positions are the puck's x, m, with the line at 0."""
START_M = 0.02
"""The throw begins so much before or after the model's own start, at most."""


def observation(state: State) -> Tensor:
    """Position and speed of the tool, then of the puck: (N, 4).

    A camera above the table watches it beyond the line; before the line the tool hides the puck,
    which then counts as resting there. Without that, a policy could nudge the puck, watch it slide
    on, and know its friction before it throws. The tool's own motion before the line tells little:
    with friction between 0.07 and 0.85, the same actions lead within 3 mm and 0.05 m/s of the same.
    """
    position, speed = state["qpos"], state["qvel"]
    beyond = position[:, PUCK] > 0
    puck = torch.stack([position[:, PUCK], speed[:, PUCK]], dim=1) * beyond[:, None]
    return torch.cat([position[:, :1], speed[:, :1], puck], dim=1)


def recovered(before: Tensor, after: Tensor, dt_s: float) -> tuple[State, State]:
    """States in which a hidden puck is at the tool, which pushes it."""
    del dt_s

    def state(observation: Tensor) -> State:
        tool, puck = observation[:, :2], observation[:, 2:4]
        x, v = torch.where(puck[:, :1] > 0, puck, tool).unbind(dim=1)
        return {
            "qpos": torch.stack([tool[:, 0], x], dim=1),
            "qvel": torch.stack([tool[:, 1], v], dim=1),
        }

    return state(before), state(after)


def touching(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Tool and puck at rest, in touch, U(+-2 cm) from the model's start: (N, 2) each."""
    share = torch.rand(
        (num_worlds, 1), generator=generator, dtype=qpos.dtype, device=generator.device
    )
    start = qpos + START_M * (2 * share - 1).to(qpos.device)
    return start, qvel.expand(num_worlds, -1).clone()


def puck_position(transition: Transition) -> Tensor:
    """x of the puck beyond the line, m: (N,)."""
    return transition.after["qpos"][:, PUCK]


THROWER = MujocoRobot(
    name="puck-thrower",
    xml=Path(__file__).parents[1] / "assets" / "puck.xml",
    frame_skip=20,
    observation=observation,
    observation_size=4,
    reset_state=touching,
    recovered=recovered,
    terminated=never,
    quantities={"puck_position_m": puck_position},
    camera=Camera(name="side"),
)
