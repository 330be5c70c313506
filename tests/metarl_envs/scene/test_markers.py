"""Markers: where a task's goal is, in pictures and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.scenes import CAR, FLOOR, family, filmed, model, red

from metarl_envs import BatchEnv, InputError, Marker, get_family, vary
from metarl_envs.rendering.renderer import make_renderer

GREY = CAR.replace("0.9 0.2 0.1 1", "0.5 0.5 0.5 1")
SITE = '<site name="target" pos="0 0 -5" size="0.1" rgba="0.9 0.2 0.1 1" group="4"/>'
XML = model(FLOOR + SITE + GREY)


def scene(folder, nominal=(0.0, 0.0), unit="m", **fields):
    goal = vary.goal("spot", ((-0.6, 0.6)), nominal, unit=unit)
    return family(folder, XML, parameters=(goal,), **fields)


def place(picture: np.ndarray) -> tuple[float, float]:
    """Column and row of the marker's middle."""
    assert red(picture).sum() > 3, "there is no marker"
    rows, columns = red(picture).nonzero()
    return float(columns.mean()), float(rows.mean())


def test_places_are_made_from_one_two_or_three_numbers():
    task = {"x": 0.5, "spot": [1.0, 2.0], "point": [1.0, 2.0, 3.0]}
    assert Marker("x").place(task).tolist() == [0.5, 0, 0]
    high = Marker("x", axis="z", origin_m=(1, 0, 1)).place(task)
    assert high.tolist() == [1, 0, 1.5]
    assert Marker("spot").place(task)[:2].tolist() == [1, 2]
    assert np.isnan(Marker("spot").place(task)[2])  # the floor's height
    assert Marker("point", origin_m=(1.0, 0.0, 0.0)).place(task).tolist() == [2, 2, 3]
    turned = Marker("x", position=lambda task: (0.0, task["x"], 2.0))
    assert turned.place(task).tolist() == [0, 0.5, 2]


@pytest.mark.render
def test_a_goal_in_metres_is_drawn_where_it_is(tmp_path):
    tasks = scene(tmp_path)
    assert tasks.shown_markers == (Marker("spot"),)
    left, right = (place(filmed(tasks, 0, {"spot": [x, -0.5]})[0])[0] for x in (-0.6, 0.6))
    near, far = (place(filmed(tasks, 0, {"spot": [0.6, y]})[0])[1] for y in (-0.6, 0.6))
    assert left < 50 and right > 110
    assert near > far + 20


@pytest.mark.render
@pytest.mark.parametrize("shape", ["disc", "sphere", "flag"])
def test_every_shape_can_be_seen(tmp_path, shape):
    place(filmed(scene(tmp_path, markers=(Marker("spot", shape=shape),)), 0, {"spot": [0.6, 0]})[0])


@pytest.mark.render
def test_a_site_is_moved_in_pictures_and_not_in_the_simulation(tmp_path):
    tasks = scene(tmp_path, (0.0, 0.0, 0.5), markers=(Marker("spot", site="target"),))
    env = BatchEnv(tasks, 1, 1)
    env.set_tasks(tasks.make_task({"spot": [-0.6, 0.0, 0.5]}))
    env.reset(torch.Generator().manual_seed(0))
    before = env.engine.state()
    renderer = make_renderer(tasks, 160, 120)
    picture = renderer.frame(env.engine, 0, env.tasks.describe(0))
    renderer.close()
    column, row = place(picture)
    assert column < 60 and row < 60
    after = env.engine.state()
    assert all(torch.equal(before[name], after[name]) for name in before)
    compiled, data = env.engine.host_world(0)
    assert data.site_xpos[compiled.site("target").id].tolist() == [0, 0, -5]
    assert compiled.site_group[compiled.site("target").id] == 4


@pytest.mark.render
def test_a_marker_needs_no_more_than_a_number(tmp_path):
    tasks = scene(tmp_path, 0.0, markers=(Marker("spot", origin_m=(0, -0.5, 0.2)),))
    left, right = (place(filmed(tasks, 0, {"spot": x})[0])[0] for x in (-0.6, 0.6))
    assert left < 60 < 100 < right


def test_goals_that_are_no_places_are_not_drawn(tmp_path):
    assert scene(tmp_path, 0.0).shown_markers == ()
    assert scene(tmp_path, unit="m/s").shown_markers == ()
    assert scene(tmp_path, markers=()).shown_markers == ()
    assert get_family("ant-goal").shown_markers == (Marker("goal"),)
    assert get_family("half-cheetah-velocity").shown_markers == ()


@pytest.mark.render
def test_distant_goals_are_in_the_picture(tmp_path):
    goal = vary.goal("spot", (-8.0, 8.0), (0.0, 0.0), unit="m")
    tasks = family(tmp_path, XML, parameters=(goal,))
    for corner in ([-8, -8], [-8, 8], [8, 8], [8, -8]):
        place(filmed(tasks, 0, {"spot": corner})[0])


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        (Marker("spott"), "unknown parameter of a marker of scene 'spott': did you mean spot?"),
        (Marker("spot", site="targets"), "unknown site of a marker of scene 'targets': .*target"),
        (Marker("spot", position=lambda t: (1.0,)), "position of the marker of 'spot' = .* two or"),
        (Marker("spot", position=lambda t: t["nothing"]), "position of the marker of 'spot'"),
        ("spot", r"markers of scene: 'spot' must be a metarl_envs.Marker"),
    ],
)
def test_markers_that_show_nothing_are_refused(tmp_path, marker, message):
    with pytest.raises(InputError, match=message):
        scene(tmp_path, markers=(marker,))


def test_four_numbers_are_no_place(tmp_path):
    with pytest.raises(InputError, match=r"'spot': it has 4 numbers.*position="):
        scene(tmp_path, (0.0,) * 4, markers=(Marker("spot"),))
