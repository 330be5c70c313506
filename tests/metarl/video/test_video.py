import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.tiny import tiny_policy

import metarl
from metarl.cli.cameras import parse_camera
from metarl.runs.checkpoint import load_policy, save_policy
from metarl.video import film, record, weights_sha256
from metarl.video.charts import AFTER, BEFORE, Chart, span
from metarl.video.panels import Composer, Side, Stage
from metarl_envs import Camera, InputError, Tasks, get_family

SMALL = {"episodes": 2, "width": 96, "height": 72}


def navigation_task() -> Tasks:
    return get_family("navigation").make_task({"goal": (0.4, -0.3)})


def decoded(path) -> tuple[dict, np.ndarray]:
    """ffmpeg's account of a video, and its frames (n, H, W, 3)."""
    import imageio_ffmpeg

    frames = imageio_ffmpeg.read_frames(str(path))
    meta = next(frames)
    width, height = meta["size"]
    return meta, np.stack([np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in frames])


def composer(**changes) -> Composer:
    sides = [
        Side(
            title,
            "",
            colour,
            returns=np.array([0.0, 1.0, 3.0]),
            quantity=np.zeros(3),
            way=np.zeros(3),
            trace=np.zeros(3),
            length=2,
            ending="",
        )
        for title, colour in (("BEFORE", BEFORE), ("AFTER", AFTER))
    ]
    given = {
        "width": 96,
        "height": 72,
        "family": "half-cheetah-direction",
        "stages": (Stage(0, "direction = -1"),),
        "meaning": "",
        "pace": "real time",
        "quantity": "forward velocity",
        "unit": "m/s",
        "dt_s": 0.05,
        "sides": tuple(sides),
    }
    return Composer(**(given | changes))


@pytest.mark.parametrize(
    ("returned", "places"),
    [(421.0, 0), (-56.0, 0), (5.0, 1), (0.4, 2), (-0.03, 3), (0.0, 0)],
)
def test_small_returns_are_written_with_more_places(returned, places):
    chart = Chart("return", (), span([np.array([0.0, returned])]))
    assert chart.decimals == places


def test_files_are_named_after_family_split_task_steps_and_seed(tmp_path):
    tasks = Tasks.concatenate([navigation_task(), navigation_task()])
    saved = tiny_policy("navigation")
    paths = record(saved, tasks, tmp_path, steps=2, seed=7, source="test", gif=False, **SMALL)
    assert [path.name for path in paths] == [
        "navigation__test__task00__k2__seed7.mp4",
        "navigation__test__task00__k2__seed7.json",
        "navigation__test__task01__k2__seed7.mp4",
        "navigation__test__task01__k2__seed7.json",
    ]
    assert sorted(tmp_path.iterdir()) == sorted(paths)  # nothing half-written is left


def test_a_film_of_the_same_name_is_numbered_and_the_first_one_stays(tmp_path):
    saved = tiny_policy("navigation", horizon=12)
    first = record(saved, navigation_task(), tmp_path, gif=False, **SMALL)
    kept = [path.read_bytes() for path in first]
    sizes = SMALL | {"episodes": SMALL.get("episodes", 20) + 1}
    for number in (2, 3):
        again = record(saved, navigation_task(), tmp_path, gif=False, **sizes)
        assert [p.name for p in again] == [f"{p.stem}-{number}{p.suffix}" for p in first]
    assert [path.read_bytes() for path in first] == kept


def test_mp4_decodes_to_one_frame_per_step_and_the_last_one_held(tmp_path):
    saved = tiny_policy("navigation", horizon=12)
    path = record(saved, navigation_task(), tmp_path, **SMALL)[0]
    assert path.read_bytes()[4:8] == b"ftyp"
    meta, frames = decoded(path)
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"].startswith("yuv420p")
    assert meta["fps"] == 10
    assert meta["size"] == (192, 128)
    assert len(frames) == 1 + 12 + 10


def test_gif_is_animated_small_and_endless(tmp_path):
    path = record(tiny_policy("navigation", horizon=12), navigation_task(), tmp_path, **SMALL)[1]
    assert path.suffix == ".gif" and path.stat().st_size < 1_500_000
    with Image.open(path) as gif:
        assert gif.is_animated
        assert gif.info["loop"] == 0
        assert gif.n_frames > 3  # Pillow merges equal frames
        assert gif.info["duration"] == 100


