"""Ant families: direction, velocity, goal, crippled."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from metarl_envs import vary
from metarl_envs.distributions import Choice, Ring
from metarl_envs.family import TaskFamily
from metarl_envs.robots.ant import ANT, healthy, torso_position, torso_velocity
from metarl_envs.robots.base import Transition, control_cost, never


def direction_reward(transition: Transition) -> Tensor:
    """d v + 1 while healthy - 0.5 |a|^2: (N,)."""
    progress = transition.task["direction"] * torso_velocity(transition)
    return progress + healthy(transition).to(progress.dtype) - control_cost(transition, 0.5)


def velocity_reward(transition: Transition) -> Tensor:
    """-|v - v*| + 1.05 - 0.005 |a|^2: (N,)."""
    error = (torso_velocity(transition) - transition.task["velocity"]).abs()
    return 1.05 - error - control_cost(transition, 0.005)


def goal_reward(transition: Transition) -> Tensor:
    """-|p - goal|_1 - 0.1 |a|^2: (N,)."""
    offset = torso_position(transition.after) - transition.task["goal"]
    return -offset.abs().sum(dim=1) - control_cost(transition, 0.1)


def crippled_reward(transition: Transition) -> Tensor:
    """v + 0.05: (N,)."""
    return torso_velocity(transition) + 0.05


def distance_to_goal(transition: Transition) -> Tensor:
    """Straight distance from the torso to the goal after the step, m: (N,)."""
    return (torso_position(transition.after) - transition.task["goal"]).norm(dim=1)


DIRECTION = TaskFamily(
    name="ant-direction",
    robot=ANT,
    parameters=(
        vary.goal(
            "direction", Choice((-1.0, 1.0)), 1.0, description="+1 walks along +x, -1 along -x"
        ),
    ),
    reward=direction_reward,
    horizon=200,
    quantity="forward_velocity_m_per_s",
    source=(
        "Ant forward/backward of MAML (Finn et al. 2017) in the form of ProMP (Rothfuss et al. "
        "2019): reward = d v - 0.5 |a|^2 + 1, d in {-1, +1}, dt 0.05 s, 200 steps. Two tasks in "
        "all: nothing is held out. Differs from ProMP as Ant-v5 does: terminates outside torso "
        "heights [0.2, 1] m (there [0, 1]), the 1 is paid only while inside, and 27 observations "
        "and reward are without contact forces. Other codes draw an angle under the same name."
    ),
)

VELOCITY = TaskFamily(
    name="ant-velocity",
    robot=ANT,
    parameters=(
        vary.goal(
            "velocity",
            (0.0, 3.0),
            1.0,
            unit="m/s",
            description="the forward velocity to hold",
            extrapolation=(3.0, 4.0),
        ),
    ),
    reward=velocity_reward,
    horizon=200,
    quantity="forward_velocity_m_per_s",
    source=(
        "Ant goal velocity of MAML (Finn et al. 2017) in the form of pytorch-maml-rl (Deleu 2018): "
        "reward = -|v - v*| + 1.05 - 0.005 |a|^2, v* ~ U(0, 3) m/s, terminated outside torso "
        "heights [0.2, 1] m, dt 0.05 s, 200 steps (there 100). Differs: no contact forces in the "
        "27 observations and in the reward."
    ),
)

GOAL = TaskFamily(
    name="ant-goal",
    robot=dataclasses.replace(
        ANT, quantities={**ANT.quantities, "distance_to_goal_m": distance_to_goal}
    ),
    parameters=(
        vary.goal(
            "goal",
            Ring(0.0, 3.0),
            (0.0, 0.0),
            unit="m",
            description="where to go; the start is near the origin",
            extrapolation=Ring(3.0, 4.0),
        ),
    ),
    reward=goal_reward,
    terminated=never,
    horizon=200,
    quantity="distance_to_goal_m",
    source=(
        "Ant goal of ProMP (Rothfuss et al. 2019) and PEARL (Rakelly et al. 2019): reward = "
        "-|p - goal|_1 - 0.1 |a|^2, goal uniform in the disc of radius 3 m, never terminated, dt "
        "0.05 s, 200 steps. Differs: no contact forces in the 27 observations and in the reward; "
        "as in ProMP, and unlike PEARL, the position is not observed."
    ),
)

CRIPPLED = TaskFamily(
    name="ant-crippled",
    robot=ANT,
    parameters=(
        dataclasses.replace(
            vary.dead_actuator(
                ANT,
                ["*_1", "*_2", "*_3", "*_4"],
                train=(0, 1, 2),
                extrapolation=(3,),
                name="dead_leg",
            ),
            description=(
                "the leg without force: 0 front left, 1 front right, 2 back left, 3 back right; "
                "-1 none"
            ),
        ),
    ),
    reward=crippled_reward,
    terminated=never,
    horizon=200,
    quantity="forward_velocity_m_per_s",
    source=(
        "Crippled leg of GrBAL (Nagabandi et al. 2019): hip and ankle of one leg give no force, "
        "legs 0-2 train, leg 3 only in extrapolation; reward = v + 0.05. Differs: the leg keeps "
        "its geometry (there it is shrunk by half), v is the torso body's and not its centre of "
        "mass's, dt 0.05 s and 200 steps (there 0.02 s and 1,000)."
    ),
)
