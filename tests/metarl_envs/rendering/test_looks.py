"""Hidden parameters in pictures: colours, sizes and arrows, in the scene that is drawn."""

from __future__ import annotations

import dataclasses

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from support.small_models import family_of, robot_of
from torch import Generator

from metarl_envs import BatchEnv, get_family, vary
from metarl_envs.distributions import Ring
from metarl_envs.rendering.drawing import MARKER_COLOUR
from metarl_envs.rendering.floor import DARK, LIGHT
from metarl_envs.rendering.looks import (
    AIR,
    DEAD,
    ICE,
    LOAD,
    LONGEST,
    PALE,
    REVERSED,
    RUBBER,
    STRONG,
    WEAK,
    Looks,
    floor_colours,
    legend,
    tint,
)
from metarl_envs.rendering.renderer import make_renderer

ARM = """<mujoco><compiler autolimits="true"/><option density="1.2"/>
<asset><material name="paint" rgba="0.2 0.4 0.6 1"/></asset><worldbody>
<geom type="plane" size="9 9 .1"/>
<body name="upper" pos="0 0 1"><joint name="shoulder" axis="0 1 0" range="-1 1"/>
  <geom name="upper" type="box" size=".05 .05 .2" material="paint"/>
  <body name="lower" pos="0 0 -.2"><joint name="elbow" axis="0 1 0" range="-1 1"/>
    <geom name="lower" type="box" size=".05 .05 .1" pos="0 0 -.1" rgba="0.2 0.4 0.6 1"/>
    <body name="load" pos="0 0 -.2">
      <geom name="load" type="box" size=".01 .02 .03" pos="0 0 -.03" mass="0.5"/></body>
  </body></body></worldbody><actuator>
  <position name="shoulder" joint="shoulder" kp="50" ctrlrange="-1 1"/>
  <position name="elbow" joint="elbow" kp="50" ctrlrange="-1 1"/>
</actuator></mujoco>"""
OWN = np.array([0.2, 0.4, 0.6])
AT, DISTANCE = np.array([0.0, 0.0, 1.0]), 2.0


@pytest.fixture
def arm(tmp_path):
    robot = robot_of(tmp_path, ARM, reset=0.0)
    return dataclasses.replace(
        robot, observation=lambda state: state["qpos"].clone(), observation_size=2
    )


def scene_of(family, value, name=""):
    """The geoms that the looks leave in the scene of a world: by name, and those added."""
    name = name or family.parameters[0].name
    task = family.make_task({name: value})
    env = BatchEnv(family, 1, 1)
    env.set_tasks(task)
    env.reset(Generator().manual_seed(0))
    world, data = env.engine.host_world(0)
    plain = family.robot.load_model()
    start = mujoco.MjData(plain)
    mujoco.mj_forward(plain, start)
    looks, scene = Looks(family, plain, start), mujoco.MjvScene(plain, 1000)
    kinds = mujoco.mjtCatBit.mjCAT_ALL
    mujoco.mjv_updateScene(world, data, mujoco.MjvOption(), None, mujoco.MjvCamera(), kinds, scene)
    count, shown = scene.ngeom, looks.differences(world)
    looks.paint(scene, data, shown)
    looks.add(scene, data, shown, AT, DISTANCE)
    looks.add_reported(scene, world, data, task.describe(0))
    named = {world.geom(g.objid).name: g for g in scene.geoms[:count] if g.objid >= 0}
    return named, list(scene.geoms[count : scene.ngeom]), data


