from pathlib import Path

import torch

from metarl_envs import TaskFamily, mujoco_robot, vary

BOAT = mujoco_robot(
    Path(__file__).with_name("boat.xml"),
    frame_skip=5,
    observation=lambda s: torch.cat([s["qpos"][:, 2:].sin(), s["qpos"][:, 2:].cos(), s["qvel"]], 1),
    quantities={"speed_m_per_s": lambda t: t.after["qvel"][:, 0]},
)

speed = vary.goal("speed", (-1.0, 1.0), nominal=0.5, unit="m/s", observed=True)  # told
fans = vary.gear(  # hidden, as the cargo is; below 0: wired the wrong way round
    BOAT, "*_fan", [(-1.2, -0.8), (0.8, 1.2)], each=True, extrapolation=[(-1.5, -1.2), (1.2, 1.5)]
)
cargo = vary.mass(BOAT, "hull", (0.5, 2.0), extrapolation=(2.0, 3.0))


def reward(t):
    """Minus the error of the eastward speed, less what the fans use: one number per world."""
    error = (t.after["qvel"][:, 0] - t.task["speed"]).abs()
    return -error - 0.05 * t.action.square().sum(dim=1)


family = TaskFamily(
    name="boat", robot=BOAT, parameters=(speed, fans, cargo), reward=reward, horizon=100
)
