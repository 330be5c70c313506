"""A red car on a rail, in scenes of all kinds, and a tower that is nothing but a robot's parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator

from metarl_envs import BatchEnv, Camera, MujocoRobot, TaskFamily, mujoco_robot, vary
from metarl_envs.rendering.renderer import make_renderer

CAR = (
    '<body name="car" pos="0 0 0.2"><joint name="x" type="slide" axis="1 0 0" damping="1"/>'
    '<geom type="box" size="0.3 0.15 0.1" mass="2" rgba="0.9 0.2 0.1 1"/></body>'
)
DRONE = CAR.replace('type="slide" axis="1 0 0" damping="1"', 'type="slide" axis="0 0 1"')
MOTOR = '<motor name="drive" joint="x" gear="20" ctrlrange="-1 1"/>'
FLOOR = '<geom type="plane" size="40 40 0.1"/>'
BALL = '<body name="ball" pos="{} 0.1"><freejoint/><geom size="0.1" rgba="0 1 0 1"/></body>'


def model(world: str = FLOOR + CAR, assets: str = "", motor: str = MOTOR, rest: str = "") -> str:
    """MJCF."""
    return (
        f'<mujoco><option timestep="0.01"/><asset>{assets}</asset>'
        f"<worldbody>{world}</worldbody><actuator>{motor}</actuator>{rest}</mujoco>"
    )


def robot(folder: Path, xml: str, camera: Camera | None = None) -> MujocoRobot:
    """The robot of a model."""
    (folder / "robot.xml").write_text(xml)
    return mujoco_robot(folder / "robot.xml", frame_skip=5, reset=0.0, camera=camera)


def family(folder: Path, xml: str, camera: Camera | None = None, **fields: Any) -> TaskFamily:
    """A family whose car's mass varies, among what is given."""
    made = robot(folder, xml, camera)
    given = {"parameters": (vary.mass(made, "car", (0.5, 2.0)),), **fields}
    return TaskFamily(
        name="scene", robot=made, horizon=200, reward=lambda t: t.after["qpos"][:, -1], **given
    )


def filmed(
    tasks: TaskFamily,
    steps: int = 60,
    task: dict[str, Any] | None = None,
    camera: Camera | None = None,
    size: tuple[int, int] = (160, 120),
) -> tuple[np.ndarray, np.ndarray, float]:
    """The first picture, the one after full throttle, and where the last joint is then."""
    env = BatchEnv(tasks, 1, 1)
    env.set_tasks(tasks.make_task(task or {}))
    env.reset(Generator().manual_seed(0))
    renderer = make_renderer(tasks, *size, camera)
    try:
        first = renderer.frame(env.engine, 0, env.tasks.describe(0))
        for _ in range(steps):
            env.step(torch.ones(1, len(env.action_low), dtype=torch.float64))
        last = renderer.frame(env.engine, 0, env.tasks.describe(0))
    finally:
        renderer.close()
    return first, last, float(env.engine.data["qpos"][0, -1])


def red(picture: np.ndarray) -> np.ndarray:
    """Mask of the car's pixels (or a marker's): (H, W) bool."""
    r, g, b = picture.astype(int).transpose(2, 0, 1)
    return (r > 120) & (g < 95) & (b < 95)


def green(picture: np.ndarray) -> np.ndarray:
    """Mask of the ball's pixels: (H, W) bool."""
    r, g, b = picture.astype(int).transpose(2, 0, 1)
    return (g > 120) & (r < 80) & (b < 80)