def test_json_holds_what_is_needed_to_make_the_video_again(tmp_path):
    saved = tiny_policy("navigation", horizon=12)
    folder = save_policy(tmp_path / "policy", saved)
    loaded = load_policy(folder)
    path = record(loaded, navigation_task(), tmp_path / "videos", seed=3, **SMALL)[-1]
    data = json.loads(path.read_text())
    assert data["family"] == "navigation"
    assert data["task"] == {"goal": [0.4, -0.3]}
    assert data["units"] == {"goal": "m"}
    assert data["seed"] == 3
    assert data["weights_sha256"] == loaded.metadata["sha256"] == weights_sha256(saved.params)
    assert [entry["adaptation_episodes"] for entry in data["adaptation"]] == [0, 2]
    assert [entry["gradient_steps"] for entry in data["shown"]] == [0, 1]
    for entry in data["shown"]:  # navigation: the return is minus the summed distance
        mean = -entry["return"] / entry["steps"]
        assert entry["distance_to_goal_m"] == pytest.approx(mean, rel=1e-6)
    assert {"mujoco", "torch", "metarl"} <= data["versions"].keys()


class Collector:
    """Stands in for an encoder."""

    def __init__(self, path):
        self.path, self.frames = path, []

    def add(self, frame):
        self.frames.append(frame)


def collect_frames(monkeypatch, saved, task, tmp_path) -> np.ndarray:
    collector = Collector(tmp_path / "x.mp4")

    class Writers:
        def __init__(self, *args, **kwargs): ...
        def __enter__(self):
            return [collector]

        def __exit__(self, *args): ...

    monkeypatch.setattr(film, "video_writers", Writers)
    record(saved, task, tmp_path, **SMALL)
    return np.stack(collector.frames)


def panels(frames, width=96, height=72, top=17, edge=5) -> tuple[np.ndarray, np.ndarray]:
    """Left and right world without what captions of tiny videos and the track reach into."""
    worlds = frames[:, top + edge : top + int(0.65 * height)]
    return worlds[:, :, edge : width - edge], worlds[:, :, width + edge : 2 * width - edge]


def test_top_of_the_worlds_is_where_the_next_tests_look():
    frame = composer().frame([np.full((72, 96, 3), v, np.uint8) for v in (77, 99)], 0)
    left, right = panels(frame[None])
    assert (left == 77).all() and (right == 99).all()


def test_both_worlds_start_alike_and_then_part(monkeypatch, tmp_path):
    frames = collect_frames(monkeypatch, tiny_policy("navigation"), navigation_task(), tmp_path)
    left, right = panels(frames)
    assert np.array_equal(left[0], right[0])
    assert not np.array_equal(left[-1], right[-1])


@pytest.mark.render
def test_robot_starts_alike_and_its_video_decodes(monkeypatch, tmp_path):
    saved = tiny_policy("half-cheetah-direction", horizon=4)
    task = get_family("half-cheetah-direction").make_task({"direction": -1})
    path = record(saved, task, tmp_path, **SMALL)[0]
    meta, decoded_frames = decoded(path)
    assert len(decoded_frames) == 1 + 4 + 10  # 0.2 s at half speed: 10 frames per second
    assert meta["fps"] == 10
    frames = collect_frames(monkeypatch, saved, task, tmp_path)
    left, right = panels(frames)
    assert np.array_equal(left[0], right[0])
    assert left[0].std() > 10  # not an empty picture
    assert np.abs(frames[0].astype(int) - decoded_frames[0]).mean() < 8  # lossy, but the same


def test_without_ffmpeg_only_a_gif_is_written_and_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.warns(UserWarning, match=r"pip install 'metarl-robotics\[video\]'"):
        paths = record(tiny_policy("navigation"), navigation_task(), tmp_path, gif=False, **SMALL)
    assert [path.suffix for path in paths] == [".gif", ".json"]


@pytest.mark.parametrize("width", [96, 200, 320, 480, 640])
def test_frames_have_sizes_that_h264_takes(width):
    height = 3 * width // 4 // 8 * 8
    made = composer(width=width, height=height)
    worlds = np.zeros((height, width, 3), np.uint8)
    frame = made.frame([worlds, worlds], 1)
    assert frame.shape == (made.size[1], 2 * width, 3)
    assert made.size[0] % 16 == made.size[1] % 16 == 0
    assert frame.dtype == np.uint8


@pytest.mark.parametrize("size", [{"width": 100}, {"height": 8}])
def test_panel_sizes_that_do_not_fit_are_refused(size):
    with pytest.raises(InputError, match="must be a multiple of 8, at least 64"):
        composer(**size)


