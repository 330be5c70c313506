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
"""What is typed, and the field of `Camera` that it sets: metres and degrees."""


def parse_camera(text: str, own: Camera) -> Camera:
    """The camera of a text: a name of one of the model's, or settings separated by commas.

    Args:
        text: such as "side", or "azimuth=45,distance=3,body=torso,fixed".
        own: the robot's camera, which settings that are not given come from.

    Raises:
        InputError: for a text of another form, or a value that a camera refuses.
    """
    from metarl_envs import Camera, InputError

    if text and text != "fixed" and "=" not in text and "," not in text:
        return Camera(name=text)
    given: dict[str, Any] = {"name": ""}
    for part in text.split(","):
        key, separator, written = part.partition("=")
        if part == "fixed":
            given["fixed"] = True
        elif separator and key in ("body", "name"):
            given[key] = written
        elif separator and key in SETTINGS:
            try:
                given[SETTINGS[key]] = float(written)
            except ValueError:
                raise InputError(f"--camera {text}: {part}: expected a number") from None
        else:
            raise InputError(
                f"--camera {text}: '{part}' is no setting; give the name of one of the model's "
                f"cameras, or any of {'=, '.join(SETTINGS)}= (metres, degrees), body=NAME and "
                "fixed, separated by commas"
            )
    return Camera(name=given["name"]) if given["name"] else replace(own, **given)
