"""Puck-slide: throw a puck whose friction is hidden, so that it stops at a mark."""

from __future__ import annotations

import dataclasses
import math

from torch import Tensor

from metarl_envs import vary
from metarl_envs.distributions import LogUniform
from metarl_envs.family import TaskFamily
from metarl_envs.parameters import Fields, ModelEffect, Parameter
from metarl_envs.robots.base import Transition
from metarl_envs.robots.puck import PUCK, THROWER, puck_position
from metarl_envs.scene.markers import Marker

NOMINAL_FRICTION = 0.25
"""Coefficient of friction of the model."""


def distance_to_mark(transition: Transition) -> Tensor:
    """Distance of the puck to the mark after the step, m: (N,)."""
    return (puck_position(transition) - transition.task["mark"]).abs()


def reward(transition: Transition) -> Tensor:
    """Minus the distance of the puck to the mark, m: (N,)."""
    return -distance_to_mark(transition)


def _dry_friction(fields: Fields, coefficient: Tensor) -> Fields:
    """Friction of the puck's joint, N, which is the coefficient times the puck's weight."""
    friction = fields["dof_frictionloss"].clone()
    friction[:, PUCK] *= coefficient.to(friction) / NOMINAL_FRICTION
    return {"dof_frictionloss": friction}


def _logarithmic(*ranges: tuple[float, float]) -> LogUniform:
    return LogUniform(10.0, tuple((math.log10(low), math.log10(high)) for low, high in ranges))


SLIDE = TaskFamily(
    name="puck-slide",
    robot=dataclasses.replace(
        THROWER, quantities={**THROWER.quantities, "puck_to_mark_m": distance_to_mark}
    ),
    parameters=(
        Parameter(
            name="friction",
            unit="1",
            description="coefficient of friction between puck and table",
            nominal=NOMINAL_FRICTION,
            train=_logarithmic((0.1, 0.6)),
            extrapolation=_logarithmic((0.07, 0.1), (0.6, 0.85)),
            effect=ModelEffect(("dof_frictionloss",), _dry_friction),
        ),
        vary.goal(
            "mark",
            (0.4, 0.8),
            0.6,
            unit="m",
            description="where the puck should stop, beyond the line",
            observed=True,
        ),
    ),
    reward=reward,
    horizon=50,
    quantity="puck_to_mark_m",
    markers=(Marker("mark", shape="disc"),),
    source=(
        "Ours, after the puck of Peng et al. (2018, arXiv:1710.06537), whose friction their robot "
        "has to find out, and FetchSlide of Gymnasium-Robotics; reward = -|x - mark|, x of the "
        "puck after each step of 0.04 s, 50 steps. Friction mu is log-uniform in [0.1, 0.6], from "
        "a puck on ice to rubber on asphalt (Peng et al.: 0.1 to 5; above 1 the tool's 4 m/s "
        "would not reach all marks); mark ~ U(0.4, 0.8) m, which the policy observes. "
        "Extrapolation: mu in [0.07, 0.1] or [0.6, 0.85]. A puck that crosses the line at v stops "
        "v^2 / (2 mu g) beyond it, six times farther at one end of the range than at the other, "
        "and before it has crossed, observations hardly depend on mu: who does not adapt has one "
        "throw for all pucks. With scripted throws on 200 training tasks the best one for all "
        "stops 0.26 m from the mark on average (return -15.3), one that knows mu 1 mm (-7.3), a "
        "second throw that reckons with the first 2 mm (-7.3), and random speeds 0.55 m (-24.6)."
    ),
)
