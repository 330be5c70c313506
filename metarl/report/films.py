"""Before-and-after videos of a few of a run's tasks."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from metarl.captions import task_text
from metarl.report.subject import Sizes, Subject
from metarl_envs import InputError


def film_tasks(subject: Subject, folder: Path, count: int, sizes: Sizes) -> list[tuple[Path, str]]:
    """Film the task with the median gain, and others up to the one with the largest.

    Returns:
        Videos (mp4, or GIF without the `video` extra) with what they show; none, with a warning,
        where this machine cannot render.
    """
    by_split = {result.split: result for result in subject.evaluation.splits}
    result = by_split.get("test") or by_split["train"]
    groups = result.groups[1]
    gains = np.nan_to_num(result.gains[-1], nan=-np.inf)
    ordered = sorted(
        groups if len(groups) < len(gains) else range(len(gains)), key=gains.__getitem__
    )
    ranks = np.linspace(len(ordered) // 2, len(ordered) - 1, count).round().astype(int)
    if len(ordered) <= count:
        ranks = np.arange(len(ordered))
    chosen = [int(ordered[rank]) for rank in dict.fromkeys(ranks.tolist())]
    if not chosen:
        return []
    tasks = result.tasks[chosen]
    from metarl.recording import record

    try:
        paths = record(
            subject.saved,
            tasks,
            folder / subject.slug,
            steps=subject.evaluation.schedule[-1][0],
            episodes=sizes.episodes,
            seed=sizes.seed,
            source=result.split,
            sim_threads=sizes.sim_threads,
        )
    except InputError as error:
        warnings.warn(f"no videos: {error}", stacklevel=2)
        return []
    best = {}
    for path in paths:
        if path.suffix in (".mp4", ".gif"):
            best.setdefault(path.stem, path)
            if path.suffix == ".mp4":
                best[path.stem] = path
    return [
        (path, f"{subject.label}, {task_text(subject.family, tasks, index)}: before, after")
        for index, path in enumerate(best.values())
    ]
