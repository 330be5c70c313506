"""Pictures: the robot is in them, and Gymnasium's recorders can use them."""

from __future__ import annotations

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import Generator

from metarl_envs import (
    FAMILIES,
    BatchEnv,
    Camera,
    InputError,
    family_from_gym,
    get_family,
    gym_robot,
    gymnasium_id,
    vary,
)
from metarl_envs.rendering.renderer import MapRenderer, make_renderer


def picture_of(family_name: str, task=None, steps: int = 5) -> np.ndarray:
    family = get_family(family_name)
    env = BatchEnv(family, 1, 1)
    env.set_tasks(family.make_task(task or {}))
    env.reset(Generator().manual_seed(0))
    for _ in range(steps):
        env.step(torch.zeros(1, len(env.action_low)))
    renderer = make_renderer(family, 160, 120)
    picture = renderer.frame(env.engine, 0, env.tasks.describe(0))
    renderer.close()
    renderer.close()
    return picture


@pytest.mark.render
@pytest.mark.parametrize("family", list(FAMILIES))
def test_render_gives_a_picture_with_something_in_it(family):
    env = gymnasium.make(gymnasium_id(family), render_mode="rgb_array", width=160, height=120)
    env.reset(seed=0)
    first = env.render()
    for _ in range(5):
        env.step(env.action_space.high)
    second = env.render()
    env.close()
    for picture in (first, second):
        assert picture.shape == (120, 160, 3)
        assert picture.dtype == np.uint8
        middle = picture[20:100, 40:120].reshape(-1, 3)
        assert len(np.unique(middle, axis=0)) > 20
    assert not np.array_equal(first, second)


@pytest.mark.render
@pytest.mark.filterwarnings("ignore:.*A Box observation space")
@pytest.mark.parametrize("family", ["navigation", "half-cheetah-direction"])
def test_passes_gymnasiums_render_checks(family):
    env = gymnasium.make(gymnasium_id(family), render_mode="rgb_array", width=64, height=64)
    check_env(env.unwrapped)
    env.close()


@pytest.mark.render
@pytest.mark.parametrize("family", ["half-cheetah-direction", "ant-direction", "hopper-dynamics"])
def test_the_robot_is_in_the_middle_of_the_picture(family):
    """Its colours are warm (red over blue), floor and sky are cold."""
    picture = picture_of(family).astype(int)
    warm = picture[:, :, 0] > picture[:, :, 2] + 20
    assert warm.mean() > 0.01
    rows, columns = warm.nonzero()
    assert 0.3 * 120 < rows.mean() < 0.75 * 120
    assert 0.4 * 160 < columns.mean() < 0.6 * 160
    floor = picture[-10:].reshape(-1, 3)
    assert len(np.unique(floor, axis=0)) >= 2, "no squares to see motion by"


@pytest.mark.render
def test_the_goal_of_the_ant_is_drawn():
    def red(picture):
        r, g, b = picture.astype(int).transpose(2, 0, 1)
        return (r > 150) & (g < 120) & (b < 120)

    left, right = (
        red(picture_of("ant-goal", {"goal": [x, 0.0]})).nonzero()[1].mean() for x in (-2, 2)
    )
    assert left < 70 < 90 < right


@pytest.mark.render
def test_record_video_writes_a_file(tmp_path):
    pytest.importorskip("moviepy", reason="gymnasium.wrappers.RecordVideo needs moviepy")
    env = gymnasium.make("MetaRL/Navigation-v0", render_mode="rgb_array", width=64, height=64)
    folder = tmp_path / "videos"
    env = gymnasium.wrappers.RecordVideo(env, str(folder), episode_trigger=lambda _: True)
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.high)
    env.close()
    assert [path.suffix for path in folder.iterdir()] == [".mp4"]


@pytest.mark.render
def test_render_collection_keeps_every_frame():
    env = gymnasium.make(
        "MetaRL/HalfCheetahDirection-v0", render_mode="rgb_array", width=64, height=48
    )
    env = gymnasium.wrappers.RenderCollection(env)
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.high)
    frames = env.render()
    env.close()
    assert isinstance(frames, list)
    assert len(frames) == 4
    assert not np.array_equal(frames[0], frames[3])


@pytest.mark.render
def test_rendering_does_not_disturb_the_simulation():
    family = get_family("half-cheetah-direction")
    envs = [BatchEnv(family, 1, 2) for _ in range(2)]
    renderer = make_renderer(family, 64, 64)
    for env in envs:
        env.reset(Generator().manual_seed(0))
        for _ in range(5):
            env.step(torch.full((2, 6), 0.3))
            if env is envs[0]:
                renderer.frame(env.engine, 1, env.tasks.describe(0))
    renderer.close()
    one, two = (env.engine.state() for env in envs)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_map_shows_trail_within_an_episode_and_forgets_it_after():
    env = BatchEnv(get_family("navigation"), 1, 1)
    renderer = MapRenderer(96, 96)
    task = {"goal": [0.5, -0.5]}
    env.reset(Generator())
    start = renderer.frame(env.engine, 0, task)
    env.step(torch.tensor([[0.1, 0.1]]))
    moved = renderer.frame(env.engine, 0, task)
    assert np.array_equal(renderer.frame(env.engine, 0, task), moved)
    env.reset(Generator())
    assert np.array_equal(renderer.frame(env.engine, 0, task), start)
    fresh = MapRenderer(96, 96)
    env.step(torch.tensor([[0.1, 0.1]]))
    assert not np.array_equal(fresh.frame(env.engine, 0, task), moved), "the trail is missing"


