"""Figures as files, and as SVG that takes the colours of the page around it."""

from __future__ import annotations

import html
import io
import re
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
    # Text stays text, to be searched and read aloud; equal figures are equal files.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "metarl"}):
        picture.figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def inline(picture: Picture) -> str:
    """The figure as an `<svg>` element: its own ids, the page's colours, as wide as there is room.

    Names inside get the picture's name as prefix, since all figures of a page share one namespace.
    """
    body = svg(picture)
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{picture.name}-', body)
    body = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{picture.name}-", body)
    for colour, shown in THEMED.items():
        body = body.replace(colour, shown)
    opening = body[: body.index(">") + 1]
    box = re.search(r'viewBox="[^"]*"', opening)
    assert box is not None  # matplotlib always writes one
    label = html.escape(picture.alt, quote=True)
    return (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" role="img" aria-label="{label}" '
        f"{box[0]}>{body[len(opening) :]}"
    )
