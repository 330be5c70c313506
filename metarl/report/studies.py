"""Runs as methods: seeds together, and every number that the report states about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from metarl.evaluation.comparison import Comparison, MethodRuns
from metarl.evaluation.gap import Gap
from metarl.evaluation.grouping import compare
from metarl.evaluation.results import SplitEvaluation
from metarl.evaluation.statistics import Interval, interquartile_mean, mean_score, worst_tasks
from metarl.report.measured_run import Subject, slug
from metarl.report.style import Style, method_styles
from metarl_envs import Split, TaskFamily


@dataclass(frozen=True)
class Group:
    """All runs of one method."""

    subjects: tuple[Subject, ...]
    runs: MethodRuns
    style: Style

    @property
    def label(self) -> str:
        """Its title, with a folder's name where configurations differ."""
        return self.runs.label

    @property
    def slug(self) -> str:
        """The label as part of ids and file names."""
        return slug(self.label)

    @property
    def adapts(self) -> bool:
        """Whether it changes with the episodes of its task."""
        return self.runs.adapts

    @property
    def representative(self) -> Subject:
        """The run with the median return in the end; the lower of the two in the middle."""
        scores = [np.nanmean(held_out(subject).returns[-1]) for subject in self.subjects]
        order = np.argsort(scores, kind="stable")
        return self.subjects[int(order[(len(order) - 1) // 2])]

    def pooled(self) -> list[SplitEvaluation]:
        """Each split with the mean return of every task over the seeds, without controls."""
        evaluations = [subject.evaluation.over_episodes() for subject in self.subjects]
        returns = [
            np.mean([e.splits[i].returns for e in evaluations], axis=0)
            for i in range(len(evaluations[0].splits))
        ]
        return [
            replace(first, returns=mean, controls=None)
            for first, mean in zip(evaluations[0].splits, returns, strict=True)
        ]


class Row(NamedTuple):
    """What one method reaches on one split at one point; intervals as the comparison names them."""

    group: Group
    split: Split
    gradient_steps: int
    adaptation_episodes: int
    mean: Interval
    iqm: Interval
    worst_fifth: Interval
    gain: Interval | None
    """Over the return before adaptation; None for what does not adapt."""
    closed: Interval | None
    """Of the gap between robust policy and oracle; None where there is none for sure."""
    other: Interval | None
    """Return with another task's adapted parameters; None before adaptation and without any."""
    gain_over_other: Interval | None
    averaged: Interval | None
    """Return with the mean of all tasks' adapted parameters, likewise."""
    closed_by_other: Interval | None
    """Share of the gap that another task's adapted parameters close."""


@dataclass(frozen=True)
class Study:
    """Methods on the same tasks of a family."""

    groups: tuple[Group, ...]
    comparison: Comparison

    @property
    def family(self) -> TaskFamily:
        """What they were trained on."""
        return self.groups[0].subjects[0].family

    @property
    def subjects(self) -> list[Subject]:
        """All runs, method by method."""
        return [subject for group in self.groups for subject in group.subjects]

    @property
    def adapting(self) -> list[Group]:
        """The methods that adapt."""
        return [group for group in self.groups if group.adapts]

    @cached_property
    def lead(self) -> Group | None:
        """The method that the page speaks of first: of those that adapt, the one that ends highest.

        None where none adapts.
        """

        def reached(group: Group) -> float:
            return float(
                np.nan_to_num(self.curve(group, self.held_out)[-1].mean.estimate, nan=-np.inf)
            )

        return max(self.adapting, key=reached, default=None)

    @property
    def splits(self) -> list[Split]:
        """The splits measured, held-out tasks first: they are what a method is for."""
        order: tuple[Split, ...] = ("test", "extrapolation", "train")
        return [split for split in order if split in self.comparison.splits]

    @property
    def held_out(self) -> Split:
        """The split that the page speaks of first."""
        return "test" if "test" in self.splits else "train"

    @cached_property
    def gap(self) -> Gap | None:
        """Between robust policy and oracle, if one of each is there."""
        return Gap.among(self.comparison)

    @cached_property
    def rows(self) -> list[Row]:
        """Every number of the report: one row for each point of a method that adapts, else one."""
        last = len(self.comparison.schedule) - 1
        return [
            self._row(group, split, point)
            for split in self.splits
            for group in self.groups
            for point in (range(last + 1) if group.adapts else [last])
        ]

    def curve(self, group: Group, split: Split) -> list[Row]:
        """The rows of a method on a split."""
        return [row for row in self.rows if row.group is group and row.split == split]

    def over_episodes(self, group: Group, split: Split) -> list[Row]:
        """Those before and after all gradient steps."""
        steps = self.comparison.schedule[-1][0]
        return [row for row in self.curve(group, split) if row.gradient_steps in (0, steps)]

    def over_steps(self, group: Group, split: Split) -> list[Row]:
        """Those in which every gradient step saw all its episodes."""
        full = self.subjects[0].evaluation.episodes_per_step
        rows = self.curve(group, split)
        return [row for row in rows if row.adaptation_episodes == row.gradient_steps * full]

    def _row(self, group: Group, split: Split, point: int) -> Row:
        compared, runs = self.comparison, group.runs
        scores, gains = (f(runs, split, point) for f in (compared.scores, compared.gains))
        mean, iqm, worst = (
            compared.interval(statistic, [scores], split)
            for statistic in (mean_score, interquartile_mean, worst_tasks)
        )
        gain = compared.interval(mean_score, [gains], split) if group.adapts else None
        closed = by_other = None
        if self.gap and runs.method not in (self.gap.robust.method, self.gap.oracle.method):
            closed = self.gap.closed(runs, split, point)
            by_other = self.gap.closed_by_other(runs, split, point)
        over = compared.gain_over_other(runs, split, point)
        other = averaged = None
        if over is not None:
            other, averaged = (
                compared.interval(mean_score, [reached], split)
                for reached in compared.controls(runs, split, point)
            )
        return Row(
            group, split, *compared.schedule[point], mean, iqm, worst, gain, closed,
            other, over, averaged, by_other,
        )  # fmt: skip


def gather(subjects: Sequence[Subject]) -> Study:
    """Runs that differ in their seed alone become one method.

    Raises:
        InputError: if they were not measured alike.
    """
    found = compare(
        [subject.saved for subject in subjects],
        [subject.folder for subject in subjects],
        [subject.evaluation for subject in subjects],
    )
    members = [
        tuple(s for s in subjects if any(run is s.evaluation for run in method.runs))
        for method in found.methods
    ]
    # In the CLI methods go by their names, on the page by their titles.
    titled = tuple(
        replace(method, label=method.label.replace(method.method, same[0].method, 1))
        for method, same in zip(found.methods, members, strict=True)
    )
    styles = method_styles([(method.method, method.adapts) for method in titled])
    groups = tuple(
        Group(same, runs, style) for same, runs, style in zip(members, titled, styles, strict=True)
    )
    return Study(groups, Comparison(titled))


def held_out(subject: Subject) -> SplitEvaluation:
    """The split that the page speaks of first."""
    by_split = {result.split: result for result in subject.evaluation.splits}
    return by_split.get("test") or by_split["train"]
