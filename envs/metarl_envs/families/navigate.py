"""Navigate-hidden: a robot plans its way through doors that it has to find, in a hidden current."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from metarl_envs import vary
from metarl_envs.family import TaskFamily
from metarl_envs.parameters import Fields, ModelEffect, Parameter
from metarl_envs.robots.base import Transition
from metarl_envs.robots.maze import MAZE, ROOM_HALF_M
from metarl_envs.scene.markers import Marker
from metarl_envs.vary.apply import ranged

GOAL_X_M = 2.0
DOOR_M = 0.5


def distance_to_goal(transition: Transition) -> Tensor:
    """Straight distance to the goal after the step, m: (N,)."""
    offset = transition.after["qpos"].clone()
    offset[:, 0] -= GOAL_X_M
    offset[:, 1] -= transition.task["goal_y"]
    return offset.norm(dim=1)


def distance_reward(transition: Transition) -> Tensor:
    """Minus the straight distance to the goal after the step, m: (N,)."""
    return -distance_to_goal(transition)


def _door(wall: str) -> Parameter:
    """The place of a wall's door: one panel fills the wall below it, the other one above it."""
    model = MAZE.load_model()
    below, above = (model.geom(f"{wall}_{panel}").id for panel in ("below", "above"))
    end = ROOM_HALF_M[1]

    def transform(fields: Fields, value: Tensor) -> Fields:
        position, size = fields["geom_pos"].clone(), fields["geom_size"].clone()
        y = value.to(position)
        for panel, low, high in (
            (below, -end, y - DOOR_M / 2),
            (above, y + DOOR_M / 2, end),
        ):
            position[:, panel, 1] = (low + high) / 2
            size[:, panel, 1] = (high - low) / 2
        return {"geom_pos": position, "geom_size": size}

    return ranged(
        f"{wall}_door",
        "m",
        f"y of the middle of the {wall} wall's door",
        0.0,
        (-0.95, 0.95),
        [(-1.15, -0.95), (0.95, 1.15)],
        ModelEffect(("geom_pos", "geom_size"), transform),
    )


def _current() -> Parameter:
    """A current that carries the robot along: a force in which it drifts at the given speed."""
    model = MAZE.load_model()
    mass = float(model.body("robot").mass[0])
    damping = -float(model.actuator("speed_x").biasprm[2])  # N s/m, of the servo that it resists

    def transform(fields: Fields, value: Tensor) -> Fields:
        gravity = fields["opt.gravity"].clone()
        gravity[:, :2] = value.to(gravity) * damping / mass
        return {"opt.gravity": gravity}

    return ranged(
        "current",
        "m/s",
        "speed along x and y at which the robot drifts for an action of 0",
        (0.0, 0.0),
        (-0.2, 0.2),
        [(-0.35, -0.2), (0.2, 0.35)],
        ModelEffect(("opt.gravity",), transform),
    )


HIDDEN = TaskFamily(
    name="navigate-hidden",
    robot=dataclasses.replace(
        MAZE, quantities={**MAZE.quantities, "distance_to_goal_m": distance_to_goal}
    ),
    parameters=(
        vary.goal(
            "goal_y",
            (-1.2, 1.2),
            0.0,
            unit="m",
            description="y of the goal behind the second wall, which the policy observes",
            observed=True,
        ),
        _door("first"),
        _door("second"),
        _current(),
    ),
    reward=distance_reward,
    horizon=120,
    quantity="distance_to_goal_m",
    markers=(Marker("goal_y", axis="y", origin_m=(GOAL_X_M, 0.0, 0.05)),),
    source=(
        "Ours, after the doors and mazes of exploration papers: an omnidirectional robot (radius "
        "0.12 m, at most 1 m/s along x and y) crosses a room of 5 m x 3 m with two walls and has "
        "to find their doors, each 0.5 m wide with its middle at y ~ U(-0.95, 0.95) m, in a "
        "current of up to 0.2 m/s along x and y. Observed: its position and the goal's y (m); "
        "neither walls nor speed. Start: at rest, anywhere before the first wall. Goal: 2 m from "
        "the middle, behind the second wall, y ~ U(-1.2, 1.2) m. reward = -straight distance to "
        "the goal (m), never terminated, dt 0.1 s, 120 steps. Extrapolation: doors 0.95 to 1.15 "
        "m from the middle, currents of 0.2 to 0.35 m/s along each axis."
    ),
)
