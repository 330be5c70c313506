"""Places of results: free ones, and ones that can be written."""

from __future__ import annotations

import pytest

from metarl.errors import RunError
from metarl.runs import places
from metarl.runs.places import check_writable, free_folder


def test_no_two_processes_are_given_the_same_folder(tmp_path):
    wanted = tmp_path / "runs" / "x-0"
    assert [free_folder(wanted).name for _ in range(3)] == ["x-0", "x-0-2", "x-0-3"]


def test_a_place_that_can_be_written_is_not_made(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_named_before_any_work(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(RunError, match=r"/a: is a file, not a folder; .*--out"):
        check_writable(tmp_path / "a" / "b")


def test_a_read_only_folder_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(places.os, "access", lambda path, _: path != tmp_path)  # also for root
    with pytest.raises(RunError, match=f"{tmp_path}: cannot be written; .*--out"):
        check_writable(tmp_path / "a" / "b")
