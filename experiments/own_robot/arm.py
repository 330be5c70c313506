"""A two-link arm that holds its hand at a height, with a load and motors that it has to find out.

A robot of one's own as a task family: `metarl check experiments/own_robot/arm.py:family`, then
`metarl train experiments/own_robot/arm.py:family --method meta-sgd --iterations 60`: on held-out
tasks a return of -24.4 before adapting, -16.4 after (`experiments/results/own-robot.json`).
`experiments/guides/own_robot.md` builds another one step by step.
"""

from pathlib import Path

from torch import Tensor

from metarl_envs import TaskFamily, Transition, mujoco_robot, vary


def hand_height(transition: Transition) -> Tensor:
    """Of the hand's site, m: (N,)."""
    return transition.after["site_xpos"][:, 0, 2]


def reward(transition: Transition) -> Tensor:
    """-|height - wanted| - 0.01 |a|^2: (N,)."""
    error = hand_height(transition) - transition.task["height"]
    return -error.abs() - 0.01 * transition.action.square().sum(dim=1)


ARM = mujoco_robot(
    Path(__file__).with_name("arm.xml"),
    frame_skip=10,
    quantities={"hand_height_m": hand_height},
    outputs=["site_xpos"],
)

family = TaskFamily(
    name="arm-lift",
    robot=ARM,
    parameters=(
        vary.mass(ARM, "hand", (0.5, 3.0), extrapolation=(3.0, 4.0)),
        vary.gear(ARM, "*_motor", (0.6, 1.0)),
        vary.action_delay(2),
        vary.goal("height", (0.2, 0.9), nominal=0.5, unit="m"),
    ),
    reward=reward,
    horizon=100,
)
