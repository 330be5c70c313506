"""A study of given numbers, without simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from support.tiny import tiny_policy

from metarl.adaptation.none import Unadapted
from metarl.evaluation.results import Controls, Evaluation, SplitEvaluation
from metarl.report.measured_run import Subject
from metarl.report.studies import Study, gather
from metarl_envs import Tasks, get_family

SPREAD = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])
"""Of returns over tasks."""
FAMILY = "half-cheetah-velocity"
EPISODES = (1, 2, 5, 20)


def adapting(
    method: str,
    before: float,
    *after: float,
    other: float | None = None,
    seeds: int = 1,
    scatter: float = 0.0,
) -> list[Subject]:
    """Seeds of a method whose mean return is `before`, then these after rising episodes.

    Args:
        method: its registered name.
        before: adaptation.
        after: as many of EPISODES as there are numbers, counted from the last.
        other: the return with another task's adapted parameters; None for no control.
        seeds: how many.
        scatter: what each further seed returns more after adaptation.
    """
    episodes = EPISODES[-len(after) :]
    found = []
    for seed in range(seeds):
        levels = [before, *(level + seed * scatter for level in after)]
        returns = np.array([level + SPREAD for level in levels])
        # A little chance of each task, so that no interval is a point.
        returns[1:] += 0.1 * np.roll(SPREAD, 1)
        controls = None
        if other is not None:
            rows = np.full_like(returns, other) + SPREAD
            rows[0] = np.nan
            controls = Controls(rows, rows)
        found.append(_subject(method, seed, returns, episodes, controls, adapts=True))
    return found


def remembering(
    method: str, first: float, *after: float, other: float | None = None, late: int = 0
) -> list[Subject]:
    """A run of a method with a memory: the return of its first episode, and after EPISODES.

    Its reward is nothing in the first `late` steps, and then the same at each.
    """
    (subject,) = adapting(method, first, *after, other=other)
    evaluation = subject.evaluation
    (result,) = evaluation.splits
    controls = result.controls and result.controls._replace(averaged=None)
    rewards = by_step(result.returns[0], late)
    points = tuple((0, number) for _, number in evaluation.points)
    result = replace(result, controls=controls, first_rewards=rewards)
    evaluation = replace(evaluation, splits=(result,), points=points, remembers=True)
    return [replace(subject, evaluation=evaluation)]


def by_step(returns: np.ndarray, late: int = 0) -> np.ndarray:
    """Rewards that make returns (M,), nothing in the first `late` of 100 steps: (M, 100)."""
    rewards = np.zeros((len(returns), 100))
    rewards[:, late:] = returns[:, None] / (100 - late)
    return rewards


def fixed(method: str, level: float, seeds: int = 1) -> list[Subject]:
    """Seeds of a method that does not adapt; its points are those of EPISODES."""
    returns = np.array([level + SPREAD] * (1 + len(EPISODES)))
    return [_subject(method, seed, returns, EPISODES, None, adapts=False) for seed in range(seeds)]


def made(*methods: list[Subject]) -> Study:
    """The study of these methods."""
    return gather([subject for method in methods for subject in method])


def _subject(
    method: str,
    seed: int,
    returns: np.ndarray,
    episodes: tuple[int, ...],
    controls: Controls | None,
    *,
    adapts: bool,
) -> Subject:
    saved = tiny_policy(FAMILY)
    inner = saved.config.inner if adapts else Unadapted()
    saved = replace(saved, config=replace(saved.config, method=method, seed=seed, inner=inner))
    tasks = Tasks({"velocity": torch.linspace(0.1, 1.9, len(SPREAD))})
    result = SplitEvaluation(
        "test", tasks, returns, returns, 0, 0, controls, first_rewards=by_step(returns[0])
    )
    evaluation = Evaluation(
        get_family(FAMILY), (result,), 100, 20, 0, {"env_steps": 4_000_000}, adapts,
        ((0, 0), *((1, number) for number in episodes)),
    )  # fmt: skip
    name = f"{method}-{seed}"
    return Subject(name, Path(name), saved, [], [], evaluation, None)
