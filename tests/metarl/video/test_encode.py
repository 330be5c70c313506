"""Encoders: pace, sizes and files of videos."""

import numpy as np
import pytest
from PIL import Image

from metarl.video.encode import GifWriter, Mp4Writer, choose_pace
from metarl_envs import InputError


@pytest.mark.parametrize(
    ("dt_s", "steps", "fps", "stride", "speed"),
    [
        (0.05, 100, 20.0, 1, 1.0),  # half-cheetah: 5 s in real time, every step a frame
        (0.008, 200, 31.25, 2, 0.5),  # walker: 1.6 s, so half speed; every other step
        (0.008, 1000, 31.25, 4, 1.0),  # 8 s in real time
        (1.0, 100, 10.0, 1, 10.0),  # the point: ten abstract steps per second
    ],
)
def test_pace(dt_s, steps, fps, stride, speed):
    pace = choose_pace(dt_s, steps)
    assert (pace.fps, pace.stride, pace.speed) == (pytest.approx(fps), stride, speed)


def test_gif_shrinks_until_it_is_small_enough(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (16, 96, 160, 3), dtype=np.uint8)

    def size(limit: int) -> tuple[int, int]:
        path = tmp_path / f"{limit}.gif"
        with GifWriter(path, 20.0, limit) as writer:
            for frame in noise:
                writer.add(frame)
        with Image.open(path) as gif:
            return gif.width, path.stat().st_size

    width, weight = size(10_000_000)
    assert width == 160
    for limit in (weight // 2, weight // 8):
        smaller, lighter = size(limit)
        assert smaller < width and lighter <= limit
    assert size(1)[0] == 60  # the smallest, whatever it weighs


def test_interrupted_video_leaves_no_file(tmp_path):
    frame = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(KeyboardInterrupt), Mp4Writer(tmp_path / "x.mp4", 32, 32, 10.0) as writer:
        writer.add(frame)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_video_sizes_that_the_encoder_would_change_are_refused(tmp_path):
    with pytest.raises(InputError, match="height = 30 pixels: must be a multiple of 16"):
        Mp4Writer(tmp_path / "x.mp4", 32, 30, 10.0)
