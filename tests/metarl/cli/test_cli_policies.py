"""`metarl adapt`, `evaluate` and `record`."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from support.tiny_runs import TINY, run_with

import metarl
from metarl.cli import main
from metarl.runs.checkpoint import load_policy


def test_adapt_saves_a_policy_that_loads_and_differs(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    task = ["--task", "goal=0.3,-0.2"]
    assert main(["adapt", str(run), *task, "--episodes", "3", "--sim-threads", "1"]) == 0
    assert "return" in capsys.readouterr().out
    adapted = load_policy(run / "adapted" / "goal=0.3,-0.2")
    assert not torch.equal(adapted.params["weight_0"], load_policy(run).params["weight_0"])
    policy = metarl.load(run / "adapted" / "goal=0.3,-0.2")
    assert policy.predict(torch.zeros(2))[0].shape == (2,)


def test_evaluate_writes_beside_a_run_and_never_into_a_checkpoint(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    sizes = ["--tasks", "2", "--episodes", "2", "--sim-threads", "1", "--splits", "train", "test"]
    for path, folder in (
        (run, "evaluation"),
        (run / "checkpoints" / "000001", "evaluation-000001"),
    ):
        assert main(["evaluate", str(path), *sizes]) == 0
        shown = capsys.readouterr().out
        assert "train: 2 tasks" in shown
        assert "extrapolation" not in shown
        assert {path.suffix for path in (run / folder).iterdir()} >= {".csv", ".png"}


def test_progress_says_what_is_measured_and_how_much_is_left(tmp_path, capsys):
    runs = [run_with(tmp_path / name, 1) for name in ("a", "b")]
    sizes = ["--tasks", "3", "--episodes", "2", "--sim-threads", "1", "--splits", "test"]
    assert main(["evaluate", *map(str, runs), *sizes, "--budgets", "1"]) == 0
    lines = capsys.readouterr().err.splitlines()
    # Adapting on all episodes and on the first; three points; two controls of two of them.
    assert lines[0].startswith(f"evaluate {runs[0]} (1 of 2) 1/9  adapted test  left 0:")
    assert lines[1] == f"evaluate {runs[0]} (1 of 2) 9/9  measured test  left 0:00"
    assert lines[-1] == f"evaluate {runs[1]} (2 of 2) 9/9  measured test  left 0:00"
    assert len(lines) == 4
    assert main(["evaluate", str(runs[0]), *sizes, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("num_tasks", [1, 3])
def test_progress_ends_at_its_total(tmp_path, capsys, num_tasks):
    """With one task there is no other one whose parameters could be the control."""
    run = run_with(tmp_path / "run", 1)
    sizes = ["--tasks", str(num_tasks), "--episodes", "2", "--sim-threads", "1"]
    assert main(["evaluate", str(run), *sizes]) == 0
    assert " 27/27  measured extrapolation  left 0:00" in capsys.readouterr().err


def test_several_runs_are_compared_on_the_same_tasks(tmp_path, capsys):
    runs = [run_with(tmp_path / name, 1) for name in ("a", "b")]
    other = run_with(tmp_path / "c", 1, config=dataclasses.replace(TINY, discount=0.5))
    sizes = ["--tasks", "3", "--episodes", "2", "--sim-threads", "1", "--splits", "test"]
    assert main(["evaluate", *map(str, [*runs, other]), *sizes]) == 0
    shown = capsys.readouterr().out
    # The first two differ in nothing but their seeds, the third in a setting.
    assert re.search(r"^  maml-trpo \(a\) +2 ", shown, re.MULTILINE)
    assert re.search(r"^  maml-trpo \(c\) +1 ", shown, re.MULTILINE)
    written = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert list(written["methods"]) == ["maml-trpo (a)", "maml-trpo (c)"]
    assert all((run / "evaluation" / "evaluation.csv").exists() for run in (*runs, other))
    longer = run_with(tmp_path / "d", 1, config=dataclasses.replace(TINY, horizon=9))
    assert main(["evaluate", str(runs[0]), str(longer), *sizes]) == 2
    message = "families or horizons differ: navigation (8 steps), navigation (9 steps)"
    assert message in capsys.readouterr().err


def test_budgets_make_a_curve_over_episodes(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    sizes = ["--tasks", "2", "--episodes", "3", "--sim-threads", "1", "--splits", "test"]
    assert main(["evaluate", str(run), *sizes, "--budgets", "1", "3"]) == 0
    rows = re.findall(r"^ +(\d) +(\d) +-", capsys.readouterr().out, re.MULTILINE)
    points, controls = rows[:3], rows[3:]
    assert points == [("0", "0"), *controls] == [("0", "0"), ("1", "1"), ("1", "3")]
    assert main(["evaluate", str(run), *sizes, "--budgets", "4"]) == 2


def test_noise_is_measured_where_it_is_asked_for_and_the_results_say_so(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    sizes = ["--tasks", "2", "--episodes", "3", "--sim-threads", "1", "--splits", "test"]
    found = []
    for flags, words, folder in (
        ([], "mean action", "evaluation"),
        (["--noise"], "with action noise", "evaluation-2"),
    ):
        assert main(["evaluate", str(run), *sizes, *flags]) == 0
        text = f"policy of iteration 1 of 10; measured by: {words}"
        assert text in capsys.readouterr().out
        found.append(json.loads((run / folder / "evaluation.json").read_text()))
        assert found[-1]["measured_by"] == words
    before = [data["splits"]["test"]["curve"][0]["return"] for data in found]
    assert before[0] != before[1]


@pytest.mark.render
def test_record_writes_into_the_runs_videos(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    small = ["--episodes", "2", "--sim-threads", "1"]
    for goal in ("0.3,-0.2", "0.1,0.1"):
        assert main(["record", str(run), "--task", f"goal={goal}", *small]) == 0
    written = [Path(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(set(written)) == len(written) > 2  # the second task leaves the first one's files
    assert all(path.parent == run / "videos" and path.exists() for path in written)
