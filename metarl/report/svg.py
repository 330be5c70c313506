"""Figures as files, and as SVG that takes the colours of the page around it."""

from __future__ import annotations

import html
import io
from pathlib import Path

import matplotlib as mpl

from metarl.report.style import FAINT, INK, Picture
from metarl.runs.files import replace_file

DPI = 150
THEMED = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    "#0072b2": "var(--blue)",
    "#009e73": "var(--green)",
}
"""Colours that the page chooses by its background, as matplotlib writes them."""


def write_picture(picture: Picture, folder: Path) -> list[Path]:
    """NAME.png, on white, and NAME.svg."""
    png = io.BytesIO()
    picture.figure.savefig(png, format="png", dpi=DPI, facecolor="white")
    paths = [folder / f"{picture.name}.png", folder / f"{picture.name}.svg"]
    for path, content in zip(paths, (png.getvalue(), svg(picture).encode()), strict=True):
        replace_file(path, content)
    return paths


def svg(picture: Picture) -> str:
    """The figure as an SVG document."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    # Text stays text, to be searched and read aloud; equal figures are equal files.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "metarl"}):
        picture.figure.savefig(text, format="svg", metadata=nothing)
    return text.getvalue()


def inline(picture: Picture) -> str:
    """The figure as an `<svg>` element in the page's colours.

    Its ids begin with the picture's name, since all figures of a page share one namespace.
    """
    body = svg(picture)
    body = body[body.index("<svg") :]
    for reference in (' id="', ' xlink:href="#', "url(#"):
        body = body.replace(reference, f"{reference}{picture.name}-")
    for colour, shown in THEMED.items():
        body = body.replace(colour, shown)
    label = f'role="img" aria-label="{html.escape(picture.alt)}"'
    return body.replace("<svg", f"<svg {label}", 1)
