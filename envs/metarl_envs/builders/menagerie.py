"""Robots of MuJoCo Menagerie by name: the optional package mujoco-menagerie (the extra `robots`).

The package holds names, licences and checksums. A model, meshes included, is downloaded at first
use into a folder of the user's, and from then on read there.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from metarl_envs.errors import InputError, unknown_name

PREFIX = "menagerie:"
"""Beginning of a model's name in MuJoCo Menagerie, where a path to an MJCF file could stand."""


def menagerie_name(reference: str | Path) -> str | None:
    """NAME of "menagerie:NAME" and of "menagerie:NAME/ENTRY"; None for a path."""
    text = str(reference)
    return text.removeprefix(PREFIX).partition("/")[0] if text.startswith(PREFIX) else None


def menagerie_file(reference: str | Path) -> Path:
    """The MJCF file of "menagerie:NAME" or "menagerie:NAME/ENTRY", downloaded at first use.

    Without an entry it is the robot's scene with floor and lights, where it has one. Entries are
    the other files of the robot that are complete, such as "go2" without a floor, or "scene_mjx"
    with fewer collisions, which is several times faster.

    Raises:
        InputError: without the package, for an unknown robot or entry, or if the download fails.
    """
    reference = str(reference)
    package = _package()
    name, _, entry = reference.removeprefix(PREFIX).partition("/")
    if name not in package.names():
        raise unknown_name("robot of MuJoCo Menagerie", name, package.names())
    robot = package.get(name)
    if entry and entry not in robot.entry_names:
        raise unknown_name(f"entry of {PREFIX}{name}", entry, robot.entry_names)
    try:
        return robot.xml(entry or None)
    except package.DownloadError as error:
        raise InputError(
            f"model {reference}: cannot be downloaded ({_line(error)}); connect to the Internet "
            f"once, which keeps it in {package.Cache().dir}, or set MENAGERIE_ROOT to a checkout "
            "of https://github.com/google-deepmind/mujoco_menagerie"
        ) from None
    except package.MenagerieError as error:  # no such robot in MENAGERIE_ROOT, no lzma in Python
        raise InputError(f"model {reference}: {_line(error)}{_root()}") from None
    except OSError as error:
        raise InputError(
            f"model {reference}: cannot be kept in {package.Cache().dir} ({_line(error)}); set "
            "MENAGERIE_CACHE_DIR to a folder that can be written to"
        ) from None


def _package() -> Any:  # noqa: ANN401 - an optional package without stubs
    try:
        return importlib.import_module("mujoco_menagerie")
    except ModuleNotFoundError:
        raise InputError(
            f"models called {PREFIX}NAME come from the package mujoco-menagerie, which is not "
            "installed; pip install 'metarl-robotics[robots]', or give the path of an MJCF file"
        ) from None


def _root() -> str:
    """The way out that there is where MENAGERIE_ROOT is set; "" where it is not."""
    return "; unset MENAGERIE_ROOT to download it" if os.environ.get("MENAGERIE_ROOT") else ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
