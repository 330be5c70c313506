"""A model that has one of everything: contact, sensors, tendons, activations, mocap, equality."""

from __future__ import annotations

import functools

import mujoco
import numpy as np
import torch
from torch import Tensor

XML = """
<mujoco model="rich">
  <option timestep="0.004" integrator="implicitfast"><flag energy="enable"/></option>
  <worldbody>
    <light pos="0 0 3" mode="trackcom"/>
    <camera name="eye" pos="0 -3 1" mode="trackcom"/>
    <geom type="plane" size="3 3 0.1"/>
    <body name="target" mocap="true" pos="0.2 0 0.12">
      <geom type="sphere" size="0.02" contype="0" conaffinity="0"/>
    </body>
    <body name="ball" pos="0 0 0.098">
      <freejoint/>
      <geom type="sphere" size="0.1" mass="1"/>
      <site name="on_ball" pos="0 0 0.1"/>
    </body>
    <body name="upper" pos="0 0.5 0.8" gravcomp="0.3">
      <joint name="shoulder" axis="0 1 0" range="-120 120" damping="0.5" stiffness="1"/>
      <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.03" mass="1"/>
      <site name="a" pos="0.1 0 0.05"/>
      <body name="lower" pos="0.3 0 0">
        <joint name="elbow" axis="0 1 0" range="0 150" damping="0.2" frictionloss="0.05"/>
        <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.025" mass="0.5"/>
        <site name="tip" pos="0.3 0 0"/>
        <site name="b" pos="0.1 0 0.05"/>
      </body>
    </body>
    <body name="pendulum" pos="0 -0.5 1">
      <joint name="socket" type="ball" damping="0.05"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02" mass="0.3"/>
    </body>
  </worldbody>
  <contact><exclude body1="upper" body2="lower"/></contact>
  <tendon>
    <spatial name="cable" stiffness="5" damping="0.1"><site site="a"/><site site="b"/></spatial>
    <fixed name="mix"><joint joint="shoulder" coef="1"/><joint joint="elbow" coef="-0.5"/></fixed>
  </tendon>
  <equality>
    <connect body1="target" body2="ball" anchor="0 0 0" solref="0.5 1"/>
  </equality>
  <actuator>
    <position name="servo" joint="shoulder" kp="40" kv="2" ctrlrange="-2 2"/>
    <general name="cylinder" joint="elbow" dyntype="filter" dynprm="0.1" gainprm="5"
             ctrlrange="0 1"/>
    <motor name="pull" tendon="mix" ctrlrange="-1 1"/>
    <motor name="push" site="on_ball" gear="1 0 0 0 0 0" ctrlrange="-1 1"/>
  </actuator>
  <sensor>
    <accelerometer site="tip"/><gyro site="tip"/><touch site="on_ball"/><force site="tip"/>
    <framepos objtype="site" objname="tip"/><actuatorfrc actuator="servo"/>
    <subtreelinvel body="upper"/>
  </sensor>
  <keyframe>
    <key name="home" time="0.5" qpos="0 0 0.098 1 0 0 0 -0.6 0.9 0.96 0.28 0 0"
         qvel="0.1 0 0 0 0 0 0.2 0 0 0 0" ctrl="-0.6 0.5 0.1 0" act="0.5"
         mpos="0.1 0.05 0.11" mquat="0 1 0 0"/>
  </keyframe>
</mujoco>
"""
KEYFRAME = 0
HELD = ("time", "ctrl", "act", "mocap_pos", "mocap_quat")
"""Values of a keyframe beside positions and velocities."""
WORLDS, STEPS, SUBSTEPS = 3, 6, 4


@functools.cache
def model() -> mujoco.MjModel:
    """Never to be written to."""
    return mujoco.MjModel.from_xml_string(XML)


def start(seed: int = 0) -> tuple[Tensor, Tensor]:
    """The keyframe's positions, with other velocities in each world: (N, nq), (N, nv)."""
    qvel = np.random.default_rng(seed).normal(size=(WORLDS, model().nv)) * 0.3
    return torch.tensor(model().key_qpos).expand(WORLDS, -1), torch.from_numpy(qvel)


def controls(seed: int = 1) -> Tensor:
    """Random ones: (STEPS, N, nu)."""
    drawn = np.random.default_rng(seed).uniform(-1, 1, (STEPS, WORLDS, model().nu))
    return torch.from_numpy(drawn)


@functools.cache
def plain_loop(*, forward: bool) -> list[list[mujoco.MjData]]:
    """MuJoCo's own data of each world after the reset and each control step: (N, STEPS + 1)."""
    qvel, actions = start()[1].numpy(), controls().numpy()
    found = []
    for world in range(WORLDS):
        data = mujoco.MjData(model())
        mujoco.mj_resetDataKeyframe(model(), data, 0)
        data.qvel[:] = qvel[world]
        mujoco.mj_forward(model(), data)
        states = [_copied(data)]
        for action in actions[:, world]:
            data.ctrl[:] = action
            mujoco.mj_step(model(), data, SUBSTEPS)
            if forward:
                mujoco.mj_forward(model(), data)
            states.append(_copied(data))
        found.append(states)
    return found


def expected(name: str, step: int, *, forward: bool = True) -> Tensor:
    """A field of all worlds after a step, as the plain loop has it: (N, ...)."""
    rows = [np.asarray(getattr(states[step], name)) for states in plain_loop(forward=forward)]
    return torch.from_numpy(np.stack(rows))


def _copied(data: mujoco.MjData) -> mujoco.MjData:
    copy = mujoco.MjData(model())
    mujoco.mj_copyData(copy, model(), data)
    return copy
