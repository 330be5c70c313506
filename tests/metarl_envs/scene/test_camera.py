"""Placement of the camera: the robot is found, fills the picture and stays in it."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from support.scenes import BALL, CAR, DRONE, FLOOR, MOTOR, family, filmed, green, model, red, robot

from metarl_envs import Camera, InputError, gym_robot
from metarl_envs.scene.camera import View
from metarl_envs.scene.subject import find_subject

MOCAP = (
    '<body name="target" mocap="true" pos="0 0 0.1">'
    '<geom size="0.02" contype="0" conaffinity="0"/></body>'
)
TABLE = '<body name="table" pos="0 2 0.2"><geom type="box" size="0.3 0.3 0.2"/></body>'
ARM = (
    '<body name="arm" pos="0 0 0.1"><joint name="x" axis="0 1 0" range="-170 170"/>'
    '<geom type="capsule" fromto="0 0 0 0 0 0.5" size="0.05" rgba="0.9 0.2 0.1 1"/></body>'
)
OWN = '<camera name="side" pos="0 -6 1" xyaxes="1 0 0 0 0.1 1"/><camera name="top" pos="0 0 3"/>'


def subject_of(xml: str, body: str = ""):
    compiled = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(compiled)
    mujoco.mj_forward(compiled, data)
    return find_subject(compiled, data, body)


@pytest.mark.parametrize(
    ("before", "number"), [("", 1), (MOCAP, 2), (TABLE, 2), (MOCAP + TABLE, 3)]
)
def test_the_subject_is_the_first_body_that_moves(before, number):
    subject = subject_of(model(FLOOR + before + CAR))
    assert subject.body == number
    assert subject.low == pytest.approx([-0.3, -0.15, 0.1])
    assert subject.high == pytest.approx([0.3, 0.15, 0.3])  # whatever the floor's size is
    assert subject.travels


def test_of_several_trees_the_driven_one_is_the_robot():
    subject = subject_of(model(FLOOR + BALL.format("9 9") + CAR))
    assert subject.body == 2
    assert subject.high == pytest.approx([0.3, 0.15, 0.3])  # the ball is too far


def test_what_moves_near_the_robot_is_in_the_picture():
    subject = subject_of(model(FLOOR + BALL.format("0 0.4") + CAR))
    assert subject.body == 2
    assert subject.high == pytest.approx([0.3, 0.5, 0.3])


@pytest.mark.parametrize(
    "motor",
    [
        '<general name="drive" site="s" gear="1 0 0 0 0 0" ctrlrange="-1 1"/>',
        '<motor name="drive" tendon="t" ctrlrange="-1 1"/>',
    ],
)
def test_sites_and_tendons_say_what_is_driven(motor):
    car = CAR.replace("</body>", '<site name="s"/></body>')
    rest = '<tendon><fixed name="t"><joint joint="x" coef="1"/></fixed></tendon>'
    assert subject_of(model(BALL.format("9 9") + car, motor=motor, rest=rest)).body == 2


def test_an_arm_is_as_large_as_what_it_reaches():
    subject = subject_of(model(FLOOR + ARM))
    assert not subject.travels
    assert subject.low[0] < -0.5 and subject.high[0] > 0.5  # upright at the start, 0.05 m thick
    assert subject.low[2] == 0.0  # not below the floor
    assert subject.high[2] == pytest.approx(0.65, abs=0.01)


def test_the_picture_is_as_wide_as_what_an_arm_reaches_not_as_the_box_around_it():
    pan = '<joint name="pan" axis="0 0 1" range="-180 180"/><joint name="x" axis="0 1 0"'
    subject = subject_of(model(ARM.replace('<joint name="x" axis="0 1 0"', pan)))
    # A sphere of 0.5 m and the arm's thickness, in a box whose corners are 0.95 m away.
    assert subject.radius == pytest.approx(0.57, abs=0.02)
    assert np.linalg.norm(subject.high - subject.low) / 2 > 0.9


def test_a_short_rail_is_shown_as_a_whole_and_a_long_one_travelled():
    def on_rail(metres: float):
        return subject_of(model(CAR.replace('name="x"', f'name="x" range="-{metres} {metres}"')))

    assert on_rail(0.5).low[0] == pytest.approx(-0.8, abs=0.05)
    assert not on_rail(0.5).travels and on_rail(50).travels


@pytest.mark.render
@pytest.mark.parametrize("before", ["", MOCAP, TABLE, BALL.format("9 9")])
def test_the_car_is_in_the_picture_before_and_after_driving(tmp_path, before):
    first, last, x = filmed(family(tmp_path, model(FLOOR + before + CAR)))
    assert x > 20 or "ball" in before  # whose last joint is not the car's
    for picture in (first, last):
        assert 0.05 < red(picture).mean() < 0.4
        rows, columns = red(picture).nonzero()
        assert (columns.mean(), rows.mean()) == pytest.approx((80, 60), abs=12)
    assert not np.array_equal(first[:, :20], last[:, :20]), "the floor does not show the way"


@pytest.mark.render
def test_a_climbing_robot_stays_in_the_picture(tmp_path):
    motor = MOTOR.replace('"20"', '"60"')
    first, last, z = filmed(family(tmp_path, model(FLOOR + DRONE, motor=motor)), steps=40)
    assert z > 20
    assert red(last).sum() > 0.8 * red(first).sum()
    assert not np.array_equal(first[90:], last[90:])


@pytest.mark.render
def test_a_fixed_camera_sees_the_robot_drive_away(tmp_path):
    tasks = family(tmp_path, model(), Camera(fixed=True, azimuth_deg=0))
    first, last, x = filmed(tasks, steps=25)
    assert x > 4
    assert 0 < red(last).sum() < 0.5 * red(first).sum()
    assert red(filmed(tasks, steps=60)[1]).sum() < red(last).sum()
    assert red(filmed(tasks, steps=25, camera=Camera(azimuth_deg=0))[1]).sum() > 1000  # followed


@pytest.mark.render
def test_an_arms_camera_stays(tmp_path):
    xml = model(FLOOR + ARM.replace("-170 170", "-60 60")).replace('"20"', '"5"')
    tasks = family(tmp_path, xml.replace('name="arm"', 'name="car"'))
    first, last, _ = filmed(tasks, steps=40)
    assert not np.array_equal(red(first), red(last))
    assert np.array_equal(first[:30, :30], last[:30, :30])
    assert np.array_equal(first[-20:, :20], last[-20:, :20])


@pytest.mark.render
def test_a_camera_of_the_model_is_used_as_it_is(tmp_path):
    tasks = family(tmp_path, model(OWN + FLOOR + CAR), Camera(name="side"))
    side, away, _ = filmed(tasks, steps=60)
    assert 50 < red(side).sum() < 500  # 0.6 x 0.2 m from 6 m
    assert red(away).sum() == 0  # it does not follow
    top = filmed(tasks, steps=0, camera=Camera(name="top"))[0]
    assert red(top).nonzero()[0].mean() == pytest.approx(60, abs=2)
    assert np.ptp(red(top).nonzero()[0]) == pytest.approx(
        0.5 * np.ptp(red(top).nonzero()[1]), abs=3
    )


@pytest.mark.render
def test_a_body_of_ones_choice_is_followed(tmp_path):
    tasks = family(tmp_path, model(FLOOR + BALL.format("9 9") + CAR), Camera(body="ball"))
    picture = filmed(tasks, steps=5)[1]
    assert green(picture).mean() > 0.05
    rows, columns = green(picture).nonzero()
    assert (columns.mean(), rows.mean()) == pytest.approx((80, 60), abs=8)


def test_distance_comes_from_the_robot_and_height_and_angle_from_the_camera():
    compiled = mujoco.MjModel.from_xml_string(model())
    data = mujoco.MjData(compiled)
    mujoco.mj_forward(compiled, data)
    view = View(Camera(), compiled, data, 4 / 3)
    radius = np.linalg.norm([0.3, 0.15, 0.1])
    assert view.distance == pytest.approx(1.7 * radius / np.sin(np.radians(22.5)))
    assert view.aim(data) == pytest.approx([0, 0, 0.2])
    given = Camera(distance_m=7.0, elevation_deg=-30.0, height_m=1.5, azimuth_deg=20.0)
    view = View(given, compiled, data, 4 / 3)
    data.qpos[:] = 12.0
    mujoco.mj_forward(compiled, data)
    assert view.aim(data) == pytest.approx([12, 0, 1.5])
    camera = view.camera
    assert (camera.distance, camera.elevation, camera.azimuth) == (7.0, -30.0, 20.0)


def test_a_state_that_is_no_number_does_not_move_the_camera():
    compiled = mujoco.MjModel.from_xml_string(model())
    data = mujoco.MjData(compiled)
    mujoco.mj_forward(compiled, data)
    view = View(Camera(), compiled, data, 1.0)
    data.subtree_com[:] = np.nan
    assert view.aim(data) == pytest.approx([0, 0, 0.2])


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (Camera(body="carr"), "unknown body for the camera to follow 'carr': did you mean car?"),
        (Camera(name="sid"), "unknown camera of the model 'sid': did you mean side?"),
        ("side", r"camera = 'side': must be a metarl_envs.Camera"),
    ],
)
def test_cameras_on_what_is_not_there_are_refused_when_the_robot_is_made(tmp_path, camera, message):
    with pytest.raises(InputError, match=message):
        robot(tmp_path, model(OWN + FLOOR + CAR), camera)


def test_a_model_without_cameras_says_what_to_give_instead(tmp_path):
    with pytest.raises(InputError, match=r"names none of its own; .* azimuth_deg"):
        robot(tmp_path, model(), Camera(name="side"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"distance_m": 0.0}, "distance_m = 0: must be above 0"),
        ({"elevation_deg": 91}, r"elevation_deg = 91: must be in \[-90, 90\]"),
        ({"name": "side", "fixed": True}, "name = 'side': must be alone"),
        ({"azimuth_deg": None}, "azimuth_deg = None: must be a number"),
    ],
)
def test_impossible_cameras_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Camera(**fields)


def test_gymnasiums_robots_have_cameras_too():
    assert gym_robot("Ant-v5", camera=Camera(body="torso")).camera.body == "torso"
    with pytest.raises(InputError, match="did you mean torso"):
        gym_robot("Ant-v5", camera=Camera(body="torsoo"))
    with pytest.raises(InputError, match="camera: Pendulum-v1 has no MuJoCo model"):
        gym_robot("Pendulum-v1", camera=Camera())
