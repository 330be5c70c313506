"""Task families in Python files of one's own."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from support.own_robot import write_robot
from torch import Generator

from metarl_envs import FAMILIES, BatchEnv, InputError, get_family, load_family, register_family


@pytest.fixture(autouse=True)
def forget_loaded_families():
    known = dict(FAMILIES)
    yield
    FAMILIES.clear()
    FAMILIES.update(known)


def test_a_file_gives_a_family_that_is_then_known_by_name(tmp_path, monkeypatch):
    file = write_robot(tmp_path)
    monkeypatch.chdir(tmp_path)
    family = load_family("arm.py:family")
    assert family.name == "arm-lift"
    assert get_family("arm-lift") is family
    assert family.origin.reference == family.reference == "arm.py:family"
    content = file.read_bytes() + (tmp_path / "arm.xml").read_bytes()
    assert family.origin.sha256 == hashlib.sha256(content).hexdigest()
    assert BatchEnv(family, 2, 1).reset(Generator().manual_seed(0)).shape == (2, 4)


@pytest.mark.parametrize("kind", [str, Path])
def test_the_only_family_of_a_file_needs_no_name(tmp_path, monkeypatch, kind):
    write_robot(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load_family(kind("arm.py")).reference == "arm.py:family"


def test_a_name_without_a_file_is_a_known_family():
    assert load_family("ant-goal") is get_family("ant-goal")
    assert get_family("ant-goal").reference == "ant-goal"
    with pytest.raises(InputError, match="did you mean ant-goal"):
        load_family("ant-gaol")


def test_an_edited_file_is_loaded_anew(tmp_path):
    file = write_robot(tmp_path)
    first = load_family(f"{file}:family")
    # The same length within the same second: caches by time stamp would not notice.
    file.write_text(file.read_text().replace("horizon=100", "horizon=150"))
    second = load_family(f"{file}:family")
    assert (first.horizon, second.horizon) == (100, 150)
    assert first.origin.sha256 != second.origin.sha256
    assert get_family("arm-lift") is second


def test_nothing_is_written_beside_the_file_and_the_path_is_left_alone(tmp_path):
    file = write_robot(tmp_path, ('"""A two', 'from helper import EXTRA\n\n_ = """A two'))
    (tmp_path / "helper.py").write_text("EXTRA = 1\n")
    before = list(sys.path)
    sys.dont_write_bytecode, kept = True, sys.dont_write_bytecode
    try:
        load_family(f"{file}:family")
    finally:
        sys.dont_write_bytecode = kept
    assert sys.path == before
    assert {path.name for path in tmp_path.iterdir()} == {"arm.py", "arm.xml", "helper.py"}
    del sys.modules["helper"]


def test_a_shipped_name_cannot_be_taken(tmp_path):
    file = write_robot(tmp_path, ('name="arm-lift"', 'name="navigation"'))
    with pytest.raises(InputError, match="a shipped family has that name"):
        load_family(f"{file}:family")
    with pytest.raises(InputError, match="shipped"):
        register_family(get_family("ant-goal"))


REWARD = "-error.abs() -"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ('"hand", (0.5', '"hnad", (0.5'),
            r"arm.py, line \d+: unknown body 'hnad': did you mean hand\?$",
        ),
        (('"arm.xml"', '"leg.xml"'), "leg.xml: no such file"),
        ((REWARD, "-error.abs()[:, None] -"), r"reward of arm-lift has shape \(2, 2\)"),
        ((REWARD, "-error.mean() -"), ""),
        ((REWARD, "-error * float('nan') -"), "reward of arm-lift = nan"),
        (('    outputs=["site_xpos"],\n', ""), r"reads 'site_xpos' \(arm.py, line \d+\)"),
        (('task["height"]', 'task["heights"]'), "reads 'heights'"),
        (("frame_skip=10,", "frame_skip=10"), r"^arm.py, line \d+: SyntaxError: [^(]*$"),
        (("import Path", "import Pth"), "ImportError: cannot import name 'Pth'"),
        (
            ("horizon=100", "horizonn=100"),
            r"arm.py, line \d+: TypeError: .* unexpected keyword argument 'horizonn'",
        ),
        (
            ("family = TaskFamily(", "family_ = TaskFamily("),
            "unknown family in .*: did you mean family_",
        ),
        (("family = TaskFamily(", "family = dict("), "family is of type dict"),
        (
            ("    reward=reward,", "    reward=reward, terminated=reward,"),
            "terminated of arm-lift has dtype torch.float64: must be torch.bool",
        ),
    ],
    ids=lambda change: change[1][:20] if isinstance(change, tuple) else "",
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, change, message):
    file = write_robot(tmp_path, change)
    if not message:  # a scalar broadcasts to the right shape: `metarl check` finds it
        load_family(f"{file}:family")
        return
    with pytest.raises(InputError, match=message) as caught:
        load_family(f"{file}:family")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("gone.py:family", "gone.py: No such file"),
        ("two.py", "say which one: two.py:family or :other"),
        (3, "family = 3: must be a family's name, or a file, FILE.py:NAME"),
        ("arm.py:nothing", "unknown family in arm.py 'nothing'"),
        ("empty.py:family", "defines no metarl_envs.TaskFamily"),
    ],
)
def test_references_that_lead_nowhere(tmp_path, monkeypatch, reference, message):
    write_robot(tmp_path)
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "two.py").write_text((tmp_path / "arm.py").read_text() + "\nother = family\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load_family(reference)
