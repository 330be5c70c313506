"""Tiny runs of a few methods for the report's tests: seeds, baselines, one with metrics."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.tiny_runs import TINY, run_with

from metarl.cli import main
from metarl.report.measured_run import Sizes, study
from metarl.report.studies import Study, gather
from metarl.runs.checkpoint import load_policy
from metarl.training.trainer import initial_state, train

SIZES = Sizes(tasks=5, episodes=3, budgets=(1,))
SMALL = ["--tasks", "5", "--episodes", "3", "--sim-threads", "1"]
SHORT = dataclasses.replace(TINY, iterations=2)
BASELINE = ["--env-steps", "50", "--worlds", "3", "--horizon", "8", "--sim-threads", "1", "--quiet"]


def make_runs(folder: Path) -> list[Path]:
    """Two seeds of one method, the first with metrics and a name that needs escaping; another."""
    trained = run_with(folder / "a<b>", config=SHORT)
    train(SHORT, initial_state(SHORT), trained, quiet=True)
    second = run_with(folder / "second", 2, config=dataclasses.replace(SHORT, seed=1))
    other = run_with(folder / "other", 2, config=dataclasses.replace(SHORT, method="promp"))
    return [trained, second, other]


def make_baselines(folder: Path) -> list[Path]:
    """Random, robust and oracle."""
    pytest.importorskip("stable_baselines3")
    made = []
    for name in ("random", "robust", "oracle"):
        made.append(folder / name)
        changed = [] if name == "random" else ["--outer.minibatches", "2"]
        command = ["baseline", name, "navigation", *BASELINE, *changed, "--run", str(made[-1])]
        assert main(command) == 0
    return made


def studied(runs: list[Path], sizes: Sizes = SIZES) -> Study:
    """The runs measured and grouped."""
    return gather([study(run, load_policy(run), sizes) for run in runs])
