"""The boat of the guide, rewarded for its speed eastwards alone.

Which fan is wired the wrong way round shows only once it is tried, so the first episode pays for
probing.
"""

from pathlib import Path

import torch

from metarl_envs import TaskFamily, mujoco_robot, vary

BOAT = mujoco_robot(
    Path(__file__).with_name("boat.xml"),
    frame_skip=5,
    observation=lambda s: torch.cat([s["qpos"][:, 2:].sin(), s["qpos"][:, 2:].cos(), s["qvel"]], 1),
    quantities={"speed_m_per_s": lambda t: t.after["qvel"][:, 0]},
)

fans = vary.gear(  # below 0: wired the wrong way round
    BOAT, "*_fan", [(-1.2, -0.8), (0.8, 1.2)], each=True, extrapolation=[(-1.5, -1.2), (1.2, 1.5)]
)
cargo = vary.mass(BOAT, "hull", (0.5, 2.0), extrapolation=(2.0, 3.0))


def reward(t):
    """Speed eastwards, less what the fans use: one number per world."""
    return t.after["qvel"][:, 0] - 0.05 * t.action.square().sum(dim=1)


family = TaskFamily(
    name="race-boat", robot=BOAT, parameters=(fans, cargo), reward=reward, horizon=100
)
