"""The worked example of CONTRIBUTING.md: its code makes a method that trains and adapts."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch

import metarl
from metarl.adaptation import ADAPTATIONS
from metarl.methods import meta as methods
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.runs.checkpoint import create_run
from metarl.training.trainer import initial_state, train

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def block(containing: str) -> str:
    (found,) = [b for b in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if containing in b]
    return found


@pytest.fixture
def sign_sgd(monkeypatch):
    """The example's file, registry line and recipe, in place as long as a test runs."""
    module = types.ModuleType("metarl.adaptation.sign")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(block("class SignStep"), module.__dict__)
    registry = {"ADAPTATIONS": {}, "SignStep": module.SignStep}
    exec("ADAPTATIONS = {\n" + block('"sign": SignStep') + "}", registry)
    for name, cls in registry["ADAPTATIONS"].items():
        monkeypatch.setitem(ADAPTATIONS, name, cls)
    names = vars(methods) | {"SignStep": module.SignStep}
    exec(block("def sign_sgd"), names)
    exec("ENTRIES = {\n" + block('"sign-sgd": Method(') + "}", names)
    for name, method in names["ENTRIES"].items():
        monkeypatch.setitem(methods.METHODS, name, method)
    return module


def test_the_examples_own_test_passes(sign_sgd):
    names = {}
    exec(block("def test_every_weight_moves"), names)
    names["test_every_weight_moves_by_the_distance_against_its_gradient"]()


def test_the_example_trains_and_adapts(sign_sgd, tmp_path):
    sizes = {"meta_batch_size": 4, "episodes_per_task": 5, "horizon": 8, "iterations": 2}
    config = with_settings(recipe("navigation", "sign-sgd"), {**sizes, "device": "cpu"})
    create_run(tmp_path / "run", config, ["metarl", "train"])
    start = initial_state(config)
    end = train(config, start, tmp_path / "run", quiet=True)
    assert end.refused == 0
    assert not torch.equal(start.params["weight_0"], end.params["weight_0"])
    assert metarl.load(tmp_path / "run").saved.config.inner == sign_sgd.SignStep()


def test_the_page_keeps_its_promise_of_one_short_file(sign_sgd):
    assert len(block("class SignStep").splitlines()) < 200
