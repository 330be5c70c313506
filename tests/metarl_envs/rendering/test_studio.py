"""The studio: the same floor, sky and light for every model, in pictures only."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from PIL import Image
from support.scenes import CAR, FLOOR, family, filmed, model, red
from torch import Generator

from metarl_envs import BatchEnv
from metarl_envs.rendering.floor import FloorFinder, nice_length, strokes, text_width
from metarl_envs.rendering.renderer import make_renderer
from metarl_envs.scene.camera import Camera
from metarl_envs.scene.subject import find_subject

TEXTURED = '<geom type="plane" size="40 40 0.1" material="m"/>'
CUBE = '<texture name="t" type="cube" builtin="flat" rgb1="1 0 1" width="8" height="48"/>'
USE = '<material name="m" texture="t"/>'
LAYERS = (
    '<texture name="t" type="2d" file="rgb.png"/><texture name="n" type="2d" file="rgb.png"/>'
    '<texture name="o" type="2d" file="gray.png" nchannel="1"/>'
    '<material name="m"><layer texture="t" role="rgb"/><layer texture="n" role="normal"/>'
    '<layer texture="o" role="orm"/></material>'
)
NO_COLOUR = (
    '<texture name="n" type="2d" file="rgb.png"/>'
    '<material name="m"><layer texture="n" role="normal"/></material>'
)
SKY = '<texture type="skybox" builtin="gradient" rgb1="1 0 0" rgb2="0 1 0" width="8" height="48"/>'
SCENES = {
    "checker": (
        '<texture name="t" type="2d" builtin="checker" rgb1="1 1 1" rgb2="0 0 0" width="9" '
        'height="9"/>' + USE,
        TEXTURED,
    ),
    "cube": (CUBE + USE, TEXTURED),
    "layers": (LAYERS, TEXTURED),
    "no colour": (NO_COLOUR, TEXTURED),
    "rgba": ('<texture name="t" type="2d" file="rgba.png" nchannel="4"/>' + USE, TEXTURED),
    "grey": ('<texture name="t" type="2d" file="gray.png" nchannel="1"/>' + USE, TEXTURED),
    "one pixel": ('<texture name="t" type="2d" file="one.png"/>' + USE, TEXTURED),
    "sky only": (SKY, FLOOR),
    "material only": ('<material name="m" rgba="1 1 0 1"/>', TEXTURED),
}
SMALL_BUFFER = (
    '<visual><global offwidth="64" offheight="64" fovy="90"/><quality shadowsize="0" '
    'offsamples="0"/><map znear="0.3" zfar="2"/></visual>'
)


@pytest.fixture
def textures(tmp_path):
    for name, mode, side in (("rgb", "RGB", 8), ("one", "RGB", 1), ("rgba", "RGBA", 8)):
        Image.new(mode, (side, side), "yellow").save(tmp_path / f"{name}.png")
    Image.new("L", (8, 8), 90).save(tmp_path / "gray.png")
    return tmp_path


@pytest.mark.render
@pytest.mark.parametrize("name", SCENES)
def test_every_model_has_the_same_studio_whatever_its_textures(textures, name):
    assets, floor = SCENES[name]
    plain = filmed(family(textures, model()), 0)[0]
    picture = filmed(family(textures, model(floor + CAR, assets)), 0)[0]
    assert np.array_equal(picture, plain)


@pytest.mark.render
def test_a_robots_own_textures_stay(textures):
    box = '<geom type="box" size="0.3 0.15 0.1" pos="0 0.8 0.5" material="m"/>'
    assets = '<texture name="t" type="2d" file="rgb.png"/>' + USE
    picture = filmed(family(textures, model(FLOOR + box + CAR, assets)), 0)[0].astype(int)
    yellow = (picture[..., 0] > 120) & (picture[..., 1] > 120) & (picture[..., 2] < 90)
    assert yellow.sum() > 50


@pytest.mark.render
def test_there_are_a_sky_a_floor_with_squares_and_a_shadow(tmp_path):
    picture = filmed(family(tmp_path, model(CAR)), 0)[0].astype(int)  # none of them in the model
    sky, floor = picture[:15].reshape(-1, 3), picture[40:].max(axis=2)
    assert sky.min() > 120 and np.ptp(sky[:, 0]) > 8  # a gradient
    squares = np.unique(floor[:, -30:])  # the shadow is in the middle
    assert np.ptp(squares) > 20
    assert (floor < 0.85 * squares.min()).sum() > 50, "no shadow"


@pytest.mark.render
def test_the_floor_shows_distances(tmp_path):
    """A car that went 1 step of the floor looks the same but for the numbers."""
    tasks = family(tmp_path, model())
    env = BatchEnv(tasks, 1, 1)
    env.reset(Generator().manual_seed(0))
    renderer, pictures = make_renderer(tasks, 320, 240), []
    for x in (0.0, 1.0, 10.0):  # squares are of 0.5 m, so two of them are a period
        env.engine.reset(None, torch.tensor([[x]]).double(), torch.zeros(1, 1).double())
        pictures.append(renderer.frame(env.engine, 0, env.tasks.describe(0)).astype(int))
    renderer.close()
    for moved in pictures[1:]:
        changed = np.abs(moved - pictures[0]).max(axis=2) > 20
        assert 30 < changed.sum() < 0.1 * changed.size
        assert not changed[:60].any()  # the sky


@pytest.mark.render
def test_hundreds_of_geoms_do_not_hide_the_robot(tmp_path):
    crowd = "".join(
        f'<geom type="box" size="0.05 0.05 0.05" pos="{i % 50} {2 + i // 50} 0.05"/>'
        for i in range(1200)
    )
    assert red(filmed(family(tmp_path, model(FLOOR + crowd + CAR)))[1]).mean() > 0.05


@pytest.mark.render
@pytest.mark.parametrize("scale", [0.02, 1.0, 200.0])
def test_robots_of_all_sizes_fill_the_picture(tmp_path, scale):
    def scaled(*numbers):
        return " ".join(f"{number * scale:g}" for number in numbers)

    car = CAR.replace("0 0 0.2", scaled(0, 0, 0.2)).replace("0.3 0.15 0.1", scaled(0.3, 0.15, 0.1))
    first, last, _ = filmed(family(tmp_path, model(FLOOR + car)), 5)
    plain = filmed(family(tmp_path, model()), 0)[0]
    assert red(first).sum() == pytest.approx(red(plain).sum(), rel=0.05)
    assert red(last).mean() > 0.05


@pytest.mark.render
def test_a_models_own_picture_settings_do_not_matter(tmp_path):
    plain = filmed(family(tmp_path, model()), 0)[0]
    assert np.array_equal(filmed(family(tmp_path, model(rest=SMALL_BUFFER)), 0)[0], plain)


@pytest.mark.render
@pytest.mark.parametrize(
    "floor",
    [
        "",
        '<geom type="box" size="30 30 0.1" pos="0 0 -0.1"/>',
        '<geom type="plane" size="0 0 1" euler="0 10 0"/>',
    ],
)
def test_every_floor_has_squares(tmp_path, floor):
    first, last, _ = filmed(family(tmp_path, model(floor + CAR)), 3)
    for picture in (first, last):
        assert len(np.unique(picture[-15:].reshape(-1, 3), axis=0)) >= 2
    assert not np.array_equal(first[-40:], last[-40:])


def test_a_plane_makes_way_for_our_floor_and_a_box_stays():
    box = '<geom type="box" size="30 30 0.1" pos="0 0 -0.1"/>'
    for floor, alpha, height in ((FLOOR, 0.0, 0.0), (box, 1.0, 0.0), (FLOOR + box, 0.0, 0.0)):
        compiled = mujoco.MjModel.from_xml_string(model(floor + CAR))
        data = mujoco.MjData(compiled)
        mujoco.mj_forward(compiled, data)
        finder = FloorFinder(compiled, data, find_subject(compiled, data))
        found = finder.floor(compiled, data)
        finder.hide(compiled)
        assert compiled.geom_rgba[0, 3] == alpha
        assert compiled.geom_rgba[-1, 3] == 1.0  # the car
        assert found is not None
        assert found.origin[2] == pytest.approx(height)
        assert np.isfinite(found.high).all() == (alpha == 1.0)  # a box has an end


@pytest.mark.render
def test_a_floor_of_the_model_s_own_hides_nothing_from_below(tmp_path):
    seen, *_ = filmed(family(tmp_path, model()), 0, camera=Camera(elevation_deg=20.0))
    assert red(seen).sum() > 500


@pytest.mark.render
def test_pictures_leave_the_simulation_bit_for_bit(tmp_path):
    tasks = family(tmp_path, model())
    envs = [BatchEnv(tasks, 1, 2) for _ in range(2)]
    renderer = make_renderer(tasks, 64, 64)
    for env in envs:
        env.reset(Generator().manual_seed(0))
        for _ in range(5):
            env.step(torch.full((2, 1), 0.3, dtype=torch.float64))
            if env is envs[0]:
                renderer.frame(env.engine, 1, env.tasks.describe(0))
    renderer.close()
    one, two = (env.engine.state() for env in envs)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    nominal, fresh = tasks.robot.load_model(), mujoco.MjModel.from_xml_string(model())
    assert nominal.geom_rgba.tolist() == fresh.geom_rgba.tolist()
    assert nominal.stat.extent == fresh.stat.extent


@pytest.mark.render
def test_what_a_task_changes_is_seen(tmp_path):
    """Whatever field it is: colours were not copied into the picture once."""
    tasks = family(tmp_path, model())
    env = BatchEnv(tasks, 1, 1)
    env.reset(Generator().manual_seed(0))
    renderer = make_renderer(tasks, 160, 120)
    world = env.engine.host_world

    def painted(index):
        compiled, data = world(index)
        compiled.geom_rgba[1] = (0, 1, 0, 1)
        return compiled, data

    before = renderer.frame(env.engine, 0, {})
    env.engine.host_world = painted
    after = renderer.frame(env.engine, 0, {})
    renderer.close()
    assert red(before).any() and not red(after).any()


@pytest.mark.parametrize(
    ("length", "nice"), [(0.016, 0.02), (0.3, 0.2), (0.4, 0.5), (1.3, 1.0), (1.5, 2.0), (75, 100)]
)
def test_squares_have_round_sizes(length, nice):
    assert nice_length(length) == pytest.approx(nice)


def test_numbers_are_written_in_strokes():
    assert len(strokes("1")) == 2 and len(strokes("8")) == 7 and len(strokes("-")) == 1
    assert len(strokes("2.5 m")) == 5 + 1 + 5 + 4
    assert max(x + half for x, _, half, _ in strokes("10 m")) < text_width("10 m")
    digits = [tuple(strokes(digit)) for digit in "0123456789"]
    assert len(set(digits)) == 10
