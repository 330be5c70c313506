"""Wind: the field that changes, and what it does to a body in air."""

from __future__ import annotations

import pytest
import torch
from support.small_models import robot_of

from metarl_envs import InputError, TaskFamily, vary
from metarl_envs.batch_env import BatchEnv
from metarl_envs.distributions import Ring
from metarl_envs.tasks import Tasks

AIR = 'density="1.2" viscosity="0"'
BALL = """<mujoco><option timestep="0.002" {air}/><worldbody><body name="ball">
<joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
<geom type="box" size=".1 .1 .1" mass="1"/></body></worldbody>
<actuator><motor joint="x" ctrlrange="-1 1"/></actuator></mujoco>"""


def family_in(tmp_path, air=AIR):
    robot = robot_of(tmp_path, BALL.format(air=air), frame_skip=1)
    wind = vary.wind(robot, Ring(0.0, 8.0), extrapolation=Ring(8.0, 10.0))
    return TaskFamily(
        name="gusty",
        robot=robot,
        parameters=(wind,),
        reward=lambda t: -t.after["qpos"][:, 0].abs(),
        horizon=10,
    )


def test_wind_pushes_a_box_with_the_drag_of_its_face(tmp_path):
    family = family_in(tmp_path)
    assert family.parameters[0].nominal == (0.0, 0.0) and family.parameters[0].unit == "m/s"
    env = BatchEnv(family, 3, 1)
    tasks = [{"wind": w} for w in ((5.0, 0.0), (0.0, -2.5), (0.0, 0.0))]
    env.set_tasks(Tasks.concatenate([family.make_task(task) for task in tasks]))
    zeros = torch.zeros(3, 2, dtype=torch.float64)
    env.engine.reset(None, zeros, zeros)
    env.step(torch.zeros(3, 1, dtype=torch.float64))
    # MuJoCo's inertia-box model: force 1/2 density area v^2 on the face of 0.2 m x 0.2 m, so 5 m/s
    # push 1 kg by 0.6 N for 2 ms; half of the wind, a quarter of the force.
    velocity = env.engine.data["qvel"]
    assert velocity[0].tolist() == pytest.approx([0.0012, 0.0], abs=1e-9)
    assert velocity[1].tolist() == pytest.approx([0.0, -0.0003], abs=1e-9)
    assert velocity[2].tolist() == [0.0, 0.0]


def test_wind_without_a_medium_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'no density.*<option density="1.2"'):
        family_in(tmp_path, air="")
