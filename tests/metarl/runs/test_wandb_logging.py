"""Weights & Biases gets what TensorBoard gets, if asked for; the package here is pretended."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
from support.tiny_runs import TINY_FLAGS

from metarl.cli import main
from metarl.runs.metrics_log import read_metrics

TRAIN = ["train", "navigation", *TINY_FLAGS, "--run", "r", "--quiet"]


class PretendedRun:
    """Stand-in for the result of `wandb.init`."""

    def __init__(self, settings):
        self.settings, self.logged, self.finished = settings, {}, False

    def log(self, values, step):
        self.logged[step] = values

    def finish(self):
        self.finished = True


@pytest.fixture
def runs(monkeypatch):
    """The runs that were begun."""
    begun = []

    def init(**settings):
        begun.append(PretendedRun(settings))
        return begun[-1]

    module = types.ModuleType("wandb")
    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return begun


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_it_gets_the_configuration_and_every_finite_scalar(runs):
    assert main([*TRAIN, "--iterations", "2", "--wandb", "robots"]) == 0
    (run,) = runs
    assert (run.settings["project"], run.settings["name"]) == ("robots", "r")
    assert run.settings["config"]["outer.max_kl"] > 0
    assert run.settings["config"]["method"] == "maml-trpo"
    assert run.finished
    assert list(run.logged) == [1, 2]
    for line in read_metrics(Path("r")):
        expected = {k: v for k, v in line.items() if v is not None and k != "iteration"}
        assert run.logged[line["iteration"]] == expected


def test_a_resumed_run_goes_on_in_the_same_place(runs):
    assert main([*TRAIN, "--iterations", "1", "--wandb", "robots"]) == 0
    assert main(["resume", "r", "--iterations", "2", "--quiet"]) == 0
    first, second = runs
    assert first.settings["id"] == second.settings["id"] and len(first.settings["id"]) > 8
    assert (second.settings["resume"], second.settings["project"]) == ("allow", "robots")
    assert list(second.logged) == [2]


def test_a_run_that_was_not_asked_to_logs_nowhere_else(runs):
    assert main([*TRAIN, "--iterations", "1"]) == 0
    assert runs == []
    assert not Path("r/wandb.json").exists()


def test_without_the_package_one_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main([*TRAIN, "--wandb", "robots"]) == 1
    message = "metarl: error: wandb is not installed; install it with: pip install wandb\n"
    assert capsys.readouterr().err == message
    assert not Path("r").exists()


def test_a_damaged_note_is_named(runs, capsys):
    assert main([*TRAIN, "--iterations", "1", "--wandb", "robots"]) == 0
    Path("r/wandb.json").write_text(json.dumps({"project": 3}))
    assert main(["resume", "r", "--iterations", "2"]) == 1
    assert "wandb.json: needs a project and an id" in capsys.readouterr().err
