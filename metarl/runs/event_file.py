"""TensorBoard's event files, written in the caller's thread.

`SummaryWriter` writes in its own thread, where no caller can catch the error of a full disk.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import time
from pathlib import Path

from PIL import Image
from tensorboard.compat.proto.event_pb2 import (
    Event,  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.compat.proto.summary_pb2 import (
    Summary,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.summary.writer.record_writer import RecordWriter

VERSION = "brain.Event:2"
PREFIX = "events.out.tfevents."
_numbers = itertools.count()
"""Numbers of the files of this process, so that no two have the same name."""


class EventFile:
    """One file of events of a run."""

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        """Open a new file in a folder, which is made if missing.

        Args:
            folder: of the run's event files.
            purge_step: first step whose values in older files are void; None: none are.
        """
        folder.mkdir(parents=True, exist_ok=True)
        number = f"{next(_numbers):06d}"
        name = f"{_next_time(folder):010d}.{socket.gethostname()}.{os.getpid()}.{number}"
        self._file = (folder / f"{PREFIX}{name}").open("wb")
        self._records = RecordWriter(self._file)
        try:
            self._write(Event(wall_time=time.time(), file_version=VERSION))
            if purge_step is not None:
                start = SessionLog(status=SessionLog.START)
                self._write(Event(wall_time=time.time(), step=purge_step, session_log=start))
            self.flush()
        except OSError:
            self.give_up()
            raise

    def add(self, summary: Summary, step: int) -> None:
        """Write a summary made by torch's functions: a scalar, a text or a picture."""
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Hand buffered events to the system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def give_up(self) -> None:
        """Close a file that cannot be written, without an error."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())


def _next_time(folder: Path) -> int:
    """The time in seconds, later than in the names of all files: TensorBoard reads by names.

    A clock that was set back, or a run resumed within a second, would else put new events first.
    """
    times = (path.name.removeprefix(PREFIX)[:10] for path in folder.glob(f"{PREFIX}*"))
    newest = max((int(text) for text in times if text.isdecimal()), default=0)
    return max(int(time.time()), newest + 1)


def image_summary(tag: str, path: Path) -> Summary:
    """A PNG or an animated GIF for TensorBoard's Images tab.

    The encoded file is stored as it is: `SummaryWriter.add_video` writes nothing with moviepy 2
    (pytorch/pytorch#147317).
    """
    with Image.open(path) as picture:
        width, height = picture.size
    encoded = Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes()
    )
    return Summary(value=[Summary.Value(tag=tag, image=encoded)])