def test_captions_follow_the_episode():
    worlds = np.zeros((72, 96, 3), np.uint8)
    made = composer()
    assert not np.array_equal(made.frame([worlds, worlds], 0), made.frame([worlds, worlds], 2))
    ended = replace(made.sides[0], length=1, ending="terminated")
    after_end = composer(sides=(ended, made.sides[1]))
    # Once a world has ended its half of the picture stays; time and chart go on.
    halves = [after_end.frame([worlds, worlds], step)[9:110, :95] for step in (1, 2)]
    assert np.array_equal(*halves)


def test_long_captions_shrink_instead_of_running_over():
    worlds = np.zeros((360, 480, 3), np.uint8)
    long = composer(width=480, height=360, stages=(Stage(0, "mass_scale = 0.123, " * 8),))
    short = composer(width=480, height=360, stages=(Stage(0, ""),))
    right = np.s_[:48, 745:]
    frames = [made.frame([worlds, worlds], 0)[right] for made in (long, short)]
    assert np.array_equal(*frames)


@pytest.mark.render
def test_a_film_is_taken_by_the_camera_that_was_asked_for(tmp_path):
    saved = tiny_policy("half-cheetah-direction", horizon=3)
    task = get_family("half-cheetah-direction").make_task({"direction": 1})
    small = {**SMALL, "gif": False}
    paths = [
        record(saved, task, tmp_path / str(i), camera=camera, **small)[0]
        for i, camera in enumerate((None, Camera(), Camera(azimuth_deg=0)))
    ]
    own, same, turned = (decoded(path)[1] for path in paths)
    assert np.array_equal(own, same)
    assert not np.array_equal(own, turned)


def test_a_wrong_camera_is_refused_before_any_episode(tmp_path, monkeypatch):
    def adapt(*args, **kwargs):
        raise AssertionError("adapted before the camera was checked")

    monkeypatch.setattr("metarl.video.film.adapt_to_task", adapt)
    task = get_family("half-cheetah-direction").make_task({"direction": 1})
    with pytest.raises(InputError, match="did you mean torso"):
        record(tiny_policy("half-cheetah-direction"), task, tmp_path, camera=Camera(body="torsos"))


@pytest.mark.parametrize(
    ("text", "camera"),
    [
        ("side", Camera(name="side")),
        ("name=fixed", Camera(name="fixed")),
        ("fixed", Camera(elevation_deg=-30.0, fixed=True)),
        ("azimuth=45,distance=3", Camera(3.0, -30.0, azimuth_deg=45.0)),
        ("elevation=-5,height=1,body=foot", Camera(None, -5.0, 1.0, body="foot")),
    ],
)
def test_cameras_are_typed_as_a_name_or_as_settings(text, camera):
    assert parse_camera(text, Camera(elevation_deg=-30.0)) == camera


@pytest.mark.parametrize("text", ["azimuth=left", "side,fixed", "roll=3", "distance=", ""])
def test_cameras_of_another_form_are_refused(text):
    with pytest.raises(InputError, match="--camera"):
        parse_camera(text, Camera())


def test_camera_is_public():
    assert metarl.Camera is Camera


@pytest.mark.parametrize(("worlds", "size"), [(1, (1280, 720)), (2, (1280, 720)), (3, (1248, 720))])
@pytest.mark.parametrize("beliefs", [False, True])
def test_films_in_high_definition_have_720_rows(worlds, size, beliefs):
    side = composer().sides[0]
    side = replace(side, belief=np.zeros((3, 2))) if beliefs else side
    width = 1280 // max(2, worlds) // 16 * 16
    fitted = composer(width=width, height=360, sides=(side,) * worlds).fitted(720)
    assert fitted.size == size
    pictures = [np.zeros((fitted.height, fitted.column, 3), np.uint8)] * worlds
    assert fitted.frame(pictures, 0).shape == (size[1], size[0], 3)


def test_a_film_in_high_definition_is_written(tmp_path):
    saved = tiny_policy("navigation", horizon=3)
    path = record(saved, navigation_task(), tmp_path, gif=False, hd=True, episodes=2)[0]
    meta, frames = decoded(path)
    assert meta["size"] == (1280, 720) and len(frames) == 1 + 3 + 10


def test_the_legend_has_a_square_of_each_colour_in_the_first_picture():
    film = composer(width=240, height=120)
    pictures = [np.full((120, 240, 3), 99, np.uint8)] * 2
    legend = (("no force", (230, 68, 28)), ("wind 3 m/s", (110, 225, 245)))
    plain, shown = film.frame(pictures, 0), film.frame(pictures, 0, legend)
    for _, colour in legend:
        rows, columns = (shown == colour).all(axis=2).nonzero()
        assert len(rows) > 20 and columns.max() < 60
        assert not (plain == colour).all(axis=2).any()
    assert np.array_equal(plain[:, 240:], shown[:, 240:])
