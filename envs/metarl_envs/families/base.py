"""Base-reversed: a mobile base whose wheels are wired in reverse, or to each other's motors."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from metarl_envs import vary
from metarl_envs.distributions import Choice, Ring
from metarl_envs.family import TaskFamily
from metarl_envs.mjcf.names import find
from metarl_envs.parameters import Parameter
from metarl_envs.robots.base import Transition
from metarl_envs.robots.mobile_base import MOBILE_BASE
from metarl_envs.vary.apply import changing


def distance_to_goal(transition: Transition) -> Tensor:
    """Distance of the wheels' axle from the goal after the step, m: (N,)."""
    return (transition.after["qpos"][:, :2] - transition.task["goal"]).norm(dim=1)


def distance_reward(transition: Transition) -> Tensor:
    """Minus the distance to the goal after the step, m: (N,)."""
    return -distance_to_goal(transition)


def _sides() -> Parameter:
    """The sides of the two wheels, and with them which motor drives which side.

    The wheels are equal, so that moving wheel_1 to the right and wheel_2 to the left is the same as
    plugging the motors' cables into each other's sockets.
    """
    model = MOBILE_BASE.load_model()
    across = {"body_pos": (find(model, "body", "wheel_*"), 1)}
    return Parameter(
        name="side",
        unit="1",
        description="1: action 0 drives the left wheel; -1: the right one, the cables are swapped",
        nominal=1.0,
        train=Choice((-1.0, 1.0)),
        effect=changing(model, [across], "scale"),
    )


REVERSED = TaskFamily(
    name="base-reversed",
    robot=dataclasses.replace(
        MOBILE_BASE, quantities={**MOBILE_BASE.quantities, "distance_to_goal_m": distance_to_goal}
    ),
    parameters=(
        vary.goal(
            "goal",
            Ring(0.0, 0.8),
            (0.5, 0.0),
            unit="m",
            description="where to go, which the policy observes",
            extrapolation=Ring(0.8, 1.1),
            observed=True,
        ),
        # Below 0: the motor turns its wheel the other way round.
        vary.gear(
            MOBILE_BASE,
            "motor_*",
            [(-1.25, -0.8), (0.8, 1.25)],
            each=True,
            extrapolation=[(-1.6, -1.25), (-0.8, -0.65), (0.65, 0.8), (1.25, 1.6)],
            name="motor_gear",
        ),
        _sides(),
    ),
    reward=distance_reward,
    horizon=80,
    quantity="distance_to_goal_m",
    source=(
        "Ours, after teleoperation with an unknown mapping: a differential-drive base of the size "
        "of a TurtleBot3 Burger (ROBOTIS) drives to a place that it observes, but has to find out "
        "its wiring. Each motor turns its wheel forward or backward, by a gear of U(0.8, 1.25), "
        "and the two cables may be swapped: eight wirings, equally likely. The wheel's speed is "
        "the action / gear. Observed: x, y (m), cosine and sine of the heading, speed (m/s), yaw "
        "rate (rad/s), and the goal (m); nothing of a wheel. Actions: wheel "
        "speeds, +-6.67 rad/s (0.22 m/s). Start: at rest, within 0.3 m of the origin in x and y, "
        "any heading. Goal: uniform in the disc of radius 0.8 m. reward = -distance to the goal "
        "(m), never terminated, dt 0.1 s, 80 steps. "
        "Extrapolation: gears of 0.65 to 0.8 or 1.25 to 1.6 either way, goals 0.8 to 1.1 m away. "
        "The best actions of the eight wirings cancel out: a student that imitates their mean "
        "never moves, and one that imitates the likeliest (--outer.mode-width 0.5) does."
    ),
)
