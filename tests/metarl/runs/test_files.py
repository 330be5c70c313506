"""Writing of files: whole or not at all."""

import pytest

from metarl.runs import files


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
