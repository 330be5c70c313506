"""The report's numbers as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from metarl.report.studies import Study

CURVE_COLUMNS = (
    *("run", "method", "split", "tasks", "gradient_steps", "adaptation_episodes"),
    *("return", "return_low", "return_high", "gain", "gain_low", "gain_high"),
    *("gain_over_other", "gain_over_other_low", "gain_over_other_high"),
)
MEASURES = (
    *("mean", "iqm", "worst_fifth", "gain", "closed"),
    *("other", "gain_over_other", "averaged", "closed_by_other"),
)
METHOD_COLUMNS = (
    *("method", "split", "seeds", "env_steps", "tasks", "gradient_steps", "adaptation_episodes"),
    *(f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")),
)
LEARNING = {
    "env_steps": "rollout/env_steps",
    "return_before": "rollout/return_pre",
    "return_after": "rollout/return_post",
}


def method_csv(study: Study) -> str:
    """Every number that the page states of methods, with its 95 % interval."""
    rows = []
    for row in study.rows:
        measured = [getattr(row, name) or ("",) * 3 for name in MEASURES]
        rows.append([
            row.group.label, row.split, len(row.group.subjects),
            study.comparison.env_steps(row.group.runs),
            int(study.comparison.sound(row.split).sum()),
            row.gradient_steps, row.adaptation_episodes,
            *(number for interval in measured for number in interval),
        ])  # fmt: skip
    return _csv(METHOD_COLUMNS, rows)


def curve_csv(study: Study) -> str:
    """Every point of every run's adaptation curves with its 95 % interval over tasks."""
    return _csv(
        CURVE_COLUMNS,
        (
            [
                subject.name, subject.method, result.split, len(result.tasks),
                point.gradient_steps, point.adaptation_episodes, *point.returns, *point.gain,
                *(point.other.gain_over if point.other else ("",) * 3),
            ]
            for subject in study.subjects
            for result in subject.evaluation.splits
            for point in subject.evaluation.curve(result)
        ),
    )  # fmt: skip


def task_csv(study: Study) -> str:
    """Every task of every split: its parameters and its return at each point."""
    records = [
        {"run": subject.name, "method": subject.method} | record
        for subject in study.subjects
        for record in subject.evaluation.records()
    ]
    return _csv(list(records[0]), (list(record.values()) for record in records))


def learning_csv(study: Study) -> str:
    """Every iteration of every run: environment steps, return before and after adaptation."""
    return _csv(
        ("run", "method", "seed", "iteration", *LEARNING),
        (
            [
                subject.name, subject.method, subject.saved.config.seed, line["iteration"],
                *(line.get(key) for key in LEARNING.values()),
            ]
            for subject in study.subjects
            for line in subject.metrics
        ),
    )  # fmt: skip


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
