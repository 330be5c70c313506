"""Encoding: H.264 files through the optional ffmpeg, animated GIFs through Pillow."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metarl.runs.files import replace_file
from metarl_envs import InputError

Frame = NDArray[np.uint8]  # (H, W, 3)

MIN_FPS, MAX_FPS = 10.0, 32.0
SHORTEST_S = 3.0
GIF_WIDTH = 640
GIF_SIZES = ((8, 10.0), (7, 10.0), (6, 10.0), (6, 7.0), (5, 7.0), (4, 5.0), (3, 4.0))
"""(eighths of the width, frames per second), tried in order until the file is small enough."""
GIF_MAX_BYTES = 1_500_000


def ffmpeg_is_missing() -> str:
    """The reason why only GIFs can be written, with the fix; empty where mp4 can be written too."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # not installed; no binary for this platform
        return "no mp4 without imageio-ffmpeg, GIF only: pip install 'metarl-robotics[video]'"
    return ""


@dataclass(frozen=True)
class Pace:
    """Pace of a video in simulated time. No frame repeats."""

    fps: float
    stride: int
    """Control steps from one frame to the next."""
    speed: float
    """Simulated seconds per second of video."""

    @property
    def text(self) -> str:
        """For captions."""
        return {1.0: "real time", 0.5: "half speed"}.get(self.speed, f"{self.speed:g} x real time")


def choose_pace(dt_s: float, steps: int) -> Pace:
    """Real time; half speed for short episodes; at least `MIN_FPS` where steps are long."""
    speed = 0.5 if dt_s * steps < SHORTEST_S else 1.0
    speed = max(speed, MIN_FPS * dt_s)  # slower, it is a slide show
    stride = math.ceil(speed / dt_s / MAX_FPS)
    return Pace(speed / (dt_s * stride), stride, speed)


class Mp4Writer:
    """Streams frames into an H.264 file that appears under its name only when it is whole."""

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        """Starts the encoder.

        Raises:
            InputError: for sizes that are no multiple of 16, which the encoder would resize, or
                without the `video` extra.
        """
        if reason := ffmpeg_is_missing():
            raise InputError(reason)
        for name, size in (("width", width), ("height", height)):
            if size % 16:
                raise InputError(f"video {name} = {size} pixels: must be a multiple of 16")
        import imageio_ffmpeg

        self.path, self._temporary = path, path.with_name(f"{path.stem}.tmp{path.suffix}")
        options: dict[str, Any] = {
            "fps": fps,
            "codec": "libx264",
            "quality": None,  # set by -crf
            "pix_fmt_in": "rgb24",
            "pix_fmt_out": "yuv420p",  # all that browsers and phones decode
            "output_params": ["-crf", "23", "-preset", "medium", "-movflags", "+faststart"],
            "ffmpeg_log_level": "error",
        }
        size = (width, height)
        self._encoder = imageio_ffmpeg.write_frames(str(self._temporary), size, **options)
        self._encoder.send(None)

    def add(self, frame: Frame) -> None:
        """Append one frame."""
        self._encoder.send(np.ascontiguousarray(frame))

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self._encoder.close()
        if error is None:
            self._temporary.replace(self.path)
        else:
            self._temporary.unlink(missing_ok=True)


class GifWriter:
    """Keeps every n-th frame, shrunk, and writes them as one animated GIF on leaving."""

    def __init__(self, path: Path, fps: float, max_bytes: int = GIF_MAX_BYTES) -> None:
        """`fps` is the rate at which frames are added."""
        self.path, self._fps, self._max_bytes = path, fps, max_bytes
        self._frames: list[Image.Image] = []

    def add(self, frame: Frame) -> None:
        """Append one frame."""
        picture = Image.fromarray(frame)
        self._frames.append(shrunk(picture, min(1.0, GIF_WIDTH / picture.width)))

    def __enter__(self) -> GifWriter:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None or not self._frames:
            return
        content = b""
        for eighths, fps in GIF_SIZES:  # the first size that fits, or the smallest
            stride = max(1, round(self._fps / fps))
            frames = [shrunk(frame, eighths / 8) for frame in self._frames[::stride]]
            content = encode_gif(frames, stride / self._fps)
            if len(content) <= self._max_bytes:
                break
        replace_file(self.path, content)


def shrunk(picture: Image.Image, share: float) -> Image.Image:
    """The picture at `share` of its width and height."""
    if share == 1:
        return picture
    size = (round(picture.width * share), round(picture.height * share))
    return picture.resize(size, Image.Resampling.LANCZOS)


def encode_gif(frames: list[Image.Image], frame_s: float) -> bytes:
    """An endless animated GIF with one palette for all frames, the last one held for a second."""
    width, height = frames[0].size
    samples = frames[:: max(1, len(frames) // 6)]
    strip = Image.new("RGB", (width, height * len(samples)))
    for row, sample in enumerate(samples):
        strip.paste(sample, (0, row * height))
    palette = strip.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    # Without dithering equal areas stay equal, which is what GIF compresses.
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [10 * round(100 * frame_s)] * len(frames)  # GIF counts hundredths of a second
    durations[-1] = 1000
    buffer = io.BytesIO()
    indexed[0].save(
        buffer, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0
    )
    return buffer.getvalue()


@contextmanager
def video_writers(
    stem: Path, width: int, height: int, fps: float, *, gif: bool
) -> Iterator[list[Mp4Writer | GifWriter]]:
    """The writers for `stem`.mp4 and `stem`.gif; the GIF always where mp4 cannot be written."""
    with ExitStack() as stack:
        writers: list[Mp4Writer | GifWriter] = []
        if not ffmpeg_is_missing():
            path = stem.with_name(f"{stem.name}.mp4")
            writers.append(stack.enter_context(Mp4Writer(path, width, height, fps)))
        if gif or not writers:
            path = stem.with_name(f"{stem.name}.gif")
            writers.append(stack.enter_context(GifWriter(path, fps)))
        yield writers
