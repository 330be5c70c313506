"""Writing of files: whole or not at all."""

import pickle

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


@pytest.mark.parametrize("kind", [RunError, InputError])
def test_errors_are_one_line_whatever_names_are_in_them(kind):
    assert str(kind("runs/a\nb\r\nc\u2028d: no such folder")) == "runs/a b c d: no such folder"
    assert str(pickle.loads(pickle.dumps(kind("a\nb")))) == "a b"  # as worker processes send it