@pytest.mark.parametrize(
    ("make", "value", "colour"),
    [
        (lambda r: vary.dead_actuator(r, "*"), 1, DEAD),
        (lambda r: vary.reversed_actuator(r, "*"), 1, REVERSED),
        (lambda r: vary.strength(r, "elbow", (0, 3)), 0.5, 0.25 * OWN + 0.75 * WEAK),
        (lambda r: vary.strength(r, "elbow", (0, 3)), 0.8, 0.7 * OWN + 0.3 * WEAK),
        (lambda r: vary.strength(r, "elbow", (0, 3)), 0.2, WEAK),
        (lambda r: vary.strength(r, "elbow", (0, 3)), 2.0, 0.25 * OWN + 0.75 * STRONG),
    ],
)
def test_what_an_actuator_moves_has_its_colour(arm, make, value, colour):
    geoms, added, _ = scene_of(family_of(arm, make), value)
    assert geoms["lower"].rgba == pytest.approx((*colour, 1), abs=1e-6)
    assert geoms["upper"].rgba == pytest.approx((*OWN, 1))  # of its material
    assert geoms["upper"].matid == 0 and geoms["lower"].matid == -1
    assert added == []


def test_a_dead_one_among_weak_ones_is_red(arm):
    weak, dead = vary.strength(arm, "*", (0, 2), name="all"), vary.dead_actuator(arm, "*")
    family = family_of(arm, parameters=(weak, dead))
    tasks = family.make_task({"all": 0.6, "dead_actuator": 0})
    env = BatchEnv(family, 1, 1)
    env.set_tasks(tasks)
    env.reset(Generator().manual_seed(0))
    model = arm.load_model()
    start = mujoco.MjData(model)
    mujoco.mj_forward(model, start)
    shown = Looks(family, model, start).differences(env.engine.host_world(0)[0])
    assert [words for words, _ in legend(shown)] == ["no force", "weak motors"]
    assert tint(shown.forces[0]) == (DEAD, 1.0) and tint(shown.forces[1])[0] is WEAK


def test_colours_go_with_the_force_without_a_jump_at_the_nominal_one():
    assert tint(1.0)[1] == tint(1.0005)[1] == 0.0
    shares = [tint(force)[1] for force in (0.99, 0.9, 0.7, 0.5, 0.3, 0.1)]
    assert shares == pytest.approx([0.015, 0.15, 0.45, 0.75, 1.0, 1.0])
    assert tint(2.0)[1] == pytest.approx(tint(0.5)[1])


@pytest.mark.parametrize("wind", [(8.0, 0.0), (0.0, -4.0), (3.0, 4.0)])
def test_arrows_point_with_the_wind_and_are_as_long_as_it_is_strong(arm, wind):
    family = family_of(arm, lambda r: vary.wind(r, Ring(0.0, 8.0)))
    _, arrows, _ = scene_of(family, wind)
    assert len(arrows) == 8
    for arrow in arrows:
        assert arrow.type == mujoco.mjtGeom.mjGEOM_ARROW
        direction = np.array(arrow.mat).reshape(3, 3)[:, 2]
        assert direction[:2] == pytest.approx(np.array(wind) / np.hypot(*wind), abs=1e-6)
        # The strongest of many tasks is almost 8 m/s.
        length = LONGEST * DISTANCE * np.hypot(*wind) / 8.0
        assert arrow.size[2] == pytest.approx(length, rel=0.02)
        assert arrow.rgba[:3] == pytest.approx(AIR, abs=1e-6)


def test_no_arrows_without_wind(arm):
    family = family_of(arm, lambda r: vary.wind(r, Ring(0.0, 8.0)))
    assert scene_of(family, (0.0, 0.0))[1] == []


def test_the_current_of_the_maze_is_drawn():
    _, arrows, _ = scene_of(get_family("navigate-hidden"), (0.2, 0.0), "current")
    assert len(arrows) == 8
    assert np.array(arrows[0].mat).reshape(3, 3)[:, 2] == pytest.approx((1, 0, 0), abs=1e-6)


