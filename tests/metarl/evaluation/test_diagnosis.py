"""The gap between oracle and robust policy, and what is said of it."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from metarl.evaluation.diagnosis import Diagnosis, diagnose, still_learning
from metarl.evaluation.intervals import t_quantile
from metarl.evaluation.labels import ANY_TASK
from metarl.evaluation.results import Controls, Evaluation, SplitEvaluation
from metarl_envs import Tasks, get_family

SPREAD = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
"""Of a policy's return over the tasks."""


def run(returns, split="test") -> Evaluation:
    """A policy without adaptation that returns (M,)."""
    returns = np.asarray(returns, dtype=float)
    tasks = Tasks({"velocity": torch.linspace(0.1, 1.9, len(returns))})
    measured = np.stack([returns, returns])
    result = SplitEvaluation(split, tasks, measured, measured, 0, 0)
    return Evaluation(get_family("half-cheetah-velocity"), (result,), 100, 20, 0, {}, adapts=False)


def adapting(before, after, other) -> Evaluation:
    """A run that adapts, and its returns with another task's adapted parameters."""
    result = run(SPREAD).splits[0]
    nothing = np.full(len(SPREAD), np.nan)
    rows = np.stack([nothing, np.full(len(SPREAD), other)])
    controls = Controls(rows, rows + 2)
    returns = np.stack([before + SPREAD, after + SPREAD])
    result = dataclasses.replace(result, returns=returns, controls=controls)
    return dataclasses.replace(run(SPREAD), splits=(result,), adapts=True)


def made(random=0.0, robust=(10.0,), oracle=(20.0,), noise=0.0, split="test") -> Diagnosis:
    wobble = noise * np.array([9.0, -7.0, 5.0, -8.0, 3.0])
    return diagnose(
        {
            "random": [run(random + SPREAD, split)],
            "robust": [run(level + SPREAD, split) for level in robust],
            "oracle": [run(level + SPREAD + wobble, split) for level in oracle],
        },
        {},
    )


def test_gap_and_share_by_hand():
    diagnosis = made()
    # The same spread over tasks in all policies, and pairs of tasks are drawn: no width at all.
    assert diagnosis.gap("test") == pytest.approx((10, 10, 10))
    assert diagnosis.share("test") == pytest.approx((0.5, 0.5, 0.5))
    two = made(robust=(8.0, 12.0), oracle=(19.0, 21.0))
    # Variances of the means 4 and 1: Welch's degrees of freedom are 25 / 17.
    half = t_quantile(25 / 17) * math.sqrt(5)
    assert two.gap("test") == pytest.approx((10, 10 - half, 10 + half))
    assert "robust  mean return 10.0 [" in two.text() and "; seeds 8.0, 12.0" in two.text()
    assert two.scores("robust", "test").tolist() == [(8 + SPREAD).tolist(), (12 + SPREAD).tolist()]


@pytest.mark.parametrize(
    ("diagnosis", "beginning", "part"),
    [
        (made(), "Adaptation can matter:", "+10.0 [+10.0, +10.0]"),
        (made(), "Adaptation can matter:", "50%"),
        (made(robust=(19.5,)), "Adaptation can matter little:", "2%"),
        (made(oracle=(11.0,), noise=1.0), "No sign that adaptation matters:", "holds zero"),
        (made(oracle=(5.0,)), "No conclusion:", "not learned to use the task"),
        (made(oracle=(-1.0,)), "No conclusion:", "no better than a random policy"),
    ],
)
def test_verdicts(diagnosis, beginning, part):
    verdict = diagnosis.verdict("test")
    assert verdict.startswith(beginning)
    assert part in verdict


@pytest.mark.parametrize(("other", "words"), [(14.0, ANY_TASK), (5.0, "adaptation to the task")])
def test_gains_of_runs_that_adapt_are_held_against_their_control(other, words):
    fixed = {name: [run(v + SPREAD)] for name, v in (("random", 0), ("robust", 10), ("oracle", 20))}
    diagnosis = diagnose({**fixed, "maml-trpo": [adapting(9.0, 15.0, other)]}, {})
    found = diagnosis.summary()["splits"]["test"]["adapting"]["maml-trpo"]
    assert found["gain"] == pytest.approx([6, 6, 6])
    assert found["gain_over_another_task"][0] == pytest.approx(15 - other)
    assert words in found["gained"] and "+6.0 [+6.0, +6.0]" in found["gained"]
    assert found["gained"] in " ".join(diagnosis.text().split())


def test_notes_name_what_the_numbers_do_not_cover():
    assert "one seed each" in " ".join(made().notes())
    assert made(robust=(1.0, 2.0), oracle=(1.0, 2.0)).notes() == []
    assert "extrapolation" in made(split="extrapolation").notes()[1]


def test_text_and_json_hold_the_same_numbers():
    diagnosis = made()
    text = diagnosis.text()
    for line in ("random  mean return 0.0", "robust  mean return 10.0", "oracle  mean return 20.0"):
        assert line in text
    assert max(map(len, text.splitlines())) <= 100
    data = json.loads(json.dumps(diagnosis.summary(), allow_nan=False))
    split = data["splits"]["test"]
    assert split["gap"] == pytest.approx([10, 10, 10])
    assert split["returns"]["oracle"]["mean"][0] == 20.0
    assert split["verdict"] in " ".join(text.split())
    assert split["probability_of_improvement"][0] == 1.0
    assert data["intervals"].startswith("95 % t intervals over tasks only (one seed)")


@pytest.mark.parametrize(
    ("returns", "rising"),
    [(range(40), True), ([*range(30), *[30] * 10], False), ([5, 1], False), ([9] * 40, False)],
)
def test_a_return_that_still_rises_is_noticed(tmp_path, returns, rising):
    lines = [
        json.dumps(
            {"iteration": i + 1, "rollout/env_steps": i, "rollout/return_post": float(value)}
        )
        for i, value in enumerate(returns)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert still_learning(tmp_path) == rising
    diagnosis = diagnose(
        {name: [run(SPREAD)] for name in ("random", "robust", "oracle")}, {"robust": [tmp_path]}
    )
    assert ("still improved" in " ".join(diagnosis.notes())) == rising
