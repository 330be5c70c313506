"""Runs of one method, and its numbers at one point of a curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from metarl.evaluation.labels import verdict
from metarl.evaluation.results import Evaluation
from metarl.evaluation.statistics import Interval
from metarl_envs import Split


@dataclass(frozen=True)
class MethodRuns:
    """All runs of one method, of different seeds."""

    label: str
    runs: tuple[Evaluation, ...]
    method: str = ""
    """The name it is registered by, where it is a registered one."""

    @property
    def adapts(self) -> bool:
        """False for policies that stay as they are."""
        return any(run.adapts for run in self.runs)

    @property
    def remembers(self) -> bool:
        """True for policies with a belief, which adapt in the first episode of a trial."""
        return any(run.remembers for run in self.runs)

    @property
    def controlled(self) -> bool:
        """True if every run was also measured with another task's parameters or belief."""
        return all(result.controls is not None for run in self.runs for result in run.splits)


class MethodPoint(NamedTuple):
    """Returns of a method on a split at one point of its curve, with 95 % intervals."""

    method: MethodRuns
    split: Split
    gradient_steps: int
    adaptation_episodes: int
    mean: Interval
    iqm: Interval
    worst_fifth: Interval
    gain: Interval | None
    """Over the return before adaptation, or in the first episode of a policy with a belief; None
    for a method that does not adapt."""
    other: Interval | None
    """With another task's adapted parameters or belief; None before adaptation and without
    controls."""
    gain_over_other: Interval | None
    averaged: Interval | None
    """With the mean of all tasks' adapted parameters; None for beliefs, which have none."""
    gain_over_averaged: Interval | None
    success: Interval | None = None
    """Mean share of episodes that succeed, where the family says so."""
    closed: Interval | None = None
    """Share of the gap between robust policy and oracle, where `gap.Gap` reports one."""
    closed_by_other: Interval | None = None
    """The share that another task's adapted parameters close."""

    @property
    def verdict(self) -> str:
        """Judgement in words: is the gain of a method that adapts adaptation to the task?"""
        assert self.gain is not None  # it adapts
        return verdict(self.gain, self.gain_over_other, remembers=self.method.remembers)
