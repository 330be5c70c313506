"""Runs on Meta-World: trained, resumed bit for bit and evaluated by name alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from metarl.cli import main
from metarl.methods.families import recipe
from metarl.rollouts.threads import torch_threads
from metarl.runs.checkpoint import load_policy
from metarl_envs import FAMILIES, load_family

pytest.importorskip("metaworld", reason="needs the extra metaworld")
SIZES = ["--meta-batch-size", "2", "--episodes-per-task", "2", "--horizon", "8", "--quiet"]


@pytest.fixture(autouse=True)
def one_torch_thread():
    with torch_threads(1):
        yield


def train(run: Path, name: str, iterations: int, *more: str) -> None:
    sizes = [*SIZES, "--iterations", str(iterations), "--sim-threads", "1", *more]
    assert main(["train", name, "--run", str(run), *sizes]) == 0


@pytest.mark.parametrize("name", ["metaworld-ml1:reach-v3", "metaworld-ml10"])
def test_a_run_goes_on_bit_for_bit(name, tmp_path):
    train(tmp_path / "whole", name, 3)
    train(tmp_path / "parts", name, 2)
    FAMILIES.pop(name.replace(":", "-"))  # as in another process
    assert main(["resume", str(tmp_path / "parts"), "--iterations", "3", "--quiet"]) == 0
    whole, parts = (load_policy(tmp_path / part) for part in ("whole", "parts"))
    assert whole.config.family == name.replace(":", "-")
    for key, value in whole.params.items():
        assert torch.equal(value, parts.params[key]), key


def test_an_evaluation_is_on_the_benchmarks_test_goals_and_says_success(tmp_path, capsys):
    run, name = tmp_path / "run", "metaworld-ml1:reach-v3"
    train(run, name, 1)
    command = ["evaluate", str(run), "--splits", "test", "--tasks", "3", "--episodes", "2"]
    assert main([*command, "--budgets", "--quiet", "--sim-threads", "1"]) == 0
    assert "successful episodes" in capsys.readouterr().out
    data = json.loads((run / "evaluation" / "evaluation.json").read_text())
    first, last = data["splits"]["test"]["curve"]
    assert (first["adaptation_episodes"], last["adaptation_episodes"]) == (0, 2)
    assert 0 <= last["success"][0] <= 1
    held_out = set(load_family(name).parameters[0].held_out.points)
    with (run / "evaluation" / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = {tuple(float(row[f"goal_{i}"]) for i in range(6)) for row in rows}
    assert len(measured) == 3 and measured < held_out


def test_the_recipe_is_that_of_the_benchmarks_paper():
    config = recipe("metaworld-ml1-reach-v3")
    assert (config.meta_batch_size, config.episodes_per_task, config.horizon) == (20, 10, 500)
    assert config.policy.hidden_sizes == (128, 128)
    assert config.discount == 0.99


def test_lists_name_the_families(capsys):
    assert main(["families"]) == 0
    assert "metaworld-ml1:NAME" in capsys.readouterr().out
    assert main(["families", "metaworld-ml10"]) == 0
    assert "{500 points} (train) or {250 points} (test)" in capsys.readouterr().out
