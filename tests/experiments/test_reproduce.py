"""The table of published results is made of what was run, and of nothing else."""

from __future__ import annotations

import json

import pytest

from experiments import reproduce, training_runs
from experiments.reproduce import Options, Reproduction, main, table


def curve(*points):
    """Another task's adapted parameters return 2 less."""
    return [
        {
            "return": [value, 0, 0],
            "gain": [value - points[0], 0, 0],
            "another_task": {"return": [value - 2, 0, 0], "gain_over": [2.0, 0, 0]},
        }
        for value in points
    ]


def run(*points):
    return {
        "commands": [["metarl", "train", "navigation", "--seed", "0"]],
        "env_steps": 2_400_000,
        "evaluation": {"splits": {"test": {"curve": curve(*points)}}},
    }


def row(text, name):
    return next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))


def test_rows_hold_means_over_seeds_and_the_range_of_gains(tmp_path):
    (tmp_path / "navigation.json").write_text(json.dumps({"runs": [run(-40, -10), run(-20, -5)]}))
    text = table(tmp_path)
    said = "held-out tasks **-30.0, -7.5** [+15.0, +30.0], another task's -9.5 [+2.0, +2.0]"
    assert said in row(text, "navigation")
    assert "2, 2.4 M" in row(text, "navigation")
    others = [name for name in reproduce.REPRODUCTIONS if name != "navigation"]
    assert all("not run" in row(text, name) for name in others)


def test_rows_of_families_that_say_so_hold_the_share_of_successes(tmp_path):
    runs = [run(900, 1500), run(1100, 1700)]
    for number, found in enumerate(runs):
        for k, at in enumerate(found["evaluation"]["splits"]["test"]["curve"]):
            at["success"] = [0.2 * k + 0.1 * number, 0, 1]
    (tmp_path / "ml10-rl2.json").write_text(json.dumps({"runs": runs}))
    text = row(table(tmp_path), "ml10-rl2")
    assert "**1000.0, 1600.0** [+600.0, +600.0], successful **5%, 25%**, another task's" in text
    assert "success 86.9 % on training, 35.8 % on test classes" in text


def test_a_name_trains_evaluates_and_writes_its_row_once(tmp_path, monkeypatch):
    sizes = "--iterations 1 --meta-batch-size 2 --episodes-per-task 2 --horizon 4"
    tiny = Reproduction(
        train=f"navigation {sizes}",
        evaluate="--tasks 2 --episodes 2",
        published="1",
        source="nobody",
        differs="everything",
    )
    monkeypatch.setattr(reproduce, "REPRODUCTIONS", {"tiny": tiny})
    options = Options(("tiny",), seeds=(3,), jobs=1, runs=tmp_path / "runs", out=tmp_path)
    main(options)
    written = (tmp_path / "tiny.json").read_text()
    assert json.loads(written)["runs"][0]["config"]["seed"] == 3
    assert "1, 0.0 M" in row((tmp_path / "reproduction.md").read_text(), "tiny")
    monkeypatch.setattr(training_runs, "metarl", None)  # nothing is left to run
    main(options)
    assert (tmp_path / "tiny.json").read_text() == written


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"maze: not one of navigation, half-cheetah"):
        main(Options(("maze",), out=tmp_path))
