"""Half-cheetah families: direction, velocity, dynamics, crippled, reversed, payload-velocity."""

from __future__ import annotations

from torch import Tensor

from metarl_envs import vary
from metarl_envs.distributions import Choice, LogUniform
from metarl_envs.family import TaskFamily
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
        vary.goal(
            "direction", Choice((-1.0, 1.0)), 1.0, description="+1 runs forward, -1 backward"
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
        vary.goal(
            "velocity",
            (0.0, 2.0),
            1.0,
            unit="m/s",
            description="the forward velocity to hold",
            extrapolation=(2.0, 3.0),
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


_HALF_TO_DOUBLE = LogUniform(2.0, ((-1.0, 1.0),))
_BEYOND = LogUniform(2.0, ((-1.5, -1.0), (1.0, 1.5)))

DYNAMICS = TaskFamily(
    name="half-cheetah-dynamics",
    robot=HALF_CHEETAH,
    parameters=tuple(
        make(HALF_CHEETAH, "*", _HALF_TO_DOUBLE, extrapolation=_BEYOND, name=name)
        for make, name in (
            (vary.mass, "mass_scale"),
            (vary.friction, "friction_scale"),
            (vary.damping, "damping_scale"),
        )
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
    parameters=(vary.dead_actuator(HALF_CHEETAH, "*", train=(1, 2, 4, 5), extrapolation=(0, 3)),),
    reward=crippled_reward,
    horizon=200,
    quantity="forward_velocity_m_per_s",
    source=(
        "Disabled joint of GrBAL (Nagabandi et al. 2019): one actuator gives no force; reward = "
        "v - 0.05 |a|^2. Ours: shins and feet train; the thighs (0 and 3), which are the strongest "
        "of each leg, die only in extrapolation; 200 steps instead of 1,000; v from the position "
        "of the root, not of the torso's centre of mass."
    ),
)


REVERSED = TaskFamily(
    name="half-cheetah-reversed",
    robot=HALF_CHEETAH,
    parameters=(
        # -1: the leg's three motors are wired in reverse; +1: they are not.
        vary.gear(HALF_CHEETAH, "b*", Choice((-1.0, 1.0)), name="back_leg"),
        vary.gear(HALF_CHEETAH, "f*", Choice((-1.0, 1.0)), name="front_leg"),
        vary.gear(
            HALF_CHEETAH,
            "*",
            LogUniform(2.0, ((-0.5, 0.5),)),
            each=True,
            extrapolation=LogUniform(2.0, ((-1.0, -0.5), (0.5, 1.0))),
            name="motor_strength",
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
        vary.goal(
            "velocity",
            (-2.0, 2.0),
            1.0,
            unit="m/s",
            description="the velocity to hold, forward or backward",
            extrapolation=[(-3.0, -2.0), (2.0, 3.0)],
        ),
        vary.mass(
            HALF_CHEETAH,
            "torso",
            (1.0, 3.0),
            extrapolation=(3.0, 4.0),
            name="torso_mass_scale",
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
