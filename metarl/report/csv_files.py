"""The report's numbers as CSV."""

from __future__ import annotations

from pathlib import Path

from metarl.report.studies import Study
from metarl.runs.files import write_csv

MEASURES = (
    *("mean", "iqm", "worst_fifth", "gain", "closed"),
    *("other", "gain_over_other", "averaged", "closed_by_other"),
)
LEARNING = {
    "env_steps": "rollout/env_steps",
    "return_before": "rollout/return_pre",
    "return_after": "rollout/return_post",
}
UNKNOWN = ("",) * 3


def write_tables(study: Study, folder: Path) -> list[Path]:
    """Write methods.csv, curves.csv, tasks.csv and learning.csv into `folder`.

    methods.csv: every number that the page states of methods, with its 95 % interval. curves.csv:
    every point of every run's adaptation curve with its 95 % interval over tasks. tasks.csv: every
    task's parameters and its return at each point. learning.csv: environment steps and returns
    before and after adaptation of every iteration.
    """
    comparison = study.comparison
    methods = [
        (
            row.method.label, row.split, len(row.method.runs), comparison.env_steps(row.method),
            int(comparison.valid(row.split).sum()), row.gradient_steps, row.adaptation_episodes,
            *(number for name in MEASURES for number in getattr(row, name) or UNKNOWN),
        )
        for row in study.rows
    ]  # fmt: skip
    curves = [
        (
            subject.name, subject.method, result.split, len(result.tasks),
            point.gradient_steps, point.adaptation_episodes, *point.returns, *point.gain,
            *(point.other.gain_over if point.other else UNKNOWN),
        )
        for subject in study.subjects
        for result in subject.evaluation.splits
        for point in subject.evaluation.curve(result)
    ]  # fmt: skip
    records = [
        {"run": subject.name, "method": subject.method} | record
        for subject in study.subjects
        for record in subject.evaluation.records()
    ]
    learning = [
        (
            subject.name, subject.method, subject.saved.config.seed, line["iteration"],
            *(line.get(key) for key in LEARNING.values()),
        )
        for subject in study.subjects
        for line in subject.metrics
    ]  # fmt: skip
    about = ("method", "split", "seeds", "env_steps", "tasks", "gradient_steps")
    point = ("run", "method", "split", "tasks", "gradient_steps", "adaptation_episodes")
    return [
        write_csv(
            folder / "methods.csv", (*about, "adaptation_episodes", *_bounds(*MEASURES)), methods
        ),
        write_csv(
            folder / "curves.csv", (*point, *_bounds("return", "gain", "gain_over_other")), curves
        ),
        write_csv(folder / "tasks.csv", records[0], (record.values() for record in records)),
        write_csv(
            folder / "learning.csv", ("run", "method", "seed", "iteration", *LEARNING), learning
        ),
    ]


def _bounds(*names: str) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
