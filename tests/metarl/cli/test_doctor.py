"""Each thing that is missing is found, with the command that fixes it."""

from __future__ import annotations

import errno
import os
import sys
from collections import namedtuple

import pytest

from metarl.cli import doctor
from metarl.cli.doctor import Doctor, Finding


@pytest.fixture
def no_display(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("MUJOCO_GL", raising=False)


def test_this_machine_can_run_metarl(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "render_with", lambda backend: "")
    assert Doctor().run() == 0
    shown = capsys.readouterr().out
    for name in ("python", "torch", "mujoco", "gymnasium", "CPU engine", "threads", "CUDA"):
        assert f" {name} " in shown
    assert "MISSING" not in shown


def test_something_required_that_is_missing_is_an_error(capsys, monkeypatch):
    missing = Finding("engine", False, "is gone", "fetch it", required=True)
    monkeypatch.setattr(doctor, "findings", lambda: iter([missing]))
    assert Doctor().run() == 1
    assert capsys.readouterr().out.splitlines()[1:3] == [
        "  MISSING engine             is gone",
        f"{'':29}fix: fetch it",
    ]


def test_something_optional_that_is_missing_is_none(capsys, monkeypatch):
    missing = Finding("movies", False, "is gone", "fetch it")
    monkeypatch.setattr(doctor, "findings", lambda: iter([missing]))
    assert Doctor().run() == 0
    assert "fix: fetch it" in capsys.readouterr().out


def test_a_broken_package_is_found_by_importing_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    broken = {finding.name: finding for finding in doctor.packages() if not finding.ok}
    assert set(broken) == {"gymnasium"}
    assert "pip install" in broken["gymnasium"].fix


def test_another_mujoco_than_the_one_that_is_tested_is_refused(monkeypatch):
    monkeypatch.setattr(doctor, "versions", lambda: {"mujoco": "3.9.0"})
    (finding,) = doctor.packages()
    assert not finding.ok
    assert "3.9.0, metarl needs 4.0." in finding.detail


def test_a_broken_engine_is_a_finding_not_a_crash(monkeypatch):
    monkeypatch.setitem(sys.modules, "metarl_envs", None)
    finding = doctor.engine()
    assert not finding.ok
    assert "\n" not in finding.detail


@pytest.mark.parametrize(
    ("problem", "gpu", "chosen", "detail"),
    [
        ("", True, "warp", "on the GPU"),
        ("", False, "cpu", "not used: no GPU"),
        ("Warp does not see it; pip install x", True, "cpu", "not used: Warp does not see it"),
    ],
)
def test_the_engine_of_auto_is_named_and_why_not_the_other(
    monkeypatch, problem, gpu, chosen, detail
):
    devices = []
    monkeypatch.setattr(
        "metarl_envs.warp_problem", lambda device: devices.append(device) or problem
    )
    monkeypatch.setattr(doctor, "cuda", lambda: Finding("CUDA", gpu, ""))
    monkeypatch.setattr(doctor, "render_with", lambda backend: "")
    found = {finding.name: finding for finding in doctor.findings()}
    warp, choice = found["warp engine"], found["--engine auto"]
    assert (warp.ok, warp.required, choice.ok) == (chosen == "warp", False, True)
    assert [device.type for device in devices] == ["cuda" if gpu else "cpu"]
    assert detail in warp.detail
    assert warp.fix == ("pip install x" if problem else "")
    assert choice.detail.split(";")[0] == chosen


@pytest.mark.usefixtures("no_display")
def test_the_first_backend_that_renders_is_named():
    finding = doctor.rendering(lambda backend: "" if backend == "osmesa" else "no library")
    assert finding.ok
    assert finding.detail == "osmesa renders"


@pytest.mark.usefixtures("no_display")
def test_if_no_backend_renders_the_debian_packages_are_named():
    finding = doctor.rendering(lambda backend: "no library")
    assert not finding.ok
    assert not finding.required
    assert "libegl-mesa0" in finding.fix
    assert all(backend in finding.detail for backend in ("egl", "osmesa", "glfw"))


def test_a_chosen_backend_that_fails_is_told_from_one_that_works(no_display, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    finding = doctor.rendering(lambda backend: "" if backend == "egl" else "no library")
    assert not finding.ok
    assert finding.fix == "export MUJOCO_GL=egl"


@pytest.mark.render
def test_egl_renders_in_a_process_of_its_own():
    assert doctor.render_with("egl") == ""


def test_an_unknown_backend_fails_in_one_line():
    problem = doctor.render_with("no-such-backend")
    assert "no-such-backend" in problem
    assert "\n" not in problem


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(doctor, "version_of", lambda distribution: "not installed")
    for distribution, extra in (("imageio-ffmpeg", "video"), ("mujoco-menagerie", "robots")):
        finding = doctor.optional(distribution)
        assert finding.fix == f"pip install 'metarl-robotics[{extra}]'"
        assert not finding.required


def test_a_folder_that_cannot_be_written_is_found(tmp_path, monkeypatch):
    def read_only(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", read_only)
    finding = doctor.folder(tmp_path / "not" / "yet" / "there")
    assert not finding.ok
    assert "Read-only file system" in finding.detail
    assert "--run" in finding.fix


def test_a_disk_that_is_nearly_full_is_found(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**12, 10**12 - 10**8, 10**8)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    finding = doctor.folder(tmp_path)
    assert not finding.ok
    assert "0.1 GB free" in finding.detail
