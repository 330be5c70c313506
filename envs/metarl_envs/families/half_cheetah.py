"""Half-cheetah families: direction, velocity, dynamics, crippled, reversed, payload-velocity."""

from __future__ import annotations

from torch import Tensor

from metarl_envs.distributions import Choice, LogUniform, Uniform, interval
from metarl_envs.family import TaskFamily
from metarl_envs.parameters import ModelEffect, Parameter, kill_actuators, scale_fields, scale_mass
from metarl_envs.robots.base import Transition, control_cost, forward_velocity
from metarl_envs.robots.half_cheetah import HALF_CHEETAH, gymnasium_reward


def direction_reward(transition: Transition) -> Tensor:
    """d v - 0.05 |a|^2: (N,)."""
    progress = transition.task["direction"] * forward_velocity(transition)
    return progress - control_cost(transition, 0.05)


def velocity_reward(transition: Transition) -> Tensor:
    """-|v - v*| - 0.05 |a|^2: (N,)."""
    error = (forward_velocity(transition) - transition.task["velocity"]).abs()
    return -error - control_cost(transition, 0.05)


def squared_velocity_reward(transition: Transition) -> Tensor:
    """-(v - v*)^2 - 0.05 |a|^2: (N,)."""
    error = forward_velocity(transition) - transition.task["velocity"]
    return -error.square() - control_cost(transition, 0.05)


def crippled_reward(transition: Transition) -> Tensor:
    """v - 0.05 |a|^2: (N,)."""
    return forward_velocity(transition) - control_cost(transition, 0.05)


DIRECTION = TaskFamily(
    name="half-cheetah-direction",
    robot=HALF_CHEETAH,
    parameters=(
        Parameter(
            name="direction",
            unit="1",
            description="+1 runs forward, -1 backward",
            nominal=1.0,
            train=Choice((-1.0, 1.0)),
        ),
    ),
    reward=direction_reward,
    horizon=100,
    quantity="forward_velocity_m_per_s",
    source=(
        "HalfCheetah forward/backward of MAML (Finn et al. 2017) in the form of ProMP (Rothfuss et "
        "al. 2019): reward = d v - 0.05 |a|^2, d in {-1, +1}, dt 0.05 s, 100 steps, 17 "
        "observations. Two tasks in all: nothing is held out."
    ),
)

VELOCITY = TaskFamily(
    name="half-cheetah-velocity",
    robot=HALF_CHEETAH,
    parameters=(
        Parameter(
            name="velocity",
            unit="m/s",
            description="the forward velocity to hold",
            nominal=1.0,
            train=interval(0.0, 2.0),
            extrapolation=interval(2.0, 3.0),
        ),
    ),
    reward=velocity_reward,
    horizon=100,
    quantity="forward_velocity_m_per_s",
    source=(
        "HalfCheetah goal velocity of MAML (Finn et al. 2017): reward = -|v - v*| - 0.05 |a|^2, "
        "v* ~ U(0, 2) m/s, dt 0.05 s, 100 steps. Other codes draw U(0, 3) or U(0, 7) under the "
        "same name."
    ),
)


def _log_scale(name: str, description: str, effect: ModelEffect) -> Parameter:
    return Parameter(
        name=name,
        unit="1",
        description=description,
        nominal=1.0,
        train=LogUniform(2.0, ((-1.0, 1.0),)),
        extrapolation=LogUniform(2.0, ((-1.5, -1.0), (1.0, 1.5))),
        effect=effect,
    )


DYNAMICS = TaskFamily(
    name="half-cheetah-dynamics",
    robot=HALF_CHEETAH,
    parameters=(
        _log_scale("mass_scale", "factor on all masses and inertias", scale_mass()),
        _log_scale("friction_scale", "factor on all friction", scale_fields(("geom_friction",))),
        _log_scale("damping_scale", "factor on all joint damping", scale_fields(("dof_damping",))),
    ),
    reward=gymnasium_reward,
    horizon=200,
    quantity="forward_velocity_m_per_s",
    source=(
        "Ours, after the mass and body variants of RoML (Greenberg et al. 2023): one factor "
        "2^U(-1, 1) each on mass, friction and joint damping; reward of HalfCheetah-v5, "
        "v - 0.1 |a|^2. Unlike there, inertia scales with mass, and no size changes."
    ),
)

