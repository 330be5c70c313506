"""Springs of joints: the fields that change, the force, and where a load comes to rest."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from support.actuated import robot_of, settled, still, with_value

from metarl_envs import InputError, vary
from metarl_envs.engines import CpuEngine
from metarl_envs.parameters import model_fields, varied_fields

WEIGHT = 0.5 * 9.81
SPRINGS = """
<mujoco>
  <option timestep="0.002" integrator="implicitfast"/>
  <worldbody>
    <body><joint name="up" type="slide" axis="0 0 1" damping="3" stiffness="200" springref="0.1"/>
      <geom size="0.05" mass="0.5"/></body>
    <body pos="1 0 0"><joint name="bent" type="slide" axis="1 0 0" stiffness="0 40 500"/>
      <geom size="0.05" mass="0.5"/></body>
    <body pos="2 0 0"><joint name="loose" type="slide" axis="1 0 0"/>
      <geom size="0.05" mass="0.5"/></body>
  </worldbody>
  <actuator><motor joint="up" ctrlrange="-1 1"/></actuator>
</mujoco>"""


@pytest.fixture
def robot(tmp_path):
    return robot_of(tmp_path, SPRINGS)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_load_comes_to_rest_below_the_spring_by_weight_over_stiffness(robot, factor):
    parameter = vary.joint_stiffness(robot, "up", (0.1, 3))
    assert (parameter.name, parameter.unit) == ("up_joint_stiffness", "1")
    model = with_value(robot, parameter, factor)
    assert settled(model, 0.0).qpos[0] == pytest.approx(0.1 - WEIGHT / (200 * factor), abs=1e-6)


def test_stiffness_in_newton_per_metre_is_set_or_added(robot):
    for how, value in (("set", 300.0), ("add", 100.0)):
        parameter = vary.joint_stiffness(robot, "up", (0.0, 400.0), how=how)
        assert parameter.unit == "N/m or N m/rad"
        assert parameter.nominal == (200.0 if how == "set" else 0.0)
        model = with_value(robot, parameter, value)
        assert still(model, position=0.3).qfrc_passive[0] == pytest.approx(-300 * (0.3 - 0.1))
    new = vary.joint_stiffness(robot, "loose", (0.0, 50.0), how="set")
    assert new.nominal == 0.0
    assert with_value(robot, new, 20.0).jnt_stiffness.tolist() == [200, 0, 20]


def test_a_factor_is_on_every_term_of_the_spring(robot):
    model = with_value(robot, vary.joint_stiffness(robot, "bent", (0.1, 3)), 2.0)
    assert model.jnt_stiffnesspoly.tolist() == [[0, 0], [80, 1000], [0, 0]]
    data = still(model)
    data.qpos[1] = 0.2
    mujoco.mj_forward(model, data)
    assert data.qfrc_passive[1] == pytest.approx(-2 * (40 * 0.2**2 + 500 * 0.2**3))


def test_every_world_of_the_engine_has_a_spring_of_its_own(robot):
    parameter = vary.joint_stiffness(robot, ["up", "bent"], (0.1, 3), each=True)
    engine = CpuEngine(robot.load_model(), 2, varied=varied_fields([parameter]))
    values = torch.tensor([[0.5, 1.0], [2.0, 3.0]], dtype=torch.float64)
    tasks = {parameter.name: values}
    engine.set_model_fields(model_fields([parameter], engine.base_fields(), tasks))
    assert engine.host_world(0)[0].jnt_stiffness.tolist() == [100, 0, 0]
    assert engine.host_world(1)[0].jnt_stiffness.tolist() == [400, 0, 0]
    qpos = torch.tensor([0.2, 0.1, 0.0], dtype=torch.float64).expand(2, 3)
    engine.reset(None, qpos, torch.zeros_like(qpos))
    engine.step(1)
    pull = 0.002 / 0.5 * (40 * 0.1**2 + 500 * 0.1**3)  # dt / m times the force
    np.testing.assert_allclose(engine.data["qvel"][:, 1], [-pull, -3 * pull], rtol=1e-3)


@pytest.mark.parametrize("names", ["loose", "*"])
def test_a_joint_without_a_spring_is_refused_and_told_from_its_servo(robot, names):
    with pytest.raises(InputError, match=r"'loose' has no spring.*how='set'.*use vary.stiffness"):
        vary.joint_stiffness(robot, names, (0.5, 2.0))
    with pytest.raises(InputError, match=r"vary.joint_stiffness of its joint's spring"):
        vary.stiffness(robot, "up", (0.5, 2.0))
