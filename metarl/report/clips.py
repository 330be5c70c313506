"""Before/after videos for the page: a few tasks, the same for every method, one seed of each."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarl.evaluation.labels import task_text
from metarl.report.measured_run import Sizes
from metarl.report.studies import Group, Study, held_out
from metarl_envs import InputError

SIZE = (320, 240)
"""Pixels of one world; a film is twice as wide, and all of them go into one page."""
PAGE_BYTES = 9_000_000
"""Of all films inside a page, so that with a third more for their encoding as text, figures and
tables a page stays below 15 MB."""


class Film(NamedTuple):
    """A video with its caption."""

    path: Path
    words: str
    rank: int = 0
    """Of the task that it shows among those chosen."""

    @property
    def data_url(self) -> str:
        """The whole file as a URL."""
        kind = "video/mp4" if self.path.suffix == ".mp4" else "image/gif"
        return f"data:{kind};base64,{base64.b64encode(self.path.read_bytes()).decode()}"


def film_methods(study: Study, folder: Path, count: int, sizes: Sizes) -> list[Film]:
    """Film every method that adapts, by its median seed, on the same tasks.

    The method that the page speaks of first comes first.

    Returns:
        Videos (mp4, or GIF without the `video` extra); none, with a warning, where this machine
        cannot render.
    """
    chosen = choose_tasks(study, count)
    if not chosen:
        return []
    try:
        # Films of policies with a memory are other ones: they have no "before" and "after".
        filmed = [group for group in study.adapting if not group.remembers]
        groups = sorted(filmed, key=lambda group: group is not study.lead)
        return [film for group in groups for film in _films(group, folder, chosen, sizes)]
    except InputError as error:
        warnings.warn(f"no videos: {error}", stacklevel=2)
        return []


def choose_tasks(study: Study, count: int) -> list[int]:
    """The task with the median gain, and others up to the one with the largest.

    By the mean gain over methods, on the split that the page speaks of first.
    """
    pooled = [
        next(r for r in group.pooled() if r.split == study.held_out) for group in study.adapting
    ]
    if not pooled or count == 0:
        return []
    gains = np.nan_to_num(np.mean([result.gains[-1] for result in pooled], axis=0), nan=-np.inf)
    distinct = pooled[0].groups[1] if pooled[0].repeated else range(len(gains))
    ordered = sorted(distinct, key=gains.__getitem__)
    if len(ordered) <= count:
        return [int(index) for index in ordered]
    ranks = np.linspace(len(ordered) // 2, len(ordered) - 1, count).round().astype(int)
    return [int(ordered[rank]) for rank in dict.fromkeys(ranks.tolist())]


def _films(group: Group, folder: Path, chosen: list[int], sizes: Sizes) -> list[Film]:
    from metarl.video import record

    subject = group.representative
    result = held_out(subject)
    tasks, (steps, _) = result.tasks[chosen], subject.evaluation.schedule[-1]
    paths = record(
        subject.saved,
        tasks,
        folder / group.slug,
        steps=steps or None,
        episodes=sizes.episodes,
        seed=sizes.seed,
        source=result.split,
        width=SIZE[0],
        height=SIZE[1],
        gif=False,
        sim_threads=sizes.sim_threads,
    )
    videos = [path for path in paths if path.suffix in (".mp4", ".gif")]
    seed = f", seed {subject.saved.config.seed}" if len(group.subjects) > 1 else ""
    shown = "before, after" if steps else "first, second episode of a trial"
    return [
        Film(path, f"{group.label}{seed}, {task_text(subject.family, tasks, i)}: {shown}", i)
        for i, path in enumerate(videos)
    ]


def fitting(films: Sequence[Film], limit: int = PAGE_BYTES) -> list[Film]:
    """The films that a page has room for: every method's first task before any second one."""
    kept, used = [], 0
    for film in sorted(films, key=lambda film: film.rank):
        used += film.path.stat().st_size
        if used > limit:
            break
        kept.append(film)
    return [film for film in films if film in kept]