CRIPPLED = TaskFamily(
    name="half-cheetah-crippled",
    robot=HALF_CHEETAH,
    parameters=(
        Parameter(
            name="dead_actuator",
            unit="1",
            description=(
                "the actuator without force: 0-2 back thigh, shin, foot; 3-5 front thigh, shin, "
                "foot; -1 none"
            ),
            nominal=-1.0,
            train=Choice((0.0, 1.0, 2.0, 3.0)),
            extrapolation=Choice((4.0, 5.0)),
            # Row -1 is the last group, the empty one: the nominal robot is whole.
            effect=kill_actuators([(0,), (1,), (2,), (3,), (4,), (5,), ()]),
        ),
    ),
    reward=crippled_reward,
    horizon=200,
    quantity="forward_velocity_m_per_s",
    source=(
        "Disabled joint of GrBAL (Nagabandi et al. 2019): one actuator gives no force; reward = "
        "v - 0.05 |a|^2. Ours: actuators 0-3 train, 4 and 5 only in extrapolation; 200 steps "
        "instead of 1,000; v from the position of the root, not of the torso's centre of mass."
    ),
)


def _leg(name: str, title: str, actuators: range) -> Parameter:
    return Parameter(
        name=name,
        unit="1",
        description=f"-1: the {title} leg's three motors are wired in reverse; +1: they are not",
        nominal=1.0,
        train=Choice((-1.0, 1.0)),
        effect=scale_fields(("actuator_gear",), actuators),
    )


REVERSED = TaskFamily(
    name="half-cheetah-reversed",
    robot=HALF_CHEETAH,
    parameters=(
        _leg("back_leg", "back", range(3)),
        _leg("front_leg", "front", range(3, 6)),
        Parameter(
            name="motor_strength",
            unit="1",
            description="factors on the gear of each motor: back thigh, shin, foot; front",
            nominal=(1.0,) * 6,
            train=LogUniform(2.0, ((-0.5, 0.5),)),
            extrapolation=LogUniform(2.0, ((-1.0, -0.5), (0.5, 1.0))),
            effect=scale_fields(("actuator_gear",), range(6)),
        ),
    ),
    reward=crippled_reward,
    horizon=100,
    quantity="forward_velocity_m_per_s",
    source=(
        "Ours: each leg's motors are wired the right way round or in reverse, and each motor is "
        "2^U(-0.5, 0.5) as strong; reward = v - 0.05 |a|^2, dt 0.05 s, 100 steps. Extrapolation: "
        "every strength 2^e, |e| in [0.5, 1]. A policy that never adapts does nearly as well as "
        "one that observes the task: how the robot moves tells it (experiments/results)."
    ),
)

PAYLOAD_VELOCITY = TaskFamily(
    name="half-cheetah-payload-velocity",
    robot=HALF_CHEETAH,
    parameters=(
        Parameter(
            name="velocity",
            unit="m/s",
            description="the velocity to hold, forward or backward",
            nominal=1.0,
            train=interval(-2.0, 2.0),
            extrapolation=Uniform(((-3.0, -2.0), (2.0, 3.0))),
        ),
        Parameter(
            name="torso_mass_scale",
            unit="1",
            description="factor on the torso's mass and inertia: a payload that it carries",
            nominal=1.0,
            train=interval(1.0, 3.0),
            extrapolation=interval(3.0, 4.0),
            effect=scale_mass([HALF_CHEETAH.load_model().body("torso").id]),
        ),
    ),
    reward=squared_velocity_reward,
    horizon=100,
    quantity="forward_velocity_m_per_s",
    source=(
        "Ours: goal velocities with a payload, reward = -(v - v*)^2 - 0.05 |a|^2, v* ~ U(-2, 2) "
        "m/s and a torso U(1, 3) times as heavy, dt 0.05 s, 100 steps. Squared, since the absolute "
        "error of half-cheetah-velocity tells a gradient step which way to go but not how far. "
        "Extrapolation: |v*| in [2, 3] m/s and 3 to 4 times the mass, both at once."
    ),
)
