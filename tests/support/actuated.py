"""Small models of every kind of actuator, and what a parameter's value makes of them."""

from __future__ import annotations

import mujoco
import numpy as np
import torch

from metarl_envs import mujoco_robot
from metarl_envs.parameters import model_fields, varied_fields

KINDS = {
    "motor": '<motor name="motor" joint="hinge" ctrlrange="-1 1"/>',
    "limited": '<motor name="limited" joint="hinge" ctrlrange="-9 9" forcerange="-0.3 0.2"/>',
    "servo": '<position name="servo" joint="hinge" kp="50" kv="5" ctrlrange="-1 1"/>',
    "grip": (
        '<general name="grip" joint="hinge" biastype="affine" ctrlrange="0 255" '
        'gainprm="0.2" biasprm="3 -100 -10" forcerange="-4 4"/>'
    ),
    "filtered": (
        '<position name="filtered" joint="hinge" kp="50" dampratio="1" timeconst="0.1" '
        'ctrlrange="-1 1"/>'
    ),
    "speed": '<velocity name="speed" joint="hinge" kv="5" ctrlrange="-1 1"/>',
    "winch": (
        '<intvelocity name="winch" joint="hinge" kp="7" kv="2" ctrlrange="-1 1" actrange="-1 1"/>'
    ),
    "damper": '<damper name="damper" joint="hinge" kv="5" ctrlrange="0 1"/>',
    "cylinder": '<cylinder name="cylinder" joint="hinge" area="5" bias="1 -3 -2" ctrlrange="0 1"/>',
    "muscle": '<muscle name="muscle" joint="hinge" lengthrange="-1 1" ctrlrange="0 1"/>',
    "puller": '<muscle name="puller" tendon="cord" lengthrange="-1 1" force="9" ctrlrange="0 1"/>',
    "sucker": '<adhesion name="sucker" body="box" ctrlrange="0 1" gain="7"/>',
    "pid": (
        '<pid name="pid" joint="hinge" kp="50" kv="5" ki="2" imax="1" posrange="-1 1" '
        'velrange="-1 1"/>'
    ),
    "feedforward": (
        '<pid name="feedforward" joint="hinge" kp="50" kv="5" input="pos vel ff" posrange="-1 1" '
        'velrange="-1 1" ffrange="-2 2"/>'
    ),
    "wrist": (
        '<orientation name="wrist" joint="ball" kp="10" kv="2" ctrlrange="-1 1" forcerange="0 4"/>'
    ),
    "dc": '<dcmotor name="dc" joint="hinge" resistance="2" motorconst="0.5" ctrlrange="-12 12"/>',
    "drive": (
        '<dcmotor name="drive" joint="hinge" resistance="2" motorconst="0.5" input="pos vel" '
        'controller="10 0 3 0 0 0" ctrlrange="-1 1"/>'
    ),
    "odd": (
        '<general name="odd" joint="hinge" gaintype="affine" gainprm="2 1 -1" biastype="affine" '
        'biasprm="0 3 0" ctrlrange="-1 1"/>'
    ),
    "rotor": '<motor name="rotor" site="rotor" gear="0 0 2 0 0 0.02" ctrlrange="0 5"/>',
    "parent": ('<motor name="parent" jointinparent="ball" gear="0 0 2 0 1 0" ctrlrange="-1 1"/>'),
    "line": '<motor name="line" tendon="cord" gear="3" ctrlrange="-1 1"/>',
    "crank": (
        '<motor name="crank" cranksite="crank" slidersite="slider" cranklength="0.6" gear="2" '
        'ctrlrange="-1 1"/>'
    ),
}
ORDER = list(KINDS)


def model_text(actuators: str, joint: str = "", tendon: str = "") -> str:
    """A hinge, a ball joint and a free box above a floor, with these actuators."""
    return f"""
<mujoco>
  <option timestep="0.002" integrator="implicitfast"/>
  <worldbody>
    <geom type="plane" size="5 5 0.1"/>
    <site name="slider" pos="0 0 2"/>
    <body pos="0 0 1">
      <joint name="hinge" axis="0 1 0" damping="0.1" {joint}/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02" mass="1"/>
      <site name="crank" pos="0.2 0 0.5"/>
    </body>
    <body pos="1 0 1">
      <joint name="ball" type="ball" damping="0.1"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02" mass="1"/>
    </body>
    <body name="box" pos="2 0 0.0999">
      <freejoint name="root"/>
      <geom type="box" size="0.1 0.1 0.1" mass="0.8"/>
      <site name="rotor" pos="0.1 0 0"/>
    </body>
  </worldbody>
  <tendon><fixed name="cord" {tendon}><joint joint="hinge" coef="0.5"/></fixed></tendon>
  <actuator>{actuators}</actuator>
</mujoco>"""


def robot_of(folder, text: str):
    """The robot of a model in MJCF."""
    (folder / "robot.xml").write_text(text)
    return mujoco_robot(folder / "robot.xml", frame_skip=1, reset=0.0)


def robot_with(folder, *which: str, **more: str):
    """A robot with these of `KINDS`."""
    return robot_of(folder, model_text("\n".join(KINDS[name] for name in which), **more))


def with_value(robot, parameter, value) -> mujoco.MjModel:
    """The robot's model in a task with this value."""
    model = robot.load_model()
    fields = varied_fields([parameter])
    base = {name: torch.from_numpy(np.array(getattr(model, name))) for name in fields}
    given = torch.tensor([value], dtype=torch.float64)
    for name, field in model_fields([parameter], base, {parameter.name: given}).items():
        getattr(model, name)[:] = field[0].numpy()
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def still(model: mujoco.MjModel, control=0.0, position=0.0, speed=0.0, activation=0.0):
    """Forces with these controls, the first joint at this position and speed."""
    data = mujoco.MjData(model)
    data.qpos[0], data.qvel[0] = position, speed
    data.ctrl[:], data.act[:] = control, activation
    mujoco.mj_forward(model, data)
    return data


def varied(folder, name: str, make, value) -> mujoco.MjModel:
    """The model of a robot with this one of `KINDS`, of which `make` varies something."""
    robot = robot_with(folder, name)
    return with_value(robot, make(robot, name, (0.0, 3.0)), value)


def moving(model: mujoco.MjModel, control: float = 0.6) -> mujoco.MjData:
    """Forces and accelerations at one state away from rest."""
    data = mujoco.MjData(model)
    data.qpos[0] = 0.1
    data.qvel[:4] = 0.3, -0.2, 0.1, 0.4
    data.ctrl[:], data.act[:] = control, 0.2
    mujoco.mj_forward(model, data)
    return data


def settled(model: mujoco.MjModel, control, seconds: float = 8.0) -> mujoco.MjData:
    """The state long after the controls were set."""
    data = mujoco.MjData(model)
    data.ctrl[:] = control
    mujoco.mj_step(model, data, round(seconds / model.opt.timestep))
    return data
