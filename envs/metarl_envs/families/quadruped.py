"""Quadruped family: a robot of the Go1's size walks along a line by its compass, with a load."""

from __future__ import annotations

import dataclasses

import torch
from torch import Generator, Tensor

from metarl_envs import vary
from metarl_envs.family import TaskFamily
from metarl_envs.robots.base import State, Transition
from metarl_envs.robots.quadruped import QUADRUPED, near_home, observation, trunk_velocity
from metarl_envs.rotations import axes, down

SPEED_SCALES_M_PER_S = (0.25, 0.1)
"""Coarse, so that a beginner's first step pays, and fine, so that the last centimetres count."""
LINE_SCALES_M = (0.3, 0.1)
"""Likewise, of the distance from the line."""
START_HEADING_RAD = 0.7
START_OFFSET_M = 0.2
"""Starts differ so much from the line, at most."""


def heading(state: State) -> Tensor:
    """Angle of the trunk from the line's direction, rad, to the left: (N,)."""
    ahead = axes(state["qpos"][:, 3:7])
    return torch.atan2(ahead[:, 1], ahead[:, 0])


def observe(state: State) -> Tensor:
    """The robot's own senses, its offset to the left of the line, m, and its heading: (N, 32)."""
    offset = state["qpos"][:, 1:2]
    return torch.cat([observation(state), offset, heading(state)[:, None]], dim=1)


def near_line(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """At rest near the home pose, within 0.2 m of the line and 0.7 rad of its direction."""
    positions, speeds = near_home(qpos, qvel, num_worlds, generator)
    u = torch.rand((num_worlds, 2), generator=generator, dtype=qpos.dtype, device=generator.device)
    u = 2 * u.to(qpos.device) - 1
    turned = START_HEADING_RAD * u[:, 0] / 2
    positions[:, 1] = START_OFFSET_M * u[:, 1]
    positions[:, 3], positions[:, 6] = turned.cos(), turned.sin()
    return positions, speeds


def distance_to_line(transition: Transition) -> Tensor:
    """Distance of the trunk from the line, m: (N,)."""
    return transition.after["qpos"][:, 1].abs()


def tracking_reward(transition: Transition) -> Tensor:
    """Speed along the line, times nearness to it, times exp(-costs of a restless trunk): (N,)."""
    error = (transition.after["qvel"][:, 0] - transition.task["forward_velocity"]).abs()
    distance = distance_to_line(transition)
    lean = down(transition.after["qpos"][:, 3:7])[:, :2]
    targets_moved = transition.action - transition.before["ctrl"]
    costs = (
        0.5 * trunk_velocity(transition.after)[:, 2].square()
        + 0.05 * transition.after["qvel"][:, 3:5].square().sum(dim=1)
        + 5.0 * lean.square().sum(dim=1)
        + 0.1 * targets_moved.square().sum(dim=1)
    )
    near = _two_scales(error, SPEED_SCALES_M_PER_S) * _two_scales(distance, LINE_SCALES_M)
    return near * torch.exp(-costs)


def _two_scales(error: Tensor, scales: tuple[float, float]) -> Tensor:
    """1 without an error, and falling towards 0: (N,)."""
    coarse, fine = (torch.exp(-error / scale) for scale in scales)
    return (coarse + fine) / 2


ROBOT = dataclasses.replace(
    QUADRUPED,
    name="quadruped-on-a-line",
    observation=observe,
    observation_size=QUADRUPED.observation_size + 2,
    reset_state=near_line,
    quantities={**QUADRUPED.quantities, "distance_to_line_m": distance_to_line},
)
LOAD = TaskFamily(
    name="quadruped-load",
    robot=ROBOT,
    parameters=(
        vary.goal(
            "forward_velocity",
            (0.3, 0.6),
            0.5,
            unit="m/s",
            description="speed to hold along the line",
            observed=True,
        ),
        dataclasses.replace(
            vary.observation_bias(
                ROBOT,
                (-1.5, 1.5),
                entries=[QUADRUPED.observation_size + 1],
                each=False,
                extrapolation=[(-2.0, -1.5), (1.5, 2.0)],
                name="compass_error",
            ),
            unit="rad",
            description="constant error of the heading that is observed, to the left",
        ),
        vary.payload(ROBOT, "load", (0.0, 6.0), extrapolation=(6.0, 8.0)),
        vary.place(ROBOT, "load", "x", (-0.15, 0.15)),
        vary.place(ROBOT, "load", "y", (-0.05, 0.05)),
        vary.friction(
            ROBOT,
            "floor",
            (0.3, 1.25),
            how="set",
            extrapolation=(0.2, 0.3),
            name="floor_friction",
        ),
        vary.action_delay(2, extrapolation=(3,)),
    ),
    reward=tracking_reward,
    horizon=250,
    quantity="distance_to_line_m",
    source=(
        "Ours: a robot of the Go1's size walks along a line at a speed that it observes, "
        "v* ~ U(0.3, 0.6) m/s; 50 Hz, 250 steps, joint targets around the home pose. It sees how "
        "far it is to the left of the line, y (m), but its heading only by a compass that is off "
        "by U(-1.5, 1.5) rad, as where a gyro's turns are summed from an unknown start; the "
        "trunk's velocity is hidden. One look does not tell where it is going; who remembers which "
        "way it went finds the error out. Start: within 0.2 m of the line and 0.7 rad of its "
        "direction. The reward = l(v - v*, 0.25, 0.1) l(y, 0.3, 0.1) exp(-0.5 v_z^2 - 0.05 |w_xy|^2"
        " - 5 |g_xy|^2 - 0.1 |change of targets|^2), with l(e, a, b) = (exp(-|e| / a) + exp(-|e| / "
        "b)) / 2, the speed v along the line, and the direction of gravity g in the trunk's frame: "
        "costs of the Go1 of MuJoCo Playground (Zakka et al. 2025), where they multiply, as in "
        "Walk These Ways (Margolis and Agrawal 2022), and need not be cut off at 0. It never pays "
        "to fall: every step earns, and a fall (tilt above 70 degrees, or trunk below 0.12 m) ends "
        "what could still be earned. Also hidden: a load of U(0, 6) kg on the trunk, as in RMA "
        "(Kumar et al. 2021), up to 0.15 m ahead or behind (Walk These Ways: centre of mass +-0.15 "
        "m) and 0.05 m to the sides of its middle; the floor's friction U(0.3, 1.25) (legged_gym, "
        "Rudin et al. 2022: 0.5 to 1.25; wet tiles are less), and actions up to two control steps "
        "of 20 ms late (Tan et al. 2018: 0 to 40 ms). Extrapolation: 6 to 8 kg, a compass 1.5 to 2 "
        "rad off, friction 0.2 to 0.3, three steps late."
    ),
)
