"""Files of a run: its adaptation curve as CSV, JSON and PNG, its learning curve as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metarl.errors import RunError
from metarl.evaluation.comparison import Comparison
from metarl.evaluation.gap import Gap
from metarl.evaluation.labels import DOES_NOT_ADAPT, task_text
from metarl.evaluation.results import Evaluation, Point, SplitEvaluation
from metarl.report.line_labels import LineLabel, episode_axis, label_ends, thin_ticks
from metarl.runs.files import replace_file, write_csv, write_json
from metarl.runs.metrics_log import read_metrics
from metarl_envs import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axes._secondary_axes import SecondaryAxis
    from matplotlib.figure import Figure

# Okabe and Ito's palette (2008); markers and line styles say the same without colour.
STYLES = {
    "train": ("#0072B2", "o", "-"),
    "test": ("#D55E00", "s", "-"),
    "extrapolation": ("#009E73", "^", "--"),
}
TEXT = {"train": "#005687", "test": "#a04600", "extrapolation": "#007656"}
"""The same, dark enough to be read on white."""
BEFORE, AFTER, VALIDATION = "#E69F00", "#0072B2", "#D55E00"
GREY = "#5f6b7a"
ADAPTATION = ("after adaptation", "before adaptation")
TRIAL = ("last episode of a trial", "first episode")
"""Names of an iteration's last and first collection, without and with phases."""
LABELLED_TASKS = 2
LABEL_SIZE = 9
DPI = 150
SMOOTHED_SHARE = 0.05
"""Width of the learning curve's running mean, as a share of the run."""


