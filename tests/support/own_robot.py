"""The robot of experiments/own_robot as the file of somebody who wrote it."""

from __future__ import annotations

import shutil
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "experiments" / "own_robot"


def write_robot(folder: Path, *changes: tuple[str, str], model: tuple[str, str] = ("", "")) -> Path:
    """Copy the robot's two files into `folder`, with texts replaced; the Python file."""
    shutil.copy(SOURCE / "arm.xml", folder)
    if model[0]:
        text = (folder / "arm.xml").read_text()
        assert model[0] in text
        (folder / "arm.xml").write_text(text.replace(*model))
    text = (SOURCE / "arm.py").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "arm.py").write_text(text)
    return folder / "arm.py"
