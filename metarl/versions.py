"""Versions of the packages that a result depends on, without importing them."""

from __future__ import annotations

import functools
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__version__ = "0.1.0"
DISTRIBUTIONS = ("torch", "mujoco", "gymnasium", "numpy")
EXTRAS = {
    "matplotlib": "plot",
    "imageio-ffmpeg": "video",
    "stable-baselines3": "sb3",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "mujoco-menagerie": "robots",
    "metaworld": "metaworld",
    "gymnasium-robotics": "robotics",
    "mujoco-warp": "gpu",
}
"""Distribution -> the extra of metarl-robotics that installs it."""


def install_command(distribution: str) -> str:
    """The command that installs a distribution that metarl uses."""
    if distribution == "wandb":  # in no extra
        return "pip install wandb"
    extra = f"[{EXTRAS[distribution]}]" if distribution in EXTRAS else ""
    return f"pip install 'metarl-robotics{extra}'"


def version_of(distribution: str) -> str:
    """The installed version, or "not installed"."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


@functools.cache
def versions() -> dict[str, str]:
    """Versions of metarl and of the packages that a run's numbers depend on, by name."""
    return {"metarl": __version__} | {name: version_of(name) for name in DISTRIBUTIONS}


@functools.cache
def git_commit() -> str:
    """The commit of metarl's own checkout, with "-dirty" for local changes; "" for a wheel."""
    root = Path(__file__).resolve().parents[1]
    # A wheel inside somebody else's repository must not report that repository's commit.
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
