"""The table and the figure of `experiments.compare_methods`, from its JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PRE, POST = "#9aa5b1", "#1b6ca8"
COLUMNS = (
    "method",
    "before",
    "after 1 step",
    "after 3 steps",
    "seeds after 1",
    "steps",
    "s, wall",
    "s, CPU",
)


def write_table(content: dict[str, Any], path: Path) -> str:
    """Markdown, one table a family, the best method after one step first."""
    lines = [
        "# Methods compared",
        "",
        f"Made by `{content['command']}`. Mean return over {content['tasks']} held-out tasks of "
        f"every seed, {content['episodes_per_step']} episodes per adaptation step; in brackets "
        f"{content['interval']}. Seconds are those of one training run with one thread, several "
        "at a time.",
    ]
    for family, budget in content["budgets"].items():
        lines += ["", f"## {family}, {budget / 1e6:g} million environment steps", ""]
        lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "-|" * len(COLUMNS)]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in ranked(content, family)]
    text = "\n".join(lines) + "\n"
    path.write_text(text)
    return text


def ranked(content: dict[str, Any], family: str) -> list[dict[str, Any]]:
    """The family's methods by their return after one step, those that failed last."""
    rows = [row for row in content["summaries"] if row["family"] == family]
    return sorted(rows, key=lambda row: -row["post_1"][0] if "post_1" in row else float("inf"))


def cells(row: dict[str, Any]) -> list[str]:
    """One line of the table."""
    if "post_1" not in row:
        return [row["method"], "failed", *["-"] * (len(COLUMNS) - 2)]
    seeds = ", ".join(f"{value:.1f}" for value in row["post_1_by_seed"])
    failed = f" ({len(row['failed'])} failed)" if row["failed"] else ""
    return [
        row["method"],
        interval(row["pre"]),
        interval(row["post_1"]),
        interval(row["post_3"]),
        seeds + failed,
        f"{row['env_steps'] / 1e6:.2f} M",
        f"{row['wall_clock_s']:.0f}",
        f"{row['cpu_s']:.0f}",
    ]


def interval(values: list[float]) -> str:
    """Mean [low, high]."""
    mean, low, high = values
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def write_figure(content: dict[str, Any], path: Path) -> None:
    """One panel a family: return before and after one adaptation step, with intervals."""
    families = list(content["budgets"])
    figure = Figure(figsize=(4.2 * len(families) + 1, 5), layout="constrained")
    FigureCanvasAgg(figure)
    for index, family in enumerate(families):
        axes = figure.add_subplot(1, len(families), index + 1)
        rows = [row for row in reversed(ranked(content, family)) if "post_1" in row]
        for y, row in enumerate(rows):
            for name, colour in (("pre", PRE), ("post_1", POST)):
                mean, low, high = row[name]
                axes.plot([low, high], [y, y], color=colour, linewidth=2)
                label = {"pre": "before adaptation", "post_1": "after one step"}[name]
                axes.plot(mean, y, "o", color=colour, label=None if index or y else label)
                axes.plot(row[f"{name}_by_seed"], [y] * row["seeds"], "|", color=colour)
        axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
        axes.set_title(f"{family}\n{content['budgets'][family] / 1e6:g} M steps", fontsize=10)
        axes.set_xlabel("return on held-out tasks")
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        loc="outside lower center",
        ncols=2,
        frameon=False,
        title=f"lines: {content['interval']}; ticks: each seed",
    )
    figure.savefig(path, dpi=110)
