"""Tendons: the fields that change, and how a weight on one hangs, sinks, slides and stops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.actuated import robot_of, settled, with_value

from metarl_envs import InputError, vary
from metarl_envs.engines import CpuEngine
from metarl_envs.parameters import model_fields, varied_fields

GRAVITY, MASS = 9.81, 0.5
ROPE = """
<mujoco>
  <option timestep="0.002" integrator="implicitfast"/>
  <worldbody>
    <site name="hook"/>
    <body pos="0 0 -0.3"><joint name="down" type="slide" axis="0 0 -1"/>
      <geom size="0.05" mass="0.5"/><site name="ring"/></body>
  </worldbody>
  <tendon>
    <spatial name="rope" {}><site site="hook"/><site site="ring"/></spatial>
    <fixed name="slack"><joint joint="down" coef="1"/></fixed>
  </tendon>
  <actuator><motor joint="down" ctrlrange="-1 1"/></actuator>
</mujoco>"""
ELASTIC = 'stiffness="100" springlength="0.3" damping="5"'


def rope(folder, attributes: str):
    return robot_of(folder, ROPE.format(attributes))


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_weight_stretches_a_tendon_by_weight_over_stiffness(tmp_path, factor):
    robot = rope(tmp_path, ELASTIC)
    parameter = vary.tendon_stiffness(robot, "rope", (0.1, 3))
    assert (parameter.name, parameter.unit) == ("rope_stiffness", "1")
    data = settled(with_value(robot, parameter, factor), 0.0)
    assert data.ten_length[0] == pytest.approx(0.3 + MASS * GRAVITY / (100 * factor), abs=1e-6)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_weight_sinks_on_a_damped_tendon_with_weight_over_damping(tmp_path, factor):
    robot = rope(tmp_path, 'damping="5"')
    model = with_value(robot, vary.tendon_damping(robot, "rope", (0.1, 3)), factor)
    assert settled(model, 0.0).qvel[0] == pytest.approx(MASS * GRAVITY / (5 * factor), rel=1e-4)


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_a_weight_slides_on_with_what_dry_friction_leaves_of_it(tmp_path, factor):
    robot = rope(tmp_path, 'frictionloss="4"')
    parameter = vary.tendon_friction_loss(robot, "rope", (0.1, 3))
    data = settled(with_value(robot, parameter, factor), 0.0, seconds=1.0)
    assert data.qvel[0] == pytest.approx(GRAVITY - 4 * factor / MASS, rel=1e-3)
    held = settled(with_value(robot, parameter, 2.0), 0.0, seconds=1.0)
    assert abs(held.qpos[0]) < 0.02  # MuJoCo's friction creeps; free, it would fall by 4.9 m


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.5])
def test_a_rope_ends_a_fall_at_its_length_times_the_factor(tmp_path, factor):
    robot = rope(tmp_path, 'range="0 0.5"')
    parameter = vary.tendon_range(robot, "rope", (0.5, 2))
    assert parameter.name == "rope_range"
    model = with_value(robot, parameter, factor)
    assert model.tendon_range[0].tolist() == pytest.approx([0, 0.5 * factor])
    assert settled(model, 0.0).ten_length[0] == pytest.approx(0.5 * factor, abs=0.01)


def test_values_in_units_are_set_or_added_and_leave_other_tendons(tmp_path):
    robot = rope(tmp_path, ELASTIC + ' frictionloss="1"')
    for make, field, plain in (
        (vary.tendon_stiffness, "tendon_stiffness", 100),
        (vary.tendon_damping, "tendon_damping", 5),
        (vary.tendon_friction_loss, "tendon_frictionloss", 1),
    ):
        own = make(robot, "rope", (0.0, 9.0), how="set")
        assert own.nominal == plain and own.unit.startswith("N")
        assert getattr(with_value(robot, own, 7.0), field).tolist() == [7, 0]
        more = make(robot, "*", (0.0, 9.0), how="add", each=True)
        assert more.nominal == (0.0, 0.0)
        assert getattr(with_value(robot, more, [2.0, 3.0]), field).tolist() == [plain + 2, 3]


def test_a_factor_is_on_every_term_of_stiffness_and_damping(tmp_path):
    robot = rope(tmp_path, 'stiffness="0 40 500" damping="1 2 3"')
    model = with_value(robot, vary.tendon_stiffness(robot, "rope", (0.1, 3)), 2.0)
    assert (model.tendon_stiffness[0], *model.tendon_stiffnesspoly[0]) == (0, 80, 1000)
    model = with_value(robot, vary.tendon_damping(robot, "rope", (0.1, 3)), 2.0)
    assert (model.tendon_damping[0], *model.tendon_dampingpoly[0]) == (2, 4, 6)


def test_every_world_of_the_engine_has_a_tendon_of_its_own(tmp_path):
    robot = rope(tmp_path, ELASTIC)
    parameter = vary.tendon_stiffness(robot, "rope", (0.1, 3))
    engine = CpuEngine(robot.load_model(), 2, varied=varied_fields([parameter]))
    tasks = {parameter.name: torch.tensor([0.5, 2.0], dtype=torch.float64)}
    engine.set_model_fields(model_fields([parameter], engine.base_fields(), tasks))
    assert [engine.host_world(i)[0].tendon_stiffness[0] for i in range(2)] == [50, 200]
    start = torch.full((2, 1), 0.1, dtype=torch.float64)
    engine.reset(None, start, torch.zeros_like(start))
    engine.step(1)
    gained = [0.002 * (GRAVITY - k * 0.1 / MASS) for k in (50, 200)]
    np.testing.assert_allclose(engine.data["qvel"][:, 0], gained, rtol=0.03)  # and damping


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            vary.tendon_stiffness,
            r"tendon 'slack' has no stiffness .* N/m or N m/rad with how='set'",
        ),
        (vary.tendon_damping, r"tendon 'slack' has no damping .* N s/m .* with how='set'"),
        (vary.tendon_friction_loss, r"tendon 'slack' has no dry friction .* with how='set'"),
        (vary.tendon_range, r"tendon 'slack' has no limits in the model; give it a range there"),
    ],
)
def test_what_a_tendon_does_not_have_is_refused(tmp_path, make, message):
    robot = rope(tmp_path, ELASTIC)
    with pytest.raises(InputError, match=message):
        make(robot, "slack", (0.5, 2.0))
    with pytest.raises(InputError, match=r"unknown tendon 'ropes': did you mean rope\?"):
        make(robot, "ropes", (0.5, 2.0))


def test_lengths_below_zero_are_refused(tmp_path):
    with pytest.raises(InputError, match="must not be below 0"):
        vary.tendon_range(rope(tmp_path, 'range="0 0.5"'), "rope", (-0.5, 1.0))