def write_evaluation(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write evaluation.csv, evaluation.json and adaptation_curve.png into `folder`.

    Raises:
        InputError: without matplotlib; the CSV and JSON files are written all the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = evaluation.records()
    return [
        # A family's parameters are the same in every row, so the first row names all columns.
        write_csv(folder / "evaluation.csv", records[0], (row.values() for row in records)),
        write_json(folder / "evaluation.json", evaluation.summary()),
        adaptation_curve(evaluation, folder / "adaptation_curve.png"),
    ]


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write comparison.json into `folder`, with the gap where robust and oracle are there."""
    folder.mkdir(parents=True, exist_ok=True)
    gap = Gap.among(comparison)
    summary = comparison.summary() | {"gap": gap and gap.summary()}
    return write_json(folder / "comparison.json", summary)


def first_episodes(comparison: Comparison, folder: Path) -> list[Path]:
    """Draw the reward within the first episode by time, per split, as PNG and SVG into `folder`.

    Returns:
        The files; none where no policy adapts within an episode.

    Raises:
        InputError: without matplotlib.
    """
    if not any(method.remembers for method in comparison.methods):
        return []
    _figure()  # refuses where nothing can be drawn
    from metarl.report.style import method_styles
    from metarl.report.svg import write_picture
    from metarl.report.within_episode import within_episode

    styles = method_styles([(method.method, method.adapts) for method in comparison.methods])
    found = [within_episode(comparison, styles, split) for split in comparison.splits]
    return [path for picture in found if picture for path in write_picture(picture, folder)]


def adaptation_curve(evaluation: Evaluation, path: Path) -> Path:
    """Draw return against adaptation episodes, one line with its 95 % band per split, as a PNG.

    Dotted: the same tasks with another task's adapted parameters.

    Raises:
        InputError: without matplotlib.
    """
    figure, axes = _figure()
    labels = []
    for result in evaluation.splits:
        colour, marker, line = STYLES[result.split]
        points = evaluation.curve(result)
        episodes = [point.adaptation_episodes for point in points]
        means = [point.returns.estimate for point in points]
        low, high = (np.array([p.returns[side] for p in points]) for side in (1, 2))
        axes.fill_between(episodes, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(episodes, means, line, color=colour, marker=marker, lw=2, ms=7)
        name = f"{result.split}\n({_size(len(result.groups[1]), len(result.tasks))})"
        labels.append(LineLabel(means[-1], name, TEXT[result.split]))
        _draw_control(axes, points, colour)
        if result.repeated and len(result.groups[1]) <= LABELLED_TASKS:
            labels += _draw_tasks(axes, evaluation, result, episodes)
    axes.set_ylabel(f"return over {evaluation.horizon} steps, {evaluation.measured_by}")
    axes.set_title(evaluation.family.name, loc="left", fontweight="bold")
    axes.margins(x=0.04)
    episode_axis(axes, [episodes for _, episodes in evaluation.schedule])
    above = _mark_steps(axes, evaluation)
    note = f"bands: {evaluation.intervals}"
    if not evaluation.family.holds_out:
        note += "; nothing held out"
    if any(result.controls for result in evaluation.splits):
        carried = "belief" if evaluation.remembers else "adaptation"
        note += f"\ndotted: with another task's {carried}"
    if not evaluation.adapts:
        note += f"\nthe policy {DOES_NOT_ADAPT}: it is measured once"
    _footnote(axes, note)
    label_ends(axes, [label for label in labels if np.isfinite(label.height)], LABEL_SIZE)
    for axis in (axes.xaxis, above and above.xaxis):
        if axis:
            thin_ticks(axis)
    return _save(figure, path)


def learning_curve(run: Path, path: Path, phases: Sequence[str] = ()) -> Path:
    """Draw return before and after adaptation against environment steps, as a PNG.

    From metrics.jsonl; where training was evaluated, also the return on the validation tasks, and
    that with another task's adaptation.

    Args:
        run: a run folder.
        path: of the picture.
        phases: name of each iteration's phase, of a training of several; its collections are
            then a trial's episodes.

    Raises:
        RunError: if the run has no finished iteration.
        InputError: without matplotlib.
    """
    metrics = read_metrics(run)
    if not metrics:
        raise RunError(f"{run}: no finished iteration in metrics.jsonl, so nothing to draw")
    figure, axes = _figure()
    steps = column(metrics, "rollout/env_steps")
    unit, scale = ("million", 1e6) if steps[-1] >= 1e6 else ("thousand", 1e3)
    parts = parts_of(phases[: len(metrics)] or [""] * len(metrics))
    in_trials = any(name for name, _ in parts)
    after, before = TRIAL if in_trials else ADAPTATION
    labels = []
    for key, label, colour in (
        ("rollout/return_post", after, AFTER),
        ("rollout/return_pre", before, BEFORE),
    ):
        values = column(metrics, key)
        for _, part in parts:
            own, smoothed = steps[part] / scale, smooth(values[part])
            axes.plot(own, values[part], color=colour, linewidth=0.8, alpha=0.35)
            axes.plot(own, smoothed, color=colour, linewidth=2)
        labels.append(LineLabel(smooth(values[parts[-1][1]])[-1], label, colour))
    for name, part in parts:
        if in_trials:
            _mark_phase(axes, name, float(steps[part.start]) / scale)
    evaluated = ["eval/return_post" in line for line in metrics]
    for key, label, line in (
        ("eval/return_post", f"validation tasks, {after}", "-"),
        ("eval/return_other", "validation tasks, another's adaptation", ":"),
    ):
        if any(evaluated):
            values = column(metrics, key)[evaluated]
            style = {"color": VALIDATION, "marker": "s", "ms": 4}
            axes.plot(steps[evaluated] / scale, values, line, **style)
            labels.append(LineLabel(values[-1], label, VALIDATION))
    axes.set_xlabel(f"{unit} environment steps, adaptation included")
    axes.set_ylabel("mean return of an iteration's tasks")
    axes.set_title("Meta-training", loc="left", fontweight="bold")
    _footnote(axes, "thin: each iteration; thick: running mean")
    label_ends(axes, [label for label in labels if np.isfinite(label.height)], LABEL_SIZE)
    return _save(figure, path)


def parts_of(phases: Sequence[str]) -> list[tuple[str, slice]]:
    """Each phase's name and its iterations, from the name of every iteration."""
    first = [i for i, name in enumerate(phases) if i == 0 or phases[i - 1] != name]
    return [
        (phases[start], slice(start, end))
        for start, end in zip(first, [*first[1:], len(phases)], strict=True)
    ]


def _mark_phase(axes: Axes, name: str, start: float) -> None:
    """A line where a phase begins, and its name at the top."""
    axes.axvline(start, color="#d9dee4", linewidth=0.8, zorder=0)
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate(name, (start, 1), (3, -9), fontsize=LABEL_SIZE, color=GREY, **place)


def column(metrics: Sequence[Mapping[str, float | None]], key: str) -> np.ndarray:
    """One metric over the iterations, NaN where it is missing or null."""
    return np.array([line.get(key) for line in metrics], dtype=float)


def smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over the iterations up to each one, gaps left out: (n,) -> (n,)."""
    width = max(1, round(SMOOTHED_SHARE * len(values)))
    known = np.isfinite(values)
    sums = np.cumsum(np.where(known, values, 0.0))
    counts = np.cumsum(known).astype(float)
    for total in (sums, counts):
        total[width:] -= total[:-width].copy()
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)


def _figure() -> tuple[Figure, Axes]:
    """A figure that needs no display and leaves matplotlib's global state alone.

    Raises:
        InputError: without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("figures need matplotlib: pip install 'metarl-robotics[plot]'") from None
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#d9dee4", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _draw_tasks(
    axes: Axes, evaluation: Evaluation, result: SplitEvaluation, episodes: Sequence[int]
) -> list[LineLabel]:
    """A thin line for each of a few tasks that were run several times, and their names."""
    group, first = result.groups
    lines = [np.nanmean(result.returns[:, group == g], axis=1) for g in range(len(first))]
    for line in lines:
        axes.plot(episodes, line, "-", color=GREY, lw=0.8, zorder=1.5)
    return [
        LineLabel(float(line[-1]), task_text(evaluation.family, result.tasks, int(index)), GREY)
        for line, index in zip(lines, first, strict=True)
    ]


