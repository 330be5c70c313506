"""All that is written and drawn around the pictures of a film, from the episode that it shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metarl.evaluation.labels import quantity_label, task_text
from metarl.video.belief import principal_components
from metarl.video.charts import COLOURS
from metarl.video.encode import Pace
from metarl.video.episode import Episode
from metarl.video.panels import Composer, Side, Stage
from metarl.video.shots import Shot
from metarl_envs import TaskFamily, Tasks

TRACE_S = 0.25
"""Time over which charts of the physical quantity and of beliefs are smoothed, since both swing
with the gait: each point is the mean of the moments before it."""


def composer_of(shot: Shot, episode: Episode, pace: Pace, size: tuple[int, int]) -> Composer:
    """The composer of a shot's frames.

    Args:
        shot: what is filmed.
        episode: as it turned out.
        pace: of the film.
        size: (width, height) of a world's picture, pixels.
    """
    family, stages = shot.family, _stages(shot)
    dt_s, (quantity, unit) = family.dt_s, quantity_label(family.quantity)
    means = episode.means([stage.start for stage in stages])
    ways = np.concatenate([0 * means[:, :1], episode.quantity.cumsum(axis=1) * dt_s], axis=1)
    window = max(1, round(TRACE_S / dt_s))
    traces = trailing_means(episode.quantity[:, [0, *range(episode.quantity.shape[1])]], window)
    components = principal_components(trailing_means(episode.beliefs, window), episode.lengths)
    sides = tuple(
        Side(
            *shot.titles[i],
            COLOURS[i],
            returns=episode.returns[i],
            quantity=means[i],
            way=ways[i],
            trace=traces[i],
            length=episode.lengths[i],
            ending=episode.endings[i],
            belief=components[i] if components.shape[2] else None,
        )
        for i in range(len(shot.titles))
    )
    return Composer(
        *size,
        family=family.name,
        stages=stages,
        meaning=family.parameters[0].description if len(family.parameters) == 1 else "",
        pace=pace.text,
        quantity=quantity,
        unit=unit,
        dt_s=dt_s,
        sides=sides,
        charted=shot.charted,
    )


def _stages(shot: Shot) -> tuple[Stage, ...]:
    """The parts of the episode with one task each."""
    family, stages, before = shot.family, [], shot.script.task
    for start, task in {0: shot.script.task, **shot.script.changes}.items():
        text, target = whole_text(family, task), target_of(family, task)
        stages.append(Stage(start, text, change_text(family, before, task), target))
        before = task
    return tuple(stages)


def whole_text(family: TaskFamily, task: Tasks) -> str:
    """All parameters of a task, first those that are not nominal: a line too long loses its end."""
    nominal = family.nominal_tasks()
    usual = [name for name, value in task.values.items() if value.equal(nominal.values[name])]
    unusual = [name for name in task.values if name not in usual]
    texts = [task_text(family, task, 0, only=names) for names in (unusual, usual) if names]
    return ", ".join(texts)


def change_text(family: TaskFamily, before: Tasks, after: Tasks) -> str:
    """The parameters that differ, with both values: "velocity = 1 m/s -> -1 m/s"."""
    old, new = before.describe(0), after.describe(0)
    texts = []
    for name in (name for name in old if old[name] != new[name]):
        was, becomes = (task_text(family, task, 0, only=(name,)) for task in (before, after))
        texts.append(f"{was} -> {becomes.partition(' = ')[2]}")
    return ", ".join(texts)


def target_of(family: TaskFamily, task: Tasks) -> float | None:
    """The value that the task asks of the family's physical quantity; None: it names none.

    It is the goal of one number with the quantity's unit whose name ends the quantity's:
    "velocity" is the target of "forward velocity"; of "puck to mark", a distance, "mark" is none.
    """
    words, unit = quantity_label(family.quantity)
    if " to " in words:
        return None
    for parameter in family.parameters:
        name = parameter.name.replace("_", " ")
        goal = parameter.effect is None and parameter.shape == () and parameter.unit == unit
        if goal and f" {words}".endswith(f" {name}"):
            return float(task.values[parameter.name])
    return None


def trailing_means(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Means of the last `window` values, fewer at the start: (n, T, ...) -> (n, T, ...)."""
    totals = np.concatenate([0 * values[:, :1], values.cumsum(axis=1)], axis=1)
    stop = np.arange(1, totals.shape[1])
    start = (stop - window).clip(0)
    counts = (stop - start).reshape(1, -1, *[1] * (values.ndim - 2))
    return (totals[:, stop] - totals[:, start]) / counts
