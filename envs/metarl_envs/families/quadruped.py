"""Quadruped family: a robot of the Go1's size trots along a line that its camera may mirror."""

from __future__ import annotations

import dataclasses

import mujoco
import torch
from torch import Generator, Tensor

from metarl_envs import vary
from metarl_envs.distributions import Choice
from metarl_envs.family import TaskFamily
from metarl_envs.robots.base import State, Transition
from metarl_envs.robots.quadruped import near_home, trunk_velocity
from metarl_envs.robots.trot import TROTTING
from metarl_envs.robots.trot import observe as senses
from metarl_envs.rotations import axes, down

SPEED_SCALES_M_PER_S = (0.25, 0.1)
"""Coarse, so that a beginner's first step pays, and fine, so that the last centimetres count."""
LINE_SCALES_M = (0.3, 0.1)
"""Likewise, of the distance from the line."""
START_OFFSET_M = 0.4
"""Distance of a start from the line, at most, on either side."""
START_HEADING_RAD = (0.2, 0.8)
"""Of a start: to the left of the line's direction, so that its first steps tell the camera."""


def heading(state: State) -> Tensor:
    """Angle of the trunk from the line's direction, rad, to the left: (N,)."""
    ahead = axes(state["qpos"][:, 3:7])
    return torch.atan2(ahead[:, 1], ahead[:, 0])


def observe(state: State) -> Tensor:
    """The robot's own senses, its offset to the left of the line, m, and its heading: (N, 34)."""
    offset = state["qpos"][:, 1:2]
    return torch.cat([senses(state), offset, heading(state)[:, None]], dim=1)


def near_line(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """At rest near the home pose, within 0.4 m of the line, turned to its left."""
    positions, speeds = near_home(qpos, qvel, num_worlds, generator)
    u = torch.rand((num_worlds, 2), generator=generator, dtype=qpos.dtype, device=generator.device)
    u = u.to(qpos.device)
    least, most = START_HEADING_RAD
    turned = (least + (most - least) * u[:, 0]) / 2
    positions[:, 1] = START_OFFSET_M * (2 * u[:, 1] - 1)
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
    targets_moved = transition.after["ctrl"] - transition.before["ctrl"]
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


def with_line(spec: mujoco.MjSpec) -> None:
    """Paint the line on the floor; nothing touches it."""
    spec.worldbody.add_geom(
        name="line",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[20.0, 0.015, 0.001],
        rgba=[0.93, 0.78, 0.2, 1.0],
        contype=0,
        conaffinity=0,
    )


ROBOT = dataclasses.replace(
    TROTTING,
    edit=with_line,
    name="quadruped-on-a-line",
    observation=observe,
    observation_size=TROTTING.observation_size + 2,
    reset_state=near_line,
    quantities={**TROTTING.quantities, "distance_to_line_m": distance_to_line},
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
            vary.observation_gain(
                ROBOT,
                Choice((-1.0, 1.0)),
                entries=[TROTTING.observation_size],
                each=False,
                name="camera_side",
            ),
            description="-1: the camera is mirrored, so that left of the line shows as right",
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
        "Ours: a robot of the Go1's size trots along a line at a speed that it observes, v* ~ "
        "U(0.3, 0.6) m/s; 50 Hz, 250 steps. Actions shape the strides of its feet, front left, "
        "front right, rear left and rear right, three strides a second: of each its length ahead, "
        "-0.07 to 0.35 m, and to the left, +-0.12 m, and the hip's height, 0.215 +- 0.04 m; so "
        "policies modulate a trajectory generator in Iscen et al. 2018. It observes its heading, "
        "and by a camera how far it is to the left of the line, y "
        "(m). But the camera may be mirrored, as one that is mounted upside down: then right shows "
        "as left. The trunk's velocity is hidden, and no single look tells on which side the line "
        "is; who remembers how y changed on the way it went finds out. Start: up to 0.4 m beside "
        "the line, turned by U(0.2, 0.8) rad to its left. The reward = l(v - v*, 0.25, 0.1) "
        "l(y, 0.3, 0.1) exp(-0.5 v_z^2 - 0.05 |w_xy|^2 - 5 |g_xy|^2 - 0.1 |change of targets|^2), "
        "with l(e, a, b) = (exp(-|e| / a) + exp(-|e| / b)) / 2, the speed v along the line, and "
        "the direction of gravity g in the trunk's frame: costs of the Go1 of MuJoCo Playground "
        "(Zakka et al. 2025), where they multiply, as in Walk These Ways (Margolis and Agrawal "
        "2022), and need not be cut off at 0. It never pays to fall: every step earns, and a fall "
        "(tilt above 70 degrees, or trunk below 0.12 m) ends what could still be earned. Also "
        "hidden: a load of U(0, 6) kg on the trunk, as in RMA (Kumar et al. 2021), up to 0.15 m "
        "ahead or behind (Walk These Ways: centre of mass +-0.15 m) and 0.05 m to the sides of its "
        "middle; the floor's friction U(0.3, 1.25) (legged_gym, Rudin et al. 2022: 0.5 to 1.25; "
        "wet tiles are less), and actions up to two control steps of 20 ms late (Tan et al. 2018: "
        "0 to 40 ms). Extrapolation: 6 to 8 kg, friction 0.2 to 0.3, three steps late."
    ),
)
