from pathlib import Path

import torch

from metarl_envs import TaskFamily, mujoco_robot, vary
from metarl_envs.rotations import down, in_body_frame


def observation(s):
    """Gyro, direction of gravity, joint angles, joint speeds: what the robot measures."""
    gyro, gravity = s["qvel"][:, 3:6], down(s["qpos"][:, 3:7])
    return torch.cat([gyro, gravity, s["qpos"][:, 7:], s["qvel"][:, 6:]], dim=1)


def velocity(s):
    """Velocity of the trunk along its own axes, m/s."""
    return in_body_frame(s["qpos"][:, 3:7], s["qvel"][:, :3])


def fallen(t):
    """Tilted by more than 60 degrees, or lower than 0.1 m."""
    return (down(t.after["qpos"][:, 3:7])[:, 2] > -0.5) | (t.after["qpos"][:, 2] < 0.1)


DOG = mujoco_robot(
    Path(__file__).with_name("dog.xml"),
    frame_skip=4,  # 4 * 5 ms: 50 Hz
    keyframe="home",
    action_low=[0.1, -1.7] * 4,  # rad, hip and knee of each leg
    action_high=[1.1, -0.7] * 4,
    reset=0.02,
    observation=observation,
    terminated=fallen,
    remembered="ctrl",
    quantities={"forward_velocity_m_per_s": lambda t: velocity(t.after)[:, 0]},
)

speed = vary.goal("speed", (0.0, 0.5), nominal=0.4, unit="m/s", observed=True)  # known
load = vary.payload(DOG, "load", (0.0, 2.0), extrapolation=(2.0, 3.0), name="load")  # hidden
hip = vary.dead_actuator(DOG, "*_hip", train=range(-1, 4), name="dead_hip")  # -1: none
floor = vary.friction(DOG, "floor", (0.5, 1.2), how="set", extrapolation=(0.3, 0.5))
late = vary.action_delay(1)


def reward(t):
    """Follow the commanded speed, level and calmly; always above 0."""
    v, spin = velocity(t.after), t.after["qvel"][:, 3:6]
    error = torch.hypot(v[:, 0] - t.task["speed"], v[:, 1])
    lean = down(t.after["qpos"][:, 3:7])[:, :2].square().sum(dim=1)
    change = (t.action - t.before["ctrl"]).square().sum(dim=1)
    cost = 0.5 * lean + 0.02 * spin.square().sum(dim=1) + 0.05 * change
    return torch.exp(-error / 0.25 - cost)


family = TaskFamily(
    name="dog", robot=DOG, parameters=(speed, load, hip, floor, late), reward=reward, horizon=250
)
