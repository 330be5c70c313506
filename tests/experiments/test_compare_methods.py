"""The comparison of methods: what is run, what is stated of it, and what its captions claim."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from support.tiny_runs import TINY, run_with

from experiments import compare_methods
from experiments.compare_methods import Options, main, run_one, summarise, tasks_text
from experiments.compare_report import remarks, write_figure, write_table
from experiments.training_runs import Finished
from metarl.evaluation.labels import ANY_TASK

NOTHING = [math.nan, math.nan]


def row(seed=0, other=(3.0, 5.0), **changes):
    """A run of a method trained for two steps on two tasks."""
    return {
        "family": "navigation",
        "method": "maml++",
        "seed": seed,
        "error": None,
        "wall_clock_s": 10.0,
        "cpu_s": 8.0,
        "env_steps": 1_000_000,
        "commit": "0123456789",
        "trained_steps": 2,
        "returns": [1.0, 2.0, 6.0, 9.0],
        "task_returns": [[0.0, 2.0], [1.0, 3.0], [5.0, 7.0], [8.0, 10.0]],
        "task_returns_of_another_task": [NOTHING, [0.0, 0.0], list(other), [9.0, 9.0]],
        "task_returns_of_mean": [NOTHING, [0.0, 0.0], [4.0, 5.0], [9.0, 9.0]],
    } | changes


def test_methods_are_compared_after_the_steps_that_they_were_trained_for():
    found = summarise([row(0), row(1)])
    assert found["trained_steps"] == 2
    assert (found["pre"][0], found["post"][0]) == (1.0, 6.0)
    assert (found["gain"][0], found["another_task"][0]) == (5.0, 4.0)
    assert found["gain_over_another_task"] == (2.0, 2.0, 2.0)
    assert found["mean_of_tasks"][0] == 4.5
    assert [point[0] for point in found["curve"]] == [1.0, 2.0, 6.0, 9.0]
    assert found["verdict"].startswith("adaptation to the task")
    assert summarise([row(other=(6.0, 7.0))])["verdict"] == ANY_TASK
    uncontrolled = row(task_returns_of_another_task=None, task_returns_of_mean=None)
    assert summarise([uncontrolled])["another_task"] is None
    failed = summarise([row(error="diverged")])
    assert (failed["seeds"], failed["failed"]) == (0, ["diverged"])


def content(**changes):
    return {
        "command": "python -m experiments.compare_methods",
        "measured_by": "mean action",
        "episodes_per_step": 20,
        "interval": "95 % intervals",
        "budgets": {"navigation": 1e6},
        "tasks": {"navigation": tasks_text("navigation", 2)},
        "summaries": [summarise([row(0), row(1, wall_clock_s=None)])],
    } | changes


def test_the_table_states_steps_controls_seeds_costs_and_commits(tmp_path):
    text = write_table(content(), tmp_path / "table.md")
    assert (
        "| maml++ | 2 | 1.0 [-11.7, 13.7] | 6.0 [-6.7, 18.7] | 4.0 | 2.0 [2.0, 2.0] | 6.0, 6.0 "
        "| 1 M | 10 | 8 | 0123456 |"
    ) in text
    assert "Means over 2 held-out tasks, of every seed." in text
    write_figure(content(), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_captions_say_where_nothing_is_held_out():
    assert tasks_text("navigation", 40) == "40 held-out tasks"
    text = tasks_text("half-cheetah-direction", 40)
    assert text == "40 runs of the 2 tasks trained on, nothing held out"


def test_gains_that_any_task_brings_and_unequal_budgets_are_called_so():
    rows = [summarise([row(other=(6.0, 7.0))]), summarise([row(env_steps=2_000_000)])]
    said = " ".join(remarks(rows))
    assert f"The gain of maml++ is {ANY_TASK}." in said
    assert "Environment steps differ by more than a tenth." in said
    assert remarks(rows[1:]) == []


@pytest.fixture
def options(tmp_path):
    return Options(
        ("maml-trpo",), ("navigation",), (0,), tasks=4, episodes=2, jobs=1,
        runs=tmp_path / "runs", out=tmp_path / "out",
    )  # fmt: skip


def test_a_finished_run_is_only_evaluated_and_that_only_once(options, monkeypatch):
    monkeypatch.setattr(compare_methods, "metarl", None)  # nothing is trained
    run = run_with(options.runs / "navigation-maml-trpo-0-x1", 10)
    found = run_one(options, "navigation", "maml-trpo", 0)
    assert (found["command"], found["wall_clock_s"], found["env_steps"]) == (
        "metarl train", None, 1000,
    )  # fmt: skip
    assert found["policy"] == "final policy, iteration 10"
    cost = {"command": "metarl train it", "error": None, "wall_clock_s": 7.0, "cpu_s": 5.0}
    run.with_name(f"{run.name}.json").write_text(json.dumps(cost))
    monkeypatch.setattr(compare_methods, "evaluate", None)  # nor measured again
    again = run_one(options, "navigation", "maml-trpo", 0)
    first = json.dumps({**found, **cost}, sort_keys=True)  # NaN among them
    assert json.dumps(again, sort_keys=True) == first
    with pytest.raises(TypeError):  # but other sizes are
        run_one(dataclasses.replace(options, episodes=3), "navigation", "maml-trpo", 0)


def test_what_is_missing_is_trained_with_its_cost_beside_it(options, monkeypatch):
    calls = []

    def train(command, log):
        calls.append(command)
        folder = options.runs / "navigation-maml-trpo-0-x1"
        run_with(folder, 1, config=dataclasses.replace(TINY, iterations=1))
        assert log == folder.with_name(f"{folder.name}.log")
        return Finished(None, 3.0, 2.0)

    monkeypatch.setattr(compare_methods, "metarl", train)
    main(options)
    main(options)
    assert len(calls) == 1 and calls[0][:4] == ["train", "navigation", "--method", "maml-trpo"]
    record = json.loads((options.runs / "navigation-maml-trpo-0-x1.json").read_text())
    assert (record["error"], record["wall_clock_s"], record["cpu_s"]) == (None, 3.0, 2.0)
    written = json.loads((options.out / "compare_methods.json").read_text())
    assert written["summaries"][0]["post"][0] == pytest.approx(written["runs"][0]["returns"][1])
    assert written["tasks"] == {"navigation": "4 held-out tasks"}


def test_a_run_that_failed_is_reported_and_not_tried_again(options, monkeypatch):
    failing = [Finished("diverged", 1.0, 1.0)]
    monkeypatch.setattr(compare_methods, "metarl", lambda command, log: failing.pop())
    options.runs.mkdir()
    for _ in range(2):
        assert run_one(options, "navigation", "maml-trpo", 0)["error"] == "diverged"
