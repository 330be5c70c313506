"""Cameras as they are typed: `--camera side`, `--camera azimuth=45,distance=3,fixed`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl_envs import Camera

SETTINGS = {
    "distance": "distance_m",
    "elevation": "elevation_deg",
    "height": "height_m",
    "azimuth": "azimuth_deg",
}
"""Setting on the command line -> field of `Camera`, in metres or degrees."""


def parse_camera(text: str, default: Camera) -> Camera:
    """A camera from text: the name of a camera of the model, or settings separated by commas.

    Args:
        text: such as "side", or "azimuth=45,distance=3,body=torso,fixed".
        default: the robot's camera, for settings left out.

    Raises:
        InputError: for text of another form, or a value that `Camera` refuses.
    """
    from metarl_envs import Camera, InputError

    if text and text != "fixed" and "=" not in text and "," not in text:
        return Camera(name=text)
    settings: dict[str, Any] = {"name": ""}
    for part in text.split(","):
        key, separator, written = part.partition("=")
        if part == "fixed":
            settings["fixed"] = True
        elif separator and key in ("body", "name"):
            settings[key] = written
        elif separator and key in SETTINGS:
            try:
                settings[SETTINGS[key]] = float(written)
            except ValueError:
                raise InputError(f"--camera {text}: {part}: expected a number") from None
        else:
            raise InputError(
                f"--camera {text}: '{part}' is not a setting; give the name of a camera of the "
                f"model, or any of {'=, '.join(SETTINGS)}= (metres, degrees), body=NAME and "
                "fixed, separated by commas"
            )
    return Camera(name=settings["name"]) if settings["name"] else replace(default, **settings)
