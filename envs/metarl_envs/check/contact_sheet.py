"""A contact sheet of a family: what the lowest and highest value of each parameter look like."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Generator

from metarl_envs.batch_env import BatchEnv, Start
from metarl_envs.check.extremes import Extremes, extremes
from metarl_envs.check.motion import swing
from metarl_envs.family import TaskFamily
from metarl_envs.rendering.renderer import make_renderer
from metarl_envs.tasks import Tasks

WIDTH, HEIGHT = 240, 180  # of one picture, pixels
TITLE = 34  # above it, two lines
SECONDS = 1.0
"""Time that the robot moves before its picture is taken."""
MAX_ROWS = 24


def contact_sheet(family: TaskFamily) -> Image.Image:
    """One row per number that varies (the first 24): lowest, nominal and highest value.

    All robots start alike and swing their actuators alike for a second, beyond their episode's end
    if it comes earlier; so what differs is the parameter's doing. Returns are up to that end.

    Raises:
        InputError: if no OpenGL library can be used.
    """
    rows = extremes(family)[:MAX_ROWS]
    nominal = family.nominal_tasks()
    tasks = Tasks.concatenate([t for row in rows for t in (row.low, nominal, row.high)])
    env = BatchEnv(family, len(tasks), 1)
    env.set_tasks(tasks)
    start = env.draw_start(1, Generator().manual_seed(0))
    env.start(Start.concatenate([start] * len(tasks)))
    alive, returns = torch.ones(len(tasks), dtype=torch.bool), torch.zeros(len(tasks))
    ended_s = torch.zeros(len(tasks))
    for t in range(min(family.horizon, max(1, round(SECONDS / family.dt_s)))):
        step = env.step(swing(family, t).expand(len(tasks), -1))
        returns += torch.where(alive, step.rewards, 0.0)
        ended_s += alive * family.dt_s
        alive = alive & ~(step.terminated | step.diverged)
    sheet = Image.new("RGB", (3 * WIDTH, len(rows) * (HEIGHT + TITLE)), (250, 250, 248))
    draw = ImageDraw.Draw(sheet)
    renderer = make_renderer(family, WIDTH, HEIGHT)
    try:
        for world in range(len(tasks)):
            left, top = world % 3 * WIDTH, world // 3 * (HEIGHT + TITLE)
            frame = renderer.frame(env.engine, world, tasks.describe(world))
            sheet.paste(Image.fromarray(np.asarray(frame)), (left, top + TITLE))
            said = _said(rows[world // 3], world % 3, tasks[world])
            end = "" if alive[world] else f", ended after {float(ended_s[world]):.2g} s"
            draw.text((left + 6, top + 3), said, fill=(30, 30, 30), font_size=12)
            amount = f"return {float(returns[world]):.3g}{end}"
            draw.text((left + 6, top + 18), amount, fill=(110, 110, 110), font_size=11)
    finally:
        renderer.close()
    return sheet


def _said(row: Extremes, column: int, task: Tasks) -> str:
    unit = "" if row.parameter.unit in ("1", "as observed") else f" {row.parameter.unit}"
    which = ("lowest", "nominal", "highest")[column]
    return f"{row.label} = {row.value(task):.3g}{unit} ({which})"
