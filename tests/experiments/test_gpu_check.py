"""The wheels that the GPU check brings along, against what the packages say they need."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
import time
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from experiments import gpu_check
from metarl.cli import main
from metarl.methods.meta import METHODS

ROOT = Path(__file__).parents[2]
ON_THE_MACHINE = {"torch"}
ONLY_FOR_PICTURES = {"glfw", "pyopengl", "mujoco-studio"}


def given(out: Path, *options: str, seconds: float = 100.0) -> argparse.Namespace:
    """Parsed options of a call."""
    parsed = {"out": out, "site": out / "site", "device": "cpu", "seconds": seconds}
    return argparse.Namespace(**parsed, methods=list(options), ends=time.monotonic() + seconds)


def in_this_process(given, name, command):
    """Stands in for a child process of a command of metarl."""
    assert command[1:3] == ["-m", "metarl"]
    return main(command[3:]) == 0


def wheels() -> set[str]:
    assert gpu_check.__doc__ is not None
    listed = re.search(r"for p in (.*?); do", gpu_check.__doc__, re.DOTALL)
    assert listed is not None
    return {canonicalize_name(name) for name in listed[1].replace("\\", " ").split()}


def needed() -> set[str]:
    """Distributions that metarl needs on a GPU, with their own requirements."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    todo = [Requirement(r) for r in project["dependencies"]]
    todo += [Requirement(r) for r in project["optional-dependencies"]["gpu"]]
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name in ON_THE_MACHINE | ONLY_FOR_PICTURES or (name, extras) in seen:
            continue
        found.add(name)
        seen.add((name, extras))
        for r in map(Requirement, requires(name) or ()):
            if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in {"", *extras}):
                todo.append(r)
    return found


@pytest.mark.skipif(
    importlib.util.find_spec("mujoco_warp") is None,
    reason="mujoco-warp is not installed: pip install '.[gpu]'",
)
def test_the_wheels_are_all_that_metarl_needs_on_a_gpu_and_no_more():
    assert wheels() == needed()


def test_every_wheel_has_a_version_to_download():
    pinned = {
        canonicalize_name(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert wheels() <= pinned


def test_the_tests_that_need_a_gpu_are_run():
    marked = [p for p in (ROOT / "tests/metarl").rglob("test_*.py") if "mark.gpu" in p.read_text()]
    assert marked
    assert {str(path.relative_to(ROOT)) for path in marked} <= set(gpu_check.TESTS)
    assert [name for name in gpu_check.TESTS if not (ROOT / name).exists()] == []


def test_three_calls_run_all_parts_the_checks_first():
    assert gpu_check.__doc__ is not None
    calls = re.findall(r"--out DIR --parts (.*)", gpu_check.__doc__)
    assert [call.split()[0] for call in calls] == ["install"] * 3
    assert [part for call in calls for part in call.split()[1:]] == list(gpu_check.PARTS)[1:]


def test_learners_train_on_the_device_and_go_on_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "run", in_this_process)
    assert gpu_check.learners(given(tmp_path, "teacher-student", "cavia"))
    assert json.loads((tmp_path / "learners.json").read_text()) == {
        "teacher-student": True,
        "cavia": True,
    }
    shown = dict(gpu_check.table(tmp_path))
    assert shown["learner cavia, and its checkpoint on the CPU"] == "ok"
    assert gpu_check.LEARNERS.keys() <= METHODS.keys()


def test_a_refused_update_or_a_missing_iteration_is_no_success(tmp_path):
    log, line = tmp_path / "metrics.jsonl", {"health/nonfinite_envs": 0.0}
    log.write_text(json.dumps(line | {"health/refused_updates": 0.0}) + "\n")
    assert gpu_check.healthy(log, iterations=1)
    assert not gpu_check.healthy(log, iterations=2)
    log.write_text(json.dumps(line | {"health/refused_updates": 1.0}) + "\n")
    assert not gpu_check.healthy(log, iterations=1)


def test_what_runs_on_at_the_end_of_a_call_is_stopped(tmp_path, capsys):
    (tmp_path / "site").mkdir()
    endless = [sys.executable, "-S", "-c", "import time\ntime.sleep(600)"]
    began = time.monotonic()
    assert not gpu_check.run(given(tmp_path, seconds=0.5), "endless", endless)
    assert time.monotonic() - began < 60
    assert "endless: not ended within this call's 0 s" in capsys.readouterr().out
