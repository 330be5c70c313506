"""Muscles: as strong as MuJoCo makes them, and no stronger with something in the hand."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from torch import Generator

from metarl_envs import BatchEnv, TaskFamily, Tasks, family_from_gym, gym_robot, mujoco_robot, vary

ARM = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <site name="origin" pos="0.05 0 1.1"/>
    <body name="forearm" pos="0 0 1">
      <joint name="elbow" axis="0 1 0" range="-120 0" damping="0.2"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02" mass="1"/>
      <site name="insertion" pos="0.04 0 -0.05"/>
      <body name="load" pos="0 0 -0.3"><geom type="sphere" size="0.03" mass="0.5"/></body>
    </body>
  </worldbody>
  <tendon><spatial name="cord"><site site="origin"/><site site="insertion"/></spatial></tendon>
  <actuator>
    <muscle name="biceps" tendon="cord" lengthrange="0.05 0.25" ctrlrange="0 1"/>
    <muscle name="brachialis" joint="elbow" lengthrange="-2 1" scale="50" ctrlrange="0 1"/>
    <muscle name="strong" tendon="cord" lengthrange="0.05 0.25" force="50" ctrlrange="0 1"/>
  </actuator>
</mujoco>"""


class Arm(MujocoEnv):
    """Somebody's environment."""

    metadata: ClassVar = {"render_modes": [], "render_fps": 500}

    def __init__(self, path: str) -> None:
        space = Box(-np.inf, np.inf, (2,))
        super().__init__(path, 1, observation_space=space)

    def step(self, action):
        self.do_simulation(action, 1)
        return self._observe(), 0.0, False, False, {}

    def reset_model(self):
        self.set_state(self.init_qpos, self.init_qvel)
        return self._observe()

    def _observe(self):
        return np.concatenate([self.data.qpos, self.data.qvel])


@pytest.fixture
def xml(tmp_path) -> Path:
    (tmp_path / "arm.xml").write_text(ARM)
    return tmp_path / "arm.xml"


def family_of(robot, parameter):
    return TaskFamily(
        name="arm",
        robot=robot,
        horizon=100,
        parameters=(parameter,),
        reward=lambda t: -t.after["qpos"].square().sum(1),
    )


def forces(model):
    """Of the muscles, away from rest and where only stretching makes force: (2, 3)."""
    data = mujoco.MjData(model)
    data.qpos[0], data.qvel[0], data.act[:] = -0.8, 0.3, 0.7
    mujoco.mj_forward(model, data)
    active = data.actuator_force.copy()
    data.qpos[0], data.act[:] = 1.4, 0.0
    mujoco.mj_forward(model, data)
    assert data.actuator_force[1] < -0.1
    return np.stack([active, data.actuator_force])


def models(family, *values):
    """The model of one world per value of the family's parameter."""
    env = BatchEnv(family, len(values), 1)
    name = family.parameters[0].name
    env.set_tasks(Tasks.concatenate([family.make_task({name: value}) for value in values]))
    env.reset(Generator().manual_seed(0))
    return [env.engine.host_world(world)[0] for world in range(len(values))]


def test_a_muscle_is_as_strong_as_mujoco_makes_it(xml):
    robot = mujoco_robot(xml, frame_skip=1, reset=0.0, outputs=["actuator_force"])
    env = BatchEnv(family_of(robot, vary.mass(robot, "load", (0.5, 4.0))), 1, 1)
    env.set_tasks(env.family.nominal_tasks())
    untouched = mujoco.MjModel.from_xml_path(str(xml))
    assert untouched.actuator_gainprm[:, 2].tolist() == [-1, -1, 50]
    data = mujoco.MjData(untouched)
    data.ctrl[:] = 1.0
    env.reset(Generator().manual_seed(0))
    for _ in range(50):
        env.step(torch.ones(1, 3, dtype=torch.float64))
        mujoco.mj_step(untouched, data)
        mujoco.mj_forward(untouched, data)  # outputs belong to the state after the step
        assert env.engine.data["actuator_force"][0].tolist() == data.actuator_force.tolist()
        assert env.engine.data["qpos"][0].tolist() == data.qpos.tolist()
    assert data.actuator_force[0] < -50


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda robot, train: vary.mass(robot, "load", train), 4.0),
        (lambda robot, train: vary.armature(robot, "elbow", train, how="set"), 1.0),
        (lambda robot, train: vary.gear(robot, "*", train), 2.0),
    ],
)
def test_no_load_or_gear_makes_a_muscle_stronger(xml, make, value):
    robot = mujoco_robot(xml, frame_skip=1, reset=0.0)
    parameter = make(robot, (0.0 if value == 1 else 0.5, 5.0))
    plain, changed = models(family_of(robot, parameter), parameter.nominal, value)
    np.testing.assert_allclose(forces(changed), forces(plain), rtol=1e-12)
    # MuJoCo would have divided the first two muscles' force by this:
    assert np.abs(changed.actuator_acc0 / plain.actuator_acc0 - 1).min() > 0.1


def test_a_load_does_not_change_the_length_range(xml):
    robot = mujoco_robot(xml, frame_skip=1, reset=0.0)
    model = robot.load_model()
    before = model.actuator_lengthrange.copy()
    model.body_mass[:] *= 3
    model.body_inertia[:] *= 3
    mujoco.mj_setConst(model, mujoco.MjData(model))
    np.testing.assert_array_equal(model.actuator_lengthrange, before)


def test_a_muscle_in_somebodys_environment_is_no_stronger_with_a_load_either(xml, monkeypatch):
    monkeypatch.setitem(
        gymnasium.registry,
        "MuscleArm-v0",
        EnvSpec(id="MuscleArm-v0", entry_point=Arm, kwargs={"path": str(xml)}),
    )
    robot = gym_robot("MuscleArm-v0")
    family = family_from_gym(robot, [vary.mass(robot, "load", (0.5, 4.0))], horizon=10)
    plain, loaded = models(family, 1.0, 4.0)
    np.testing.assert_array_equal(forces(plain), forces(mujoco.MjModel.from_xml_path(str(xml))))
    np.testing.assert_allclose(forces(loaded), forces(plain), rtol=1e-12)
    assert loaded.actuator_acc0[0] < 0.9 * plain.actuator_acc0[0]