def _draw_control(axes: Axes, points: Sequence[Point], colour: str) -> None:
    """A dotted line from the point before adaptation through what another task's brings."""
    after = [(p.adaptation_episodes, p.other.returns.estimate) for p in points if p.other]
    if after:
        path = [(points[0].adaptation_episodes, points[0].returns.estimate), *after]
        axes.plot(*zip(*path, strict=True), ":", color=colour, lw=1.8)


def _mark_steps(axes: Axes, evaluation: Evaluation) -> SecondaryAxis | None:
    """A line at every point, and how many gradient steps there were: above, if they differ."""
    after = evaluation.schedule[1:]
    for _, episodes in after:
        axes.axvline(episodes, color="#d9dee4", linewidth=0.8, zorder=0)
    if len({steps for steps, _ in after}) == 1 or not evaluation.adapts:
        steps = after[0][0] if after else 0
        used = f", {steps} gradient step{'s' * (steps > 1)} on them" if evaluation.adapts else ""
        if evaluation.remembers and not steps:
            used = ": those of the trial before the one measured"
        axes.set_xlabel(f"adaptation episodes{used}")
        return None
    axes.set_xlabel("adaptation episodes")
    above = axes.secondary_xaxis("top")
    above.set_xticks([episodes for _, episodes in after], [f"k = {steps}" for steps, _ in after])
    above.set_xlabel("gradient steps", fontsize=9, color=GREY)
    above.tick_params(length=0, labelsize=9, labelcolor=GREY)
    above.spines["top"].set_visible(False)
    return above


def _footnote(axes: Axes, text: str) -> None:
    place = {"xycoords": "axes fraction", "va": "top", "annotation_clip": False}
    axes.annotate(text, (0, -0.16), fontsize=8.5, color=GREY, **place)


def _size(distinct: int, runs: int) -> str:
    return f"{runs} tasks" if distinct == runs else f"{distinct} tasks, {runs} runs"


def _save(figure: Figure, path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getvalue())
    return path