def test_map_keeps_the_trails_of_two_worlds_apart():
    env = BatchEnv(get_family("navigation"), 1, 2)
    both, one = MapRenderer(96, 96), MapRenderer(96, 96)
    env.reset(Generator())
    for action in ([[0.1, 0.1], [-0.1, 0.0]], [[0.1, -0.1], [0.0, -0.1]], [[0.1, 0.1], [0.1, 0.0]]):
        env.step(torch.tensor(action))
        expected = one.frame(env.engine, 0, {})
        assert np.array_equal(both.frame(env.engine, 0, {}), expected)
        assert not np.array_equal(both.frame(env.engine, 1, {}), expected)


def test_map_puts_x_right_and_y_up():
    env = BatchEnv(get_family("navigation"), 1, 1)
    env.reset(Generator())
    picture = MapRenderer(96, 96).frame(env.engine, 0, {"goal": [0.5, 0.5]}).astype(int)
    rows, columns = (picture[:, :, 0] > picture[:, :, 2] + 60).nonzero()
    assert (columns.mean(), rows.mean()) == pytest.approx((72, 24), abs=1.5)


def test_missing_opengl_is_reported_in_one_line(monkeypatch):
    def no_display(*args):
        raise RuntimeError("an OpenGL platform library has not been loaded\nmore")

    monkeypatch.setattr(mujoco, "Renderer", no_display)
    with pytest.raises(InputError) as caught:
        make_renderer(get_family("half-cheetah-direction"), 64, 64)
    assert "MUJOCO_GL=egl" in str(caught.value)
    assert "libegl1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(0, 64), (64, 100000)])
def test_impossible_picture_sizes_are_refused(size):
    with pytest.raises(InputError, match=r"must be in \[16, 4096\]"):
        make_renderer(get_family("navigation"), *size)


class Ring(gymnasium.Env):
    """An environment without MuJoCo that draws itself: a wide picture, as red as its angle."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - Gymnasium's
    observation_space = gymnasium.spaces.Box(-10, 10, (1,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float64)

    def __init__(self, render_mode=None, broken=False):
        self.render_mode, self.broken, self.gain, self.angle = render_mode, broken, 1.0, 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.angle = 0.0
        return np.array([self.angle]), {}

    def step(self, action):
        self.angle += self.gain * float(action[0])
        return np.array([self.angle]), 0.0, False, False, {}

    def render(self):
        if self.broken:
            raise RuntimeError("no canvas")
        picture = np.zeros((50, 100, 3), dtype=np.uint8)
        picture[..., 0] = int(100 * self.angle)
        return picture


def ring(**kwargs):
    if "PicturesRing-v0" not in gymnasium.registry:
        gymnasium.register("PicturesRing-v0", Ring, max_episode_steps=10)
    return family_from_gym(
        gym_robot("PicturesRing-v0", **kwargs), lambda r: (vary.attribute(r, "gain", (0.5, 2.0)),)
    )


def test_an_environment_without_mujoco_is_pictured_by_itself():
    family = ring()
    env = BatchEnv(family, 1, 2)
    env.set_tasks(family.make_task({"gain": 2.0}))
    env.reset(Generator().manual_seed(0))
    env.step(torch.tensor([[0.5], [1.0]], dtype=torch.float64))
    renderer = make_renderer(family, 80, 80)
    pictures = [renderer.frame(env.engine, i, env.tasks.describe(0)) for i in range(2)]
    renderer.close()
    for picture, colour in zip(pictures, (100, 200), strict=True):
        assert picture.shape == (80, 80, 3)
        assert picture[40, 40].tolist() == [colour, 0, 0]
        assert picture[5, 40].tolist() == picture[75, 40].tolist() == [250, 250, 248]  # not bent


def test_an_environment_that_cannot_draw_itself_says_so():
    family = ring(broken=True)
    env = BatchEnv(family, 1, 1)
    env.reset(Generator().manual_seed(0))
    with pytest.raises(InputError, match=r"PicturesRing-v0 is not .*RuntimeError: no canvas"):
        make_renderer(family, 64, 64).frame(env.engine, 0, {})


@pytest.mark.render
def test_gymnasiums_own_world_is_what_is_pictured():
    """Not another one with its positions: environments write into their models and mocap bodies."""
    family = family_from_gym("Ant-v5", lambda r: (vary.mass(r, "torso", (0.5, 2.0)),))
    env = BatchEnv(family, 1, 2)
    env.set_tasks(family.make_task({"torso_mass": 2.0}))
    env.reset(Generator().manual_seed(0))
    env.step(torch.full((2, 8), 0.5, dtype=torch.float64))
    model, data = env.engine.host_world(1)
    assert data.qpos.tolist() == env.engine.data["qpos"][1].tolist()
    assert data.time > 0
    assert model.body("torso").mass == pytest.approx(2 * family.robot.load_model().body(1).mass)
    data.qpos[:] = 0.0  # copies
    assert env.engine.host_world(1)[1].qpos.tolist() == env.engine.data["qpos"][1].tolist()


def test_worlds_are_pictured_once_they_have_been_reset():
    family = family_from_gym("Ant-v5", lambda r: (vary.mass(r, "torso", (0.5, 2.0)),))
    with pytest.raises(InputError, match="reset the worlds before taking pictures"):
        BatchEnv(family, 1, 1).engine.host_world(0)


def test_a_camera_where_there_is_none_is_refused():
    with pytest.raises(InputError, match="camera: point has no MuJoCo model"):
        make_renderer(get_family("navigation"), 64, 64, Camera(fixed=True))
    with pytest.raises(InputError, match="did you mean torso"):
        make_renderer(get_family("ant-goal"), 64, 64, Camera(body="torsoo"))
