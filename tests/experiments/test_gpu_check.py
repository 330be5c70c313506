"""The wheels that the GPU check brings along, against what the packages say they need."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from experiments import gpu_check

ROOT = Path(__file__).parents[2]
ON_THE_MACHINE = {"torch"}
ONLY_FOR_PICTURES = {"glfw", "pyopengl", "mujoco-studio"}


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
