"""Writing of files: whole or not at all."""

import errno
import pickle
import shutil
import sys

import pytest

from metarl.errors import RunError
from metarl.runs import files
from metarl_envs import InputError


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_file_that_cannot_be_replaced_stays_with_nothing_beside_it(
    tmp_path, monkeypatch, failing
):
    path = tmp_path / "config.json"
    files.replace_file(path, b"old")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(files.os, failing, full)
    with pytest.raises(OSError, match="No space"):
        files.replace_file(path, b"new")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [
        ("config.json", b"old")
    ]


def test_two_processes_that_write_one_file_at_once_each_write_it_whole(tmp_path, monkeypatch):
    path = tmp_path / "policy.onnx"
    real = files.write_synced

    def between(temporary, content):
        real(temporary, content)
        if content == b"first":
            files.replace_file(path, b"second, and longer")
            assert path.read_bytes() == b"second, and longer"

    monkeypatch.setattr(files, "write_synced", between)
    files.replace_file(path, b"first")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [
        ("policy.onnx", b"first")
    ]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_an_error_names_the_file(tmp_path, monkeypatch, failing):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, failing, full)
    with pytest.raises(OSError, match="No space") as caught:
        files.replace_file(tmp_path / "config.json", b"new")
    assert caught.value.filename == str(tmp_path / "config.json")


@pytest.mark.skipif(sys.platform != "linux", reason="two folders are swapped by Linux")
def test_a_folder_that_is_replaced_is_missing_at_no_moment(tmp_path, monkeypatch):
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / "old").touch()
    monkeypatch.setattr(files.os, "replace", None)  # would leave the name free for a moment
    with files.new_folder(folder) as temporary:
        (temporary / "new").touch()
        assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        "best",
        "best/new",
    ]


def test_folders_are_swapped_in_three_steps_where_the_system_cannot_in_one(tmp_path, monkeypatch):
    monkeypatch.setattr(files.sys, "platform", "darwin")
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / folder.name).touch()
    files.swap(one, other)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*/*"))] == [
        "one/other",
        "other/one",
    ]


@pytest.mark.parametrize("error", [OSError("full"), MemoryError(), KeyboardInterrupt()])
def test_a_folder_that_is_not_finished_leaves_what_was_there(tmp_path, error):
    folder = tmp_path / "best"
    folder.mkdir()
    with pytest.raises(type(error)), files.new_folder(folder) as temporary:
        (temporary / "half").touch()
        raise error
    assert list(tmp_path.rglob("*")) == [folder]


@pytest.mark.parametrize("kind", [RunError, InputError])
def test_errors_are_one_line_whatever_names_are_in_them(kind):
    assert str(kind("runs/a\nb\r\nc\u2028d: no such folder")) == "runs/a b c d: no such folder"
    assert str(pickle.loads(pickle.dumps(kind("a\nb")))) == "a b"  # as worker processes send it


def test_a_crash_while_a_folder_is_deleted_leaves_none_with_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / "config.json").write_text("{}")

    def crash(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", crash)
        files.remove_folder(folder)
    (left,) = tmp_path.iterdir()
    assert left.match("best.*.tmp")  # which is cleared away where a run goes on
    files.remove_folder(left)
    assert not any(tmp_path.iterdir())
