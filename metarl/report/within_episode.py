"""The reward within the first episode of a trial by time, of policies that adapt in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from metarl.evaluation.comparison import Comparison
from metarl.evaluation.first_episode import definition, seconds_text, window_steps, windowed
from metarl.evaluation.gap import ORACLE, ROBUST, Gap
from metarl.evaluation.method_runs import MethodRuns
from metarl.report.style import Picture, Style, canvas, footnote, legend
from metarl_envs import Split

THIN = 0.35
"""Opacity of single trainings."""
BY_TIME = "Reward within the first episode on a task, the mean over tasks"


def within_episode(comparison: Comparison, styles: Sequence[Style], split: Split) -> Picture | None:
    """Reward by time of every policy with a belief, and of robust and oracle, on one split.

    A dotted line stands where a policy begins to act like the oracle.

    Args:
        comparison: of the methods.
        styles: one for each of them.
        split: of the tasks.

    Returns:
        None without a policy with a belief, or where rewards were not kept.
    """
    shown = [
        (method, style, rewards)
        for method, style in zip(comparison.methods, styles, strict=True)
        if method.remembers or method.method in (ROBUST, ORACLE)
        if (rewards := comparison.first_rewards(method, split)) is not None
    ]
    if not any(method.remembers for method, _, _ in shown):
        return None
    first, gap = comparison.first, Gap.among(comparison)
    dt_s = first.family.dt_s
    window_s = window_steps(first.horizon) * dt_s
    figure, axes = canvas(
        [method.label for method, _, _ in shown],
        title=split,
        x="time in the first episode, s",
        y="reward per step",
    )
    words, marked = [], False
    for method, style, rewards in shown:
        words.append(_draw(axes, method, style, windowed(rewards), dt_s))
        seconds = gap and gap.seconds_to_oracle(method, split)
        if seconds is not None:
            words[-1] += f", like the oracle {seconds_text(seconds)}"
            if math.isfinite(seconds):
                marked = True
                axes.axvline(seconds, color=style.colour, ls=":", lw=1.2)
    axes.margins(x=0)
    legend(axes)
    note = f"each point: mean over the {window_s:.2g} s from then on"
    if marked:
        note += f"; dotted: {definition(first.horizon, dt_s)}"
    footnote(axes, note)
    alt = f"{BY_TIME}, on {split} tasks, {note}. {'; '.join(words)}."
    return Picture(f"first-episode-{split}", figure, alt)


def _draw(axes: Axes, method: MethodRuns, style: Style, rewards: np.ndarray, dt_s: float) -> str:
    """The mean over runs (R, T) of a method, and each of several; the same in words."""
    times = dt_s * np.arange(rewards.shape[1])
    if len(rewards) > 1:
        axes.plot(times, rewards.T, color=style.colour, lw=0.7, alpha=THIN)
    mean = rewards.mean(0)
    axes.plot(times, mean, color=style.colour, ls=style.line, lw=2, label=method.label)
    return f"{method.label}: {mean[0]:.3g} at first, {mean[-1]:.3g} at the end"
