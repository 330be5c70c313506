"""Finished runs of an experiment, and failed ones."""

from __future__ import annotations

import json

import pytest

from experiments import reproduce
from experiments.reproduce import Options, Reproduction
from experiments.training_runs import is_trained
from metarl.cli import main

TINY = ["--iterations", "2", "--meta-batch-size", "2", "--episodes-per-task", "2"]


def test_a_run_that_was_stopped_is_not_taken_for_a_finished_one(tmp_path):
    run = tmp_path / "run"
    assert not is_trained(run)
    assert main(["train", "navigation", *TINY, "--quiet", "--run", str(run)]) == 0
    assert is_trained(run)
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text().splitlines()[0] + "\n")
    assert not is_trained(run)


def test_what_trains_nothing_is_finished_once_it_is_there(tmp_path):
    run = tmp_path / "noise"
    assert main(["baseline", "random", "navigation", "--quiet", "--run", str(run)]) == 0
    assert is_trained(run)


def test_a_failed_seed_leaves_earlier_results_and_is_reported(tmp_path, monkeypatch, capsys):
    failing = Reproduction("navigation --iterations 0", "", "1", "nobody", "all")
    monkeypatch.setattr(reproduce, "REPRODUCTIONS", {"failing": failing})
    earlier = json.dumps({"runs": []})
    (tmp_path / "failing.json").write_text(earlier)
    with pytest.raises(SystemExit) as ended:
        reproduce.main(Options(("failing",), seeds=(0,), runs=tmp_path / "runs", out=tmp_path))
    assert ended.value.code == 1
    assert "failed: metarl: error: iterations = 0: must be" in capsys.readouterr().out
    assert (tmp_path / "failing.json").read_text() == earlier
