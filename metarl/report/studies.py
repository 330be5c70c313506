"""A study: runs grouped into methods, and every number that the report states about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from metarl.evaluation.comparison import Comparison
from metarl.evaluation.gap import Gap, with_shares
from metarl.evaluation.grouping import compare
from metarl.evaluation.method_runs import MethodPoint, MethodRuns
from metarl.evaluation.results import SplitEvaluation
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
        """True if its policies adapt."""
        return self.runs.adapts

    @property
    def remembers(self) -> bool:
        """True if its policies carry a belief, and so adapt within an episode."""
        return self.runs.remembers

    @property
    def representative(self) -> Subject:
        """The run with the median return in the end; the lower of the two in the middle."""
        scores = [np.nanmean(held_out(subject).returns[-1]) for subject in self.subjects]
        order = np.argsort(scores, kind="stable")
        return self.subjects[int(order[(len(order) - 1) // 2])]

    def pooled(self) -> list[SplitEvaluation]:
        """Each split with the mean return of every task over the seeds, without controls."""
        seeds = [subject.evaluation.over_episodes().splits for subject in self.subjects]
        return [
            replace(same[0], returns=np.mean([r.returns for r in same], axis=0), controls=None)
            for same in zip(*seeds, strict=True)
        ]


@dataclass(frozen=True)
class Study:
    """Methods on the same tasks of a family."""

    groups: tuple[Group, ...]
    comparison: Comparison

    @property
    def family(self) -> TaskFamily:
        """The family of all runs."""
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
            return float(np.nan_to_num(self.end(group).mean.estimate, nan=-np.inf))

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
    def rows(self) -> list[MethodPoint]:
        """Every number of the report: one row for each point of a method that adapts, else one."""
        last = len(self.comparison.schedule) - 1
        return [
            with_shares(self.comparison.point(group.runs, split, point), self.gap, point)
            for split in self.splits
            for group in self.groups
            for point in (range(last + 1) if group.adapts else [last])
        ]

    def curve(self, group: Group, split: Split) -> list[MethodPoint]:
        """The rows of a method on a split."""
        return [row for row in self.rows if row.method is group.runs and row.split == split]

    def end(self, group: Group) -> MethodPoint:
        """A method's last row on the split that the page speaks of first."""
        return self.curve(group, self.held_out)[-1]

    def over_episodes(self, group: Group, split: Split) -> list[MethodPoint]:
        """Those before and after all gradient steps."""
        steps = self.comparison.schedule[-1][0]
        return [row for row in self.curve(group, split) if row.gradient_steps in (0, steps)]

    def over_steps(self, group: Group, split: Split) -> list[MethodPoint]:
        """Those in which every gradient step saw all its episodes."""
        full = self.subjects[0].evaluation.episodes_per_step
        rows = self.curve(group, split)
        return [row for row in rows if row.adaptation_episodes == row.gradient_steps * full]


def gather(subjects: Sequence[Subject]) -> Study:
    """Runs that differ in their seed alone become one method.

    Raises:
        InputError: if they were not measured alike.
    """
    comparison = compare(
        [subject.saved for subject in subjects],
        [subject.folder for subject in subjects],
        [subject.evaluation for subject in subjects],
    )
    members = [
        tuple(s for s in subjects if any(run is s.evaluation for run in method.runs))
        for method in comparison.methods
    ]
    # In the CLI methods go by their names, on the page by their titles.
    titled = tuple(
        replace(method, label=method.label.replace(method.method, same[0].method, 1))
        for method, same in zip(comparison.methods, members, strict=True)
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
