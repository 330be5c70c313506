"""Friction of contact pairs: the field that changes, and how a box slides by it."""

from __future__ import annotations

import pytest
import torch
from support.small_models import box, robot_of

from metarl_envs import InputError, vary
from metarl_envs.engines import CpuEngine
from metarl_envs.parameters import model_fields, varied_fields

GRAVITY = 9.81
PAIR = '<contact><pair {} geom1="foot" geom2="floor" friction=".3 .3 .01 .02 .03"/></contact>'


def sliding(folder, attributes: str = ""):
    """A box of 1 kg, which 5 N push over a floor at a friction of 0.3."""
    return robot_of(folder, box(more=PAIR.format(attributes)))


def pushed(robot, parameter, values) -> CpuEngine:
    """Worlds with these values, 0.5 s after 5 N began to push."""
    engine = CpuEngine(robot.load_model(), len(values), varied=varied_fields([parameter]))
    tasks = {parameter.name: torch.tensor(values, dtype=torch.float64)}
    engine.set_model_fields(model_fields([parameter], engine.base_fields(), tasks))
    zeros = torch.zeros(len(values), 2, dtype=torch.float64)
    engine.reset(None, zeros, zeros)
    engine.data["ctrl"].fill_(1.0)
    engine.step(round(0.5 / robot.load_model().opt.timestep))
    return engine


def test_a_box_slides_by_the_friction_of_its_pair(tmp_path):
    robot = sliding(tmp_path)
    parameter = vary.pair_friction(robot, "foot", (0.1, 3))
    assert (parameter.name, parameter.unit) == ("foot_pair_friction", "1")
    assert "friction between floor and foot" in parameter.description
    engine = pushed(robot, parameter, [0.5, 1.0, 2.0])
    assert engine.host_world(2)[0].pair_friction[0].tolist() == pytest.approx(
        [0.6, 0.6, 0.02, 0.04, 0.06]
    )
    speeds = engine.data["qvel"][:, 0].tolist()
    for factor, speed in zip((0.5, 1.0), speeds, strict=False):
        assert speed == pytest.approx(0.5 * (5 - 0.3 * factor * GRAVITY), rel=0.04)
    assert abs(speeds[2]) < 0.01  # 0.6 * 9.81 N hold 5 N


def test_a_new_coefficient_is_that_of_sliding_alone(tmp_path):
    robot = sliding(tmp_path)
    parameter = vary.pair_friction(robot, "floor", (0.1, 1.0), how="set")
    assert parameter.nominal == pytest.approx(0.3)
    engine = pushed(robot, parameter, [0.2])
    assert engine.host_world(0)[0].pair_friction[0].tolist() == [0.2, 0.2, 0.01, 0.02, 0.03]
    assert float(engine.data["qvel"][0, 0]) == pytest.approx(0.5 * (5 - 0.2 * GRAVITY), rel=0.04)


def test_friction_of_the_geoms_does_not_change_the_pairs(tmp_path):
    robot = sliding(tmp_path)
    engine = pushed(robot, vary.friction(robot, "*", (0.1, 9)), [0.1, 9.0])
    slow, fast = engine.data["qvel"][:, 0].tolist()
    assert slow == fast == pytest.approx(0.5 * (5 - 0.3 * GRAVITY), rel=0.04)


def test_a_pair_is_found_by_its_own_name_too(tmp_path):
    robot = sliding(tmp_path, 'name="sole"')
    parameter = vary.pair_friction(robot, "sole", (0.5, 2.0), each=True)
    assert parameter.name == "sole_pair_friction" and parameter.nominal == (1.0,)
    with pytest.raises(InputError, match="unknown contact pair 'soles': did you mean sole"):
        vary.pair_friction(robot, "soles", (0.5, 2.0))


def test_pairs_that_are_not_there_or_have_no_friction_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"floor and foot is without friction \(condim 1\)"):
        vary.pair_friction(sliding(tmp_path, 'condim="1"'), "foot", (0.5, 2.0))
    with pytest.raises(InputError, match=r"has no <pair> of geoms in its model; use vary\.fric"):
        vary.pair_friction(robot_of(tmp_path, box()), "foot", (0.5, 2.0))
