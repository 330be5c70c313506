"""The report's numbers: as HTML tables and as CSV."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np

from metarl.report.subject import Subject
from metarl.statistics import iqm

CURVE_COLUMNS = (
    *("run", "method", "split", "tasks", "gradient_steps", "adaptation_episodes"),
    *("return", "return_low", "return_high", "gain", "gain_low", "gain_high"),
)


def curve_csv(subjects: Sequence[Subject]) -> str:
    """Every point of every adaptation curve with its 95 % interval."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CURVE_COLUMNS)
    for subject in subjects:
        for result in subject.evaluation.splits:
            for point in subject.evaluation.curve(result):
                writer.writerow([
                    subject.name, subject.method, result.split, len(result.tasks),
                    point.gradient_steps, point.adaptation_episodes, *point.returns, *point.gain,
                ])  # fmt: skip
    return text.getvalue()


def task_csv(subjects: Sequence[Subject]) -> str:
    """Every task of every split: its parameters and its return after each step."""
    rows = [
        {"run": subject.name, "method": subject.method} | record
        for subject in subjects
        for record in subject.evaluation.records()
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def curve_table(subjects: Sequence[Subject]) -> str:
    """Returns before and after, gains, one row per run and split."""
    rows = []
    for subject in subjects:
        for result in subject.evaluation.splits:
            points = subject.evaluation.curve(result)
            gains = result.gains[-1]
            rows.append([
                subject.label,
                result.split,
                f"{len(result.tasks)}",
                points[0].returns.text(),
                points[-1].returns.text(),
                points[-1].gain.text("+"),
                f"{iqm(gains[np.isfinite(gains)]):+.1f}",
                f"{points[-1].adaptation_episodes}",
            ])  # fmt: skip
    head = ["run", "split", "tasks", "before", "after", "gain", "IQM gain", "episodes used"]
    return table(head, rows)


def parameter_table(subject: Subject) -> str:
    """The family's parameters and their ranges."""
    rows = [
        [
            p.name,
            "" if p.unit == "1" else p.unit,
            p.train.describe(),
            "-" if p.extrapolation is None else p.extrapolation.describe(),
            p.description,
        ]
        for p in subject.family.parameters
    ]
    return table(["parameter", "unit", "training", "extrapolation", "meaning"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table that scrolls sideways where it is wider than the page."""
    titles = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    lines = [
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return (
        f'<div class="wide"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