@pytest.mark.parametrize(("mass", "length"), [(0.5, 1.0), (4.0, 2.0), (0.0625, 0.5)])
@pytest.mark.parametrize("parameter", ["mass", "payload"])
def test_a_load_is_as_large_as_its_mass(arm, parameter, mass, length):
    def heavy(robot):
        if parameter == "payload":
            return vary.payload(robot, "load", (0.0, 9.0))
        return vary.mass(robot, "load", (0.01, 9.0), how="set")

    geoms, added, data = scene_of(family_of(arm, heavy), mass)
    assert geoms["load"].size == pytest.approx(np.array([0.01, 0.02, 0.03]) * length)
    place = data.body("load").xpos - data.body("load").xmat.reshape(3, 3)[:, 2] * 0.03 * length
    assert geoms["load"].pos == pytest.approx(place)
    assert geoms["lower"].size == pytest.approx([0.05, 0.05, 0.1])
    assert added == []


def test_a_load_of_nothing_is_not_to_be_seen(arm):
    geoms, *_ = scene_of(family_of(arm, lambda r: vary.payload(r, "load", (0.0, 9.0))), 0.0)
    assert geoms["load"].size == pytest.approx([0, 0, 0])


def test_added_mass_is_a_box_of_water_on_the_body(arm):
    family = family_of(arm, lambda r: vary.mass(r, "upper", (1.0, 3.0)))
    plain = arm.load_model().body("upper").mass[0]
    geoms, (box,), _ = scene_of(family, 3.0)
    side = np.cbrt(2 * plain / 1000)
    assert box.size == pytest.approx([side / 2] * 3)
    assert box.pos == pytest.approx([0, 0, 1 + 0.2 + side / 2], abs=1e-5)
    assert box.rgba[:3] == pytest.approx(LOAD, abs=1e-6)
    assert geoms["upper"].size == pytest.approx([0.05, 0.05, 0.2])


def test_lost_mass_is_not_drawn(arm):
    assert scene_of(family_of(arm, lambda r: vary.mass(r, "upper", (0.2, 3.0))), 0.5)[1] == []


def test_encoders_that_are_off_show_the_arm_that_they_report(arm):
    family = family_of(arm, lambda r: vary.encoder_offset(r, "*", (-0.5, 0.5), name="offset"))
    geoms, ghost, data = scene_of(family, (0.0, 0.3))
    pale = {arm.load_model().geom(geom.objid).name: geom for geom in ghost}
    assert pale.keys() == {"upper", "lower", "load"}  # what does not move is not drawn twice
    assert all(geom.rgba[3] == pytest.approx(PALE) and not geom.castshadow for geom in ghost)
    assert pale["upper"].pos == pytest.approx(geoms["upper"].pos)
    angle = data.qpos[0] + data.qpos[1] + 0.3  # of the lower arm from upright
    elbow = data.body("lower").xpos
    wanted = elbow + 0.1 * np.array([-np.sin(angle), 0, -np.cos(angle)])
    assert pale["lower"].pos == pytest.approx(wanted, abs=1e-6)
    assert scene_of(family, (0.0, 0.0))[1] == []


def test_the_floor_turns_to_ice_or_rubber():
    assert all(np.array_equal(a, b) for a, b in zip(floor_colours(1.0), (LIGHT, DARK), strict=True))
    for friction, end in ((0.5, ICE), (2.0, RUBBER)):
        for colour, own, full in zip(floor_colours(friction), (LIGHT, DARK), end, strict=True):
            assert colour == pytest.approx(0.4 * own + 0.6 * full)
    assert floor_colours(1e-3)[0] == pytest.approx(ICE[0], abs=1e-5)
    assert floor_colours(1e3)[1] == pytest.approx(RUBBER[1], abs=1e-5)


def picture(env, renderer) -> np.ndarray:
    return renderer.frame(env.engine, 0, env.tasks.describe(0)).astype(int)


def reddish(pixels: np.ndarray) -> int:
    """Pixels of the hue of dead parts, in light or shade."""
    r, g, b = pixels.transpose(2, 0, 1)
    return int(((r > 90) & (g < 0.45 * r) & (b < 0.3 * r)).sum())


