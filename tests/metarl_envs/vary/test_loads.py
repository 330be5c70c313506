"""Loads and their places: fields that change, their values, and the motion that follows."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from support.small_models import robot_of

from metarl_envs import InputError, vary
from metarl_envs.engines import CpuEngine
from metarl_envs.mjcf.fields import read_field
from metarl_envs.parameters import model_fields, varied_fields

BEAM = """<mujoco><option gravity="0 0 -10"/><worldbody>
<geom name="floor" type="plane" size="1 1 .1" pos="0 0 -9"/>
<body name="beam" pos="0 0 1">{joint}<site name="middle"/>
  <geom type="box" size=".5 .01 .01" mass="1"/>
  <body name="load" pos="0 0 .01">
    <geom name="box" type="box" size="{box}" pos="0 0 {up}" mass="{mass}"/>
    <geom name="lid" type="sphere" size="{lid}" pos="0 0 {top}" mass="{rest}"/>
  </body>
</body></worldbody><actuator><motor site="middle" ctrlrange="-1 1"/></actuator></mujoco>"""
HINGE = '<joint name="turn" axis="0 1 0"/>'
SMALL = {"box": ".03 .02 .01", "up": 0.01, "mass": 0.008, "lid": 0.005, "top": 0.02, "rest": 0.002}
LARGE = {"box": ".06 .04 .02", "up": 0.02, "mass": 0.064, "lid": 0.01, "top": 0.04, "rest": 0.016}


def beam(folder, joint=HINGE, **changes):
    """A beam of 1 kg on a hinge with a load of 10 g on its middle."""
    return robot_of(folder, BEAM.format(joint=joint, **(SMALL | changes)))


def fields_of(robot, parameters, **values):
    model = robot.load_model()
    base = {name: read_field(model, name) for name in varied_fields(parameters)}
    tasks = {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
    return model_fields(parameters, base, tasks), base


def test_a_world_alone_has_the_load_that_it_has_among_many_to_the_last_bit(tmp_path):
    robot = beam(tmp_path)
    parameter = vary.payload(robot, "load", (0.0, 1.0))
    base = {name: read_field(robot.load_model(), name) for name in varied_fields([parameter])}
    masses = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    together = model_fields([parameter], base, {"payload": masses})
    for world, mass in enumerate(masses):
        alone = model_fields([parameter], base, {"payload": mass[None]})
        for field, values in alone.items():
            assert torch.equal(values[0], together[field][world]), field


def test_a_load_grows_at_its_density_about_its_own_origin(tmp_path):
    robot = beam(tmp_path)
    parameter = vary.payload(robot, "load", (0.0, 1.0), extrapolation=(1.0, 2.0))
    assert parameter.nominal == pytest.approx(0.01) and parameter.unit == "kg"
    model = robot.load_model()
    load, geoms = model.body("load").id, [model.geom("box").id, model.geom("lid").id]
    fields, base = fields_of(robot, [parameter], payload=0.27)  # 27 times as heavy: 3 times as long
    assert fields["body_mass"][0, load] == pytest.approx(0.27)
    for field, factor in (("body_inertia", 243), ("body_ipos", 3)):
        wanted = (factor * base[field][load]).tolist()
        assert fields[field][0, load].tolist() == pytest.approx(wanted)
    for field in ("geom_size", "geom_pos"):
        assert fields[field][0, geoms].tolist() == [
            pytest.approx(row) for row in (3 * base[field][geoms]).tolist()
        ]
    for field, value in fields.items():
        own = geoms if field.startswith("geom") else [load]
        others = [i for i in range(len(base[field])) if i not in own]
        assert torch.equal(value[0, others], base[field][others])


def test_a_grown_load_is_what_mujoco_makes_of_a_larger_body(tmp_path):
    fields, _ = fields_of(
        robot := beam(tmp_path),
        [vary.payload(robot, "load", (0.0, 1.0))],
        payload=0.08,  # 8 times as heavy: twice as long
    )
    expected = mujoco.MjModel.from_xml_string(BEAM.format(joint=HINGE, **LARGE))
    for field, value in fields.items():
        np.testing.assert_allclose(
            value[0].numpy(), getattr(expected, field), rtol=1e-9, atol=1e-12
        )


def test_a_load_tips_the_side_on_which_it_is_placed(tmp_path):
    robot = beam(tmp_path)
    parameters = [
        vary.payload(robot, "load", (0.0, 3.0)),
        vary.place(robot, "load", "x", (-0.4, 0.4)),
    ]
    assert [p.name for p in parameters] == ["payload", "load_x"]
    engine = CpuEngine(robot.load_model(), 3, varied=varied_fields(parameters))
    values = {
        "payload": torch.tensor([2.0, 2.0, 2.0], dtype=torch.float64),
        "load_x": torch.tensor([0.3, -0.3, 0.0], dtype=torch.float64),
    }
    engine.set_model_fields(model_fields(parameters, engine.base_fields(), values))
    qpos, qvel = (row.expand(3, -1) for row in robot.initial_state())
    engine.reset(None, qpos, qvel)
    engine.step(1)
    # The moment of 2 kg at 0.3 m is 6 N m. Inertia about the hinge: the beam's 1/12 (1^2 + 0.02^2),
    # the load's own about y, and 2 (0.3^2 + z^2) at the height z of its centre of mass.
    model, scale = robot.load_model(), 200 ** (1 / 3)
    load = model.body("load").id
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.body_iquat[load])
    own = turn.reshape(3, 3)[1] ** 2 @ model.body_inertia[load] * scale**5
    height = 0.01 + scale * model.body_ipos[load, 2]
    inertia = 1.0004 / 12 + own + 2 * (0.3**2 + height**2)
    turned = engine.data["qvel"][:, 0].tolist()
    assert turned[0] == pytest.approx(6 / inertia * model.opt.timestep, rel=1e-6)
    assert turned[1] == pytest.approx(-turned[0]) and turned[2] == pytest.approx(0, abs=1e-9)


def test_refusals_name_the_fix(tmp_path):
    robot = beam(tmp_path)
    with pytest.raises(InputError, match="carries other bodies"):
        vary.payload(robot, "beam", (0.0, 1.0))
    with pytest.raises(InputError, match="matches 2 bodies"):
        vary.payload(robot, "*", (0.0, 1.0))
    with pytest.raises(InputError, match="must not be below 0"):
        vary.payload(robot, "load", (-1.0, 1.0))
    with pytest.raises(InputError, match="axis = 'w': allowed are x, y, z"):
        vary.place(robot, "load", "w", (0.0, 1.0))
    hollow = beam(tmp_path, mass=0, rest=0)
    with pytest.raises(InputError, match=r"weighs nothing.*mass=\"0.001\""):
        vary.payload(hollow, "load", (0.0, 1.0))
    free = beam(tmp_path, joint="<freejoint/>")
    with pytest.raises(InputError, match="free joint"):
        vary.place(free, "beam", "x", (0.0, 1.0))
