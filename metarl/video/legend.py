"""The legend of a film: meanings of the colours that show hidden parameters."""

from __future__ import annotations

from PIL import ImageDraw

from metarl.video.charts import BACKGROUND, TEXT, Look
from metarl_envs.rendering.looks import Legend


def draw_legend(
    draw: ImageDraw.ImageDraw, legend: Legend, corner: tuple[int, int], look: Look
) -> None:
    """Draw a row with a square for each entry, from the upper left corner on; nothing if empty."""
    if not legend:
        return
    (left, top), px, font = corner, look.px, look.font(14)
    width = max(draw.textlength(words, font) for words, _ in legend) + px(36)
    ends = (left, top, left + width, top + px(8 + 20 * len(legend)))
    draw.rounded_rectangle(ends, px(6), BACKGROUND)
    for row, (words, colour) in enumerate(legend):
        middle = top + px(14 + 20 * row)
        square = (left + px(8), middle - px(6), left + px(20), middle + px(6))
        draw.rectangle(square, colour)
        draw.text((left + px(28), middle), words, TEXT, font, anchor="lm")
