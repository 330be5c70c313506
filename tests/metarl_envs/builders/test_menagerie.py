"""Robots of MuJoCo Menagerie by name, with a package that pretends to be it: nothing is loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from support.own_robot import SOURCE

from metarl_envs import InputError, mujoco_robot
from metarl_envs.builders.menagerie import menagerie_file, menagerie_name

FILES = {"scene": "scene.xml", "go2": "go2.xml"}


class MenagerieError(Exception):
    pass


class DownloadError(MenagerieError):
    pass


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """A mujoco_menagerie of one robot in `tmp_path`; what it is given, `xml` raises."""
    for file in FILES.values():
        (tmp_path / file).write_text((SOURCE / "arm.xml").read_text())

    def install(error: Exception | None = None) -> None:
        def xml(entry: str | None) -> Path:
            if error is not None:
                raise error
            return tmp_path / FILES[entry or "scene"]

        package = ModuleType("mujoco_menagerie")
        robot = SimpleNamespace(entry_names=tuple(FILES), xml=xml)
        vars(package).update(
            names=lambda: ["unitree_g1", "unitree_go2"],
            get={"unitree_go2": robot}.__getitem__,
            Cache=lambda: SimpleNamespace(dir=Path("/somewhere/cache")),
            MenagerieError=MenagerieError,
            DownloadError=DownloadError,
        )
        monkeypatch.setitem(sys.modules, "mujoco_menagerie", package)

    return install


def test_a_robot_is_had_by_its_name_in_menagerie(pretend, tmp_path):
    pretend()
    robot = mujoco_robot("menagerie:unitree_go2", frame_skip=10)
    assert (robot.name, robot.xml) == ("unitree-go2", tmp_path / "scene.xml")
    assert robot.load_model().nu == 2
    named = mujoco_robot("menagerie:unitree_go2/go2", frame_skip=10, name="mine")
    assert (named.name, named.xml) == ("mine", tmp_path / "go2.xml")


def test_a_path_is_a_path():
    assert menagerie_name("folder/robot.xml") is None
    assert menagerie_name(Path("menagerie/robot.xml")) is None
    assert menagerie_name("menagerie:franka_fr3/fr3") == "franka_fr3"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("menagerie:unitree_go3", "'unitree_go3': did you mean unitree_go2 or unitree_g1?"),
        ("menagerie:fr3", "of MuJoCo Menagerie 'fr3': known: unitree_g1, unitree_go2"),
        ("menagerie:", "robot of MuJoCo Menagerie '': known: unitree_g1"),
        ("menagerie:unitree_go2/go", "entry of menagerie:unitree_go2 'go': did you mean go2?"),
    ],
)
def test_an_unknown_name_is_answered_by_the_nearest_ones(pretend, reference, message):
    pretend()
    with pytest.raises(InputError) as caught:
        mujoco_robot(reference, frame_skip=10)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            DownloadError("https://host/go2.tar.xz:\n<urlopen error unreachable>"),
            r"cannot be downloaded \(https://host/go2.tar.xz: <urlopen error unreachable>\); "
            r"connect to the Internet once, which keeps it in /somewhere/cache, or set "
            r"MENAGERIE_ROOT to a checkout of https://github.com/",
        ),
        (MenagerieError("'unitree_go2' not found"), r"'unitree_go2' not found$"),
        (
            PermissionError(13, "Permission denied"),
            r"cannot be kept in /somewhere/cache \(.*denied\); set MENAGERIE_CACHE_DIR to a folder",
        ),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line(pretend, monkeypatch, error, message):
    monkeypatch.delenv("MENAGERIE_ROOT", raising=False)
    pretend(error)
    with pytest.raises(InputError, match=f"^model menagerie:unitree_go2: {message}") as caught:
        menagerie_file("menagerie:unitree_go2")
    assert "\n" not in str(caught.value)


def test_a_checkout_without_the_robot_may_be_left_out(pretend, monkeypatch):
    monkeypatch.setenv("MENAGERIE_ROOT", "/old")
    pretend(MenagerieError("'unitree_go2' not found under MENAGERIE_ROOT=/old"))
    with pytest.raises(InputError, match="MENAGERIE_ROOT=/old; unset MENAGERIE_ROOT to download"):
        menagerie_file("menagerie:unitree_go2")


def test_without_the_package_the_message_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    with pytest.raises(InputError, match=r"pip install 'metarl-robotics\[robots\]', or give the"):
        mujoco_robot("menagerie:unitree_go2", frame_skip=10)
