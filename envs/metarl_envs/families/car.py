"""Car-grip: a car that laps an oval lane on tyres whose grip it does not know."""

from __future__ import annotations

from torch import Tensor

from metarl_envs import vary
from metarl_envs.distributions import LogUniform
from metarl_envs.family import TaskFamily
from metarl_envs.parameters import Fields, ModelEffect, Parameter
from metarl_envs.robots.base import Transition
from metarl_envs.robots.car import CAR, progress
from metarl_envs.vary.apply import ranged


def progress_reward(transition: Transition) -> Tensor:
    """Distance covered along the lane in the step, m, so that a return is the way driven: (N,)."""
    return progress(transition)


def _steering_trim() -> Parameter:
    """An angle added to the target of the steering."""
    servo = CAR.load_model().actuator("steering").id

    def transform(fields: Fields, value: Tensor) -> Fields:
        bias = fields["actuator_biasprm"].clone()
        stiffness = -bias[:, servo, 1]  # the servo's force is kp * control + bias[0] - kp * angle
        bias[:, servo, 0] += stiffness * value.to(bias)
        return {"actuator_biasprm": bias}

    return ranged(
        "steering_trim",
        "rad",
        "angle at which the front wheels stand for a target of 0, left is positive",
        0.0,
        (-0.06, 0.06),
        [(-0.1, -0.06), (0.06, 0.1)],
        ModelEffect(("actuator_biasprm",), transform),
    )


GRIP = TaskFamily(
    name="car-grip",
    robot=CAR,
    parameters=(
        vary.friction(
            CAR,
            ["front_*", "rear_*"],
            LogUniform(5.0, ((-1.0, 0.0),)),
            how="set",
            extrapolation=LogUniform(5.0, ((-1.25, -1.0),)),
            name="tyre_friction",
        ),
        vary.friction(
            CAR,
            "rear_*",
            (0.85, 1.15),
            extrapolation=[(0.75, 0.85), (1.15, 1.25)],
            name="rear_grip",
        ),
        _steering_trim(),
        vary.mass(
            CAR,
            "payload",
            (0.01, 1.5),
            how="set",
            extrapolation=(1.5, 2.2),
            name="payload",
        ),
    ),
    reward=progress_reward,
    horizon=200,
    quantity="speed_along_lane_m_per_s",
    source=(
        "Ours, after driving on unknown ground with a vehicle model that is meta-learned "
        "(arXiv:2409.14950): a rear-driven car of scale 1:10 laps an oval lane (straights of 3 m, "
        "bends of radius 1.2 m, 0.3 m to each side). Hidden: the tyres' friction, 5^U(-1, 0) "
        "(0.2 snow, 1 dry asphalt), the rear ones' 0.85 to 1.15 times as much, a steering trim of "
        "+-0.06 rad, a payload of up to 1.5 kg on 3.35 kg. Observed: offset and heading in the "
        "lane, the place on the lap, the curvature up to 2 m ahead; no speed. Actions: steering "
        "angle, +-0.4 rad, and speed of the rear wheels, -20 to 80 rad/s (-1 to 4 m/s). Start: at "
        "rest anywhere on the lane. reward = distance covered along the lane (m), so that a "
        "return is the way driven; terminated where the car's side crosses a line, its middle "
        "0.17 m off the lane's, which costs the rest of the way; dt 0.04 s, 200 steps. A bend "
        "holds sqrt(9.81 friction radius): 1.5 to 3.4 m/s. Extrapolation: friction 0.13 to 0.2, "
        "rear 0.75 to 0.85 or 1.15 to 1.25, trim 0.06 to 0.1 rad to either side, payload 1.5 to "
        "2.2 kg."
    ),
)