@pytest.mark.render
def test_a_switch_in_mid_episode_changes_the_picture_at_once():
    family = get_family("ant-crippled")
    env, renderer = BatchEnv(family, 1, 1), make_renderer(family, 160, 120)
    env.set_tasks(family.nominal_tasks())
    env.reset(Generator().manual_seed(0))
    seen = []
    for leg in (-1, 1, -1):
        env.set_tasks(family.make_task({"dead_leg": leg}))
        env.step(family.middle_action()[None])
        entries = renderer.legend(env.engine, 0, env.tasks.describe(0))
        seen.append((reddish(picture(env, renderer)), [words for words, _ in entries]))
    renderer.close()
    assert [words for _, words in seen] == [[], ["no force"], []]
    assert seen[0][0] == seen[2][0] == 0 and seen[1][0] > 15


@pytest.mark.render
def test_slippery_floors_are_pale_and_grippy_ones_brown():
    family = get_family("quadruped-load")
    env, renderer = BatchEnv(family, 1, 1), make_renderer(family, 96, 72)
    floors = []
    for friction in (0.3, 0.8, 1.25):
        env.set_tasks(family.make_task({"floor_friction": friction}))
        env.reset(Generator().manual_seed(0))
        floors.append(picture(env, renderer)[-10:].reshape(-1, 3).mean(axis=0))
    renderer.close()
    ice, plain, rubber = floors
    assert (ice > plain + 20).all()
    assert rubber[0] > rubber[2] and plain[0] < plain[2]


@pytest.mark.render
def test_gymnasiums_pictures_show_it_too():
    pictures = []
    for leg in (-1, 1):
        env = gymnasium.make(
            "MetaRL/AntCrippled-v0", render_mode="rgb_array", width=160, height=120
        )
        env.unwrapped.set_task(env.unwrapped.family.make_task({"dead_leg": leg}))
        env.reset(seed=0)
        pictures.append(reddish(env.render().astype(int)))
        env.close()
    assert pictures[0] == 0 and pictures[1] > 15


@pytest.mark.render
@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("quadruped-load", {"payload": 5.0, "load_x": -0.1, "floor_friction": 0.5}),
        ("ant-crippled", {"dead_leg": 1}),
        ("quadrotor-wind", {"wind": (3.0, 4.0), "payload": 0.3}),
        ("arm-encoder", {"encoder_offset": 0.1}),
    ],
)
def test_what_is_drawn_leaves_the_simulation_bit_for_bit(name, task):
    family = get_family(name)
    envs, renderer = [BatchEnv(family, 1, 1) for _ in range(2)], make_renderer(family, 64, 64)
    for env in envs:
        env.set_tasks(family.make_task(task))
        env.reset(Generator().manual_seed(0))
        for step in range(3):
            env.step(family.middle_action()[None] + 0.01 * step)
            if env is envs[0]:
                picture(env, renderer)
    renderer.close()
    one, two = (env.engine.state() for env in envs)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_legend_names_what_is_seen():
    family = get_family("quadruped-load")
    model = family.robot.load_model()
    start = mujoco.MjData(model)
    mujoco.mj_forward(model, start)
    looks, world = Looks(family, model, start), family.robot.load_model()
    assert legend(looks.differences(world)) == ()
    world.geom("floor").friction[0] = 0.4
    world.actuator("FL_hip").gainprm[0] *= 0.5
    world.actuator("FL_calf").gear[0] *= -1
    world.body("trunk").mass[0] += 1.5
    entries = dict(legend(looks.differences(world), misreports=True))
    assert list(entries) == [
        "weak motors",
        "in reverse",
        "added 1.5 kg",
        "pale: as the encoders report",
        "slippery floor",
    ]
    assert entries["weak motors"] == (250, 205, 30)
    assert not np.allclose(DEAD, MARKER_COLOUR, atol=0.05)
