"""The table and the figure of `experiments.compare_methods`, from its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metarl.evaluation.budgets import steps_text, unequal
from metarl.evaluation.labels import ANY_TASK

PRE, POST = "#9aa5b1", "#1b6ca8"
LABELS = {
    "pre": "before adaptation",
    "post": "after as many steps as trained for",
    "another_task": "with another task's adapted parameters",
}
COLUMNS = (
    "method",
    "K",
    "before",
    "after K steps",
    "another task's",
    "own less another's",
    "seeds after K",
    "env steps",
    "s, wall",
    "s, CPU",
    "commit",
)


def write_table(content: dict[str, Any], path: Path) -> str:
    """Markdown, one table a family, the best method first."""
    lines = [
        "# Methods compared",
        "",
        f"Made by `{content['command']}`. Mean return of the {content['measured_by']}, before "
        "adapting and after as many steps K as the method was trained for, each on "
        f"{content['episodes_per_step']} episodes; with the parameters that another task adapted "
        "to; and what a task's own ones return more. In brackets "
        f"{content['interval']}. Seconds are those of one training run with one thread, several "
        "at a time; the commit is that which trained it.",
    ]
    for family, budget in content["budgets"].items():
        rows = ranked(content, family)
        lines += ["", f"## {family}, {budget / 1e6:g} million environment steps", ""]
        lines += [f"Means over {content['tasks'][family]}, of every seed.", ""]
        lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "-|" * len(COLUMNS)]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
        lines += remarks(rows)
    text = "\n".join(lines) + "\n"
    path.write_text(text)
    return text


def remarks(rows: list[dict[str, Any]]) -> list[str]:
    """Warnings below the table: unequal budgets, gains that are no adaptation."""
    texts = []
    if unequal([row.get("env_steps") for row in rows]):
        texts.append("Environment steps differ by more than a tenth.")
    if plain := [row["method"] for row in rows if row.get("verdict") == ANY_TASK]:
        texts.append(f"The gain of {', '.join(plain)} is {ANY_TASK}.")
    return ["", " ".join(texts)] if texts else []


def ranked(content: dict[str, Any], family: str) -> list[dict[str, Any]]:
    """The family's methods by their return after adaptation, those that failed last."""
    rows = [row for row in content["summaries"] if row["family"] == family]
    return sorted(rows, key=lambda row: -row["post"][0] if "post" in row else float("inf"))


def cells(row: dict[str, Any]) -> list[str]:
    """One line of the table."""
    if "post" not in row:
        return [row["method"], "failed", *["-"] * (len(COLUMNS) - 2)]
    seeds = ", ".join(f"{value:.1f}" for value in row["post_by_seed"])
    failed = f" ({len(row['failed'])} failed)" if row["failed"] else ""
    seconds = [row["wall_clock_s"], row["cpu_s"]]
    return [
        row["method"],
        f"{row['trained_steps']}",
        interval(row["pre"]),
        interval(row["post"]),
        f"{row['another_task'][0]:.1f}" if row["another_task"] else "-",
        interval(row["gain_over_another_task"]) if row["another_task"] else "-",
        seeds + failed,
        steps_text(row["env_steps"]),
        *("-" if value is None else f"{value:.0f}" for value in seconds),
        ", ".join(commit[:7] for commit in row["commits"]),
    ]


def interval(values: Sequence[float]) -> str:
    """Mean [low, high]."""
    mean, low, high = values
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def write_figure(content: dict[str, Any], path: Path) -> None:
    """One panel a family: return before and after adaptation, with intervals and controls."""
    families = list(content["budgets"])
    figure = Figure(figsize=(4.2 * len(families) + 1, 5), layout="constrained")
    FigureCanvasAgg(figure)
    for index, family in enumerate(families):
        axes = figure.add_subplot(1, len(families), index + 1)
        rows = [row for row in reversed(ranked(content, family)) if "post" in row]
        for y, row in enumerate(rows):
            for name, colour in (("pre", PRE), ("post", POST)):
                mean, low, high = row[name]
                axes.plot([low, high], [y, y], color=colour, linewidth=2)
                axes.plot(mean, y, "o", color=colour, label=None if index or y else LABELS[name])
            axes.plot(row["post_by_seed"], [y] * row["seeds"], "|", color=POST)
            if row["another_task"]:
                label = None if index or y else LABELS["another_task"]
                axes.plot(row["another_task"][0], y, "o", color=POST, mfc="none", label=label)
        axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
        axes.set_title(f"{family}\n{content['budgets'][family] / 1e6:g} M steps", fontsize=10)
        axes.set_xlabel(f"return, {content['tasks'][family]}", fontsize=9)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        loc="outside lower center",
        ncols=3,
        frameon=False,
        title=f"lines: {content['interval']}; ticks: each seed",
    )
    figure.savefig(path, dpi=110)
