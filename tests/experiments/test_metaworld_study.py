"""Meta-World's study: its trainings can be asked for, and its page is made of its results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tiny_runs import in_this_process

pytest.importorskip("metaworld", reason="needs the extra metaworld")

from experiments import metaworld
from experiments.metaworld import EPISODES, STUDIES, Options, main, page, percent
from experiments.metaworld_published import ML10_PUBLISHED
from experiments.studies import Study, commands
from metarl.cli.baseline import Baseline
from metarl.cli.parser import parse
from metarl.cli.train import Train


def point(number, success, value, another=None, kinds=None):
    return {
        "adaptation_episodes": number,
        "success": [success, success - 0.1, success + 0.1],
        "mean": {"crossed": [value, None, None]},
        "controls": another
        and {
            "another_task": [another, None, None],
            "gain_over_another_task": [value - another, value - another - 5, value - another + 5],
        },
        "kinds": kinds,
    }


def comparison(splits, kinds=None):
    """Of two methods: one that gains a tenth and 100 by every episode, and noise."""
    learned = [
        point(number, 0.1 * k, 100.0 * k, 50.0 if number else None, kinds)
        for k, number in enumerate(EPISODES)
    ]
    noise = [point(number, 0.02, 30.0, kinds=kinds) for number in EPISODES]
    curves = {"promp": learned, "random": noise}
    return {
        "env_steps": {"promp": 3.4e6, "random": 0},
        "splits": {split: {"curves": curves} for split in splits},
    }


@pytest.mark.parametrize("name", STUDIES)
def test_every_training_can_be_asked_for_and_evaluates_nothing_on_the_way(name, tmp_path):
    wanted = STUDIES[name]
    found = commands(Options(seeds=(0, 4), runs=tmp_path), name, wanted)
    learned = [method for method in wanted.methods if method != "random"]
    assert [run.name for run in found] == [
        *(f"{name}-{method}-{seed}" for method in learned for seed in (0, 4)),
        f"{name}-random-0",
    ]
    for run, command in found.items():
        asked = parse([*command, "--run", str(run), "--sim-threads", "1"])
        if "random" in run.name:
            assert isinstance(asked, Baseline)
        else:
            assert isinstance(asked, Train)
            assert command[command.index("--evaluate-every") + 1] == "0"


def test_ml10_has_the_methods_with_published_numbers():
    assert set(ML10_PUBLISHED) <= set(STUDIES["ml10"].methods)


def test_the_page_holds_successes_returns_and_the_control(tmp_path):
    (tmp_path / "metaworld-reach.json").write_text(json.dumps(comparison(("test",))))
    text = page(tmp_path)
    assert (
        "| `metaworld-ml1:reach-v3`, test tasks | promp | 3.4 M | 0, 10, 20, 30, 40 "
        "| 40 % [30, 50] | 0, 100, 200, 300, 400 | 50; +350 [+345, +355] |"
    ) in text
    assert "| random | 0 | 2, 2, 2, 2, 2 | 2 % [0, 12] | 30, 30, 30, 30, 30 | - |" in text
    assert "| `metaworld-ml1:push-v3` | not run |" in text
    assert "| `metaworld-ml10` | not run |" in text and "by class" not in text
    assert "86.9, 35.8 %" in text and "What differs" in text


def test_the_page_that_is_kept_is_that_of_the_files_beside_it():
    results = Path(metaworld.__file__).parent / "results"
    assert (results / "metaworld.md").read_text() == page(results)


def test_ml10_says_the_success_of_each_class(tmp_path):
    kinds = {"push-v3": {"return": 5.0, "success": 0.25}, "sweep-v3": {"return": 1.0, "success": 1}}
    found = comparison(("train", "test"), kinds)
    (tmp_path / "metaworld-ml10.json").write_text(json.dumps(found))
    text = page(tmp_path)
    assert "| class | promp | random |\n|---|---|---|\n" in text
    assert "| push-v3, training tasks | 25 | 25 |" in text
    assert "| sweep-v3, test tasks | 100 | 100 |" in text


def test_a_share_that_does_not_vary_has_no_interval():
    assert percent([1.0, None, None]) == "100 %"
    assert percent([0.4, 0.31, 0.49]) == "40 % [31, 49]"


def test_an_interval_of_a_share_holds_no_impossible_one():
    assert percent([0.04, -0.1, 0.2]) == "4 % [0, 20]"
    assert percent([0.96, 0.86, 1.06]) == "96 % [86, 100]"


def test_a_class_is_trained_measured_and_written_once(tmp_path, monkeypatch):
    tiny = "--horizon 4 --iterations 2 --meta-batch-size 2"
    wanted = Study(
        "metaworld-ml1:reach-v3",
        {
            "teacher-student": f"{tiny} --outer.teacher-share 0.5",
            "meta-sgd": f"{tiny} --episodes-per-task 2",
            "random": "--horizon 4",
        },
        ("test",),
        evaluation="--measured 1",
    )
    monkeypatch.setattr(metaworld, "STUDIES", {"reach": wanted})
    monkeypatch.setattr("experiments.training_runs.metarl", in_this_process)
    options = Options(("reach",), seeds=(3,), tasks=2, jobs=1, runs=tmp_path / "runs", out=tmp_path)
    main(options)
    found = json.loads((tmp_path / "metaworld-reach.json").read_text())
    curves = found["splits"]["test"]["curves"]
    assert set(curves) == {"teacher-student", "meta-sgd", "random", "oracle"}
    for curve in curves.values():
        assert [at["adaptation_episodes"] for at in curve] == list(EPISODES)
    runs = json.loads((tmp_path / "metaworld-reach-runs.json").read_text())["runs"]
    assert [run["config"]["seed"] for run in runs] == [3, 3]
    assert "| oracle |" in (tmp_path / "metaworld.md").read_text()
    monkeypatch.setattr("experiments.training_runs.metarl", None)  # nothing is left to run
    main(options)
