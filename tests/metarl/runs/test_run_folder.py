"""Run folders: made once, checked before hours of training, one process at a time."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections import namedtuple

import pytest
from support.tiny_runs import TINY, run_with, state_at

from metarl.errors import RunError
from metarl.runs import run_folder
from metarl.runs.checkpoint import (
    create_run,
    load_checkpoint,
    load_policy,
    load_run_config,
    locked,
    save_checkpoint,
    update_run,
)


def test_a_run_keeps_its_configuration_and_every_command(tmp_path):
    run = run_with(tmp_path / "run")
    longer = dataclasses.replace(TINY, iterations=99)
    update_run(run, longer, ["metarl", "resume"])
    assert load_run_config(run) == longer
    commands = json.loads((run / "config.json").read_bytes())["commands"]
    assert commands == [["metarl", "train"], ["metarl", "resume"]]


def test_a_folder_that_holds_a_run_is_refused_with_the_command_that_continues_it(tmp_path):
    run = run_with(tmp_path / "run", 1)
    with pytest.raises(RunError, match=f"metarl resume {run}"):
        create_run(run, TINY, [])


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "notes").write_text("")
    for path in (tmp_path, tmp_path / "notes"):
        with pytest.raises(RunError, match="not an empty folder"):
            create_run(path, TINY, [])


def test_an_empty_folder_becomes_a_run(tmp_path):
    create_run(tmp_path, TINY, [])
    assert load_run_config(tmp_path) == TINY


def test_a_folder_that_cannot_be_made_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .* choose another --run"):
        create_run(tmp_path / "file" / "run", TINY, [])


def test_a_read_only_disk_is_refused_at_the_start(tmp_path, monkeypatch):
    def read_only(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(run_folder, "write_json", read_only)
    with pytest.raises(RunError, match="Read-only file system"):
        create_run(tmp_path / "run", TINY, [])


def test_a_nearly_full_disk_is_refused_at_the_start(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**12, 10**12 - 10**6, 10**6)
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RunError, match="1 MB free"):
        create_run(tmp_path / "run", TINY, [])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("make", [False, True], ids=["missing", "empty"])
@pytest.mark.parametrize("read", [load_checkpoint, load_policy, load_run_config])
def test_what_is_no_run_is_refused(tmp_path, make, read):
    if make:
        (tmp_path / "x").mkdir()
    with pytest.raises(RunError, match="neither a run" if make else "no such folder"):
        read(tmp_path / "x")


def test_a_run_without_checkpoints_says_how_to_get_one(tmp_path):
    run = run_with(tmp_path / "run")
    with pytest.raises(RunError, match="metarl resume"):
        load_policy(run)


def test_one_process_at_a_time_trains_in_a_run(tmp_path):
    run = run_with(tmp_path / "run")
    with locked(run), pytest.raises(RunError, match="another process"), locked(run):
        pass
    with locked(run):
        pass


# ---- beginnings that are killed, or made twice ---------------------------------------------------


class Killed(BaseException):
    """Ends a process without running any clean-up for ordinary errors."""


def test_a_run_is_one_once_all_that_it_begins_with_is_there(tmp_path):
    run = tmp_path / "run"

    def prepare(folder):
        assert not (folder / "config.json").exists()
        save_checkpoint(folder, TINY, state_at(0))

    create_run(run, TINY, [], prepare)
    assert load_checkpoint(run)[1].iteration == 0
    assert load_run_config(run) == TINY


def test_a_run_that_is_killed_before_it_begins_can_be_begun_again(tmp_path):
    run = tmp_path / "run"

    def killed(folder):
        (folder / "wandb.json").touch()
        (folder / "wandb.json.1234abcd.tmp").touch()
        (folder / "config.json.1234abcd.tmp").touch()
        (folder / "checkpoints" / "000000.1234abcd.tmp").mkdir(parents=True)
        raise Killed

    with pytest.raises(Killed):
        create_run(run, TINY, [], killed)
    with pytest.raises(RunError):
        load_run_config(run)
    create_run(run, TINY, [])
    assert load_run_config(run) == TINY


def test_a_run_that_is_killed_after_its_first_checkpoint_can_be_resumed(tmp_path):
    run = tmp_path / "run"

    def killed(folder):
        save_checkpoint(folder, TINY, state_at(0))
        raise Killed

    with pytest.raises(Killed):
        create_run(run, TINY, [], killed)
    with pytest.raises(RunError, match="already holds a run"):
        create_run(run, TINY, [])
    assert load_checkpoint(run)[1].iteration == 0


def test_of_two_processes_that_make_the_same_run_one_is_refused(tmp_path):
    run = tmp_path / "run"

    def other(folder):
        with pytest.raises(RunError, match="another process is training"):
            create_run(folder, dataclasses.replace(TINY, iterations=99), [])

    create_run(run, TINY, [], other)
    assert load_run_config(run) == TINY


def test_a_run_that_another_process_made_in_the_meantime_is_refused(tmp_path, monkeypatch):
    run = tmp_path / "run"
    usage = run_folder.shutil.disk_usage

    def made_by_another(path):
        monkeypatch.setattr(run_folder.shutil, "disk_usage", usage)
        create_run(run, TINY, [])
        return usage(path)

    monkeypatch.setattr(run_folder.shutil, "disk_usage", made_by_another)
    with pytest.raises(RunError, match="already holds a run"):
        create_run(run, dataclasses.replace(TINY, iterations=99), [])
    assert load_run_config(run) == TINY
