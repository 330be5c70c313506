"""Models of a few lines, and families of them, for tests that need a fault in the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from metarl_envs import MujocoRobot, Parameter, TaskFamily, mujoco_robot, vary

MOTOR = '<motor name="push" joint="x" gear="{gear}" ctrlrange="-1 1"/>'


def box(
    floor: str = "", foot: str = "", height: float = 0.1, gear: float = 5, more: str = ""
) -> str:
    """A box of 1 kg that a motor pushes along a floor."""
    return f"""<mujoco><worldbody>
      <geom name="floor" type="plane" size="9 9 .1" {floor}/>
      <body name="box" pos="0 0 {height}">
        <joint name="x" type="slide" axis="1 0 0"/><joint name="z" type="slide" axis="0 0 1"/>
        <geom name="foot" type="box" size=".1 .1 .1" mass="1" {foot}/>
      </body></worldbody>{more}<actuator>{MOTOR.format(gear=gear)}</actuator></mujoco>"""


def arm(actuators: str, limits: str = 'range="-1 1"', more: str = "", angle: str = "radian") -> str:
    """A hinge "turn" with a slide "grip" (0 to 0.04 m) at its end."""
    return f"""<mujoco><compiler angle="{angle}"/><worldbody><body name="upper">
      <joint name="turn" type="hinge" axis="0 1 0" damping="1" {limits}/>
      <geom type="capsule" fromto="0 0 0 .3 0 0" size=".02"/>
      <body name="hand" pos=".3 0 0">
        <joint name="grip" type="slide" axis="1 0 0" range="0 .04" damping="5"/><geom size=".02"/>
      </body></body></worldbody><actuator>{actuators}</actuator>{more}</mujoco>"""


def servo(joint: str, limits: str) -> str:
    """A position servo with this range of controls."""
    return f'<position name="{joint}_servo" joint="{joint}" kp="10" ctrlrange="{limits}"/>'


def robot_of(folder: Path, xml: str, **settings) -> MujocoRobot:
    """The robot of a model, 0.01 s per step."""
    file = folder / "model.xml"
    file.write_text(xml)
    return mujoco_robot(file, **{"frame_skip": 5, **settings})


def minus_distance(transition):
    return -transition.after["qpos"][:, 0].abs() - 0.1 * transition.action.square().sum(dim=1)


def family_of(
    robot: MujocoRobot, parameter: Callable[[MujocoRobot], Parameter] | None = None, **changes
) -> TaskFamily:
    """A family of 40 steps whose masses vary, or what `parameter` makes of the robot."""
    made = parameter(robot) if parameter else vary.mass(robot, "*", (0.5, 2.0))
    given = {"name": "small", "parameters": (made,), "reward": minus_distance, "horizon": 40}
    return TaskFamily(robot=robot, **(given | changes))
