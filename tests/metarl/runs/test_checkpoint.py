"""Checkpoints are whole or absent, and nothing that is damaged is loaded."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil

import pytest
import torch
from support.tiny_runs import TINY, assert_same_state, edit_json, run_with, state_at

from metarl.adaptation.learned_rates import MetaSgd
from metarl.errors import RunError
from metarl.outer.promp import ProMp
from metarl.runs import checkpoint, files, policy_folder, training_files
from metarl.runs.checkpoint import load_checkpoint, load_policy, save_checkpoint

RATES_AND_ADAM = dataclasses.replace(TINY, inner=MetaSgd(), outer=ProMp())
FILES = ("model.safetensors", "config.json", "training.safetensors", "training.json")


class Killed(BaseException):
    """Ends a process without running any clean-up for ordinary errors."""


def file_names(run):
    """Names of all files of a run, but of its lock."""
    return {path.name for path in run.rglob("*") if path.is_file()} - {".lock"}


def refused(folder, iteration=2):
    """The one line with which a checkpoint is refused."""
    with pytest.raises(RunError) as caught:
        load_checkpoint(folder, iteration)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


# ---- what is saved comes back --------------------------------------------------------------------


@pytest.mark.parametrize("config", [TINY, RATES_AND_ADAM], ids=["no optimiser", "Adam"])
def test_a_checkpoint_brings_back_every_bit(tmp_path, config):
    run = run_with(tmp_path / "run", 3, config=config)
    found, state = load_checkpoint(run)
    assert found == config
    assert_same_state(state, state_at(3, config))
    assert bool(state.optimizer) == (config is not TINY)


def test_restored_random_streams_go_on_where_they_were(tmp_path):
    original = state_at(3)
    run = run_with(tmp_path / "run", 3)
    _, restored = load_checkpoint(run)
    for name in ("init", "tasks", "resets", "actions", "evaluation", "search"):
        first = torch.rand(5, generator=getattr(original.generators, name))
        assert torch.equal(torch.rand(5, generator=getattr(restored.generators, name)), first)


def test_a_normaliser_is_part_of_the_policy(tmp_path):
    config = dataclasses.replace(
        TINY, policy=dataclasses.replace(TINY.policy, normalize_observations=True)
    )
    run = run_with(tmp_path / "run", 1, config=config)
    assert {"obs_mean", "obs_var", "obs_count"} <= set(load_policy(run).params)


def test_the_newest_five_are_kept_and_latest_names_the_newest(tmp_path):
    run = run_with(tmp_path / "run", *range(1, 9))
    assert [path.name for path in checkpoint.checkpoints(run)] == [
        f"{i:06d}" for i in range(8, 3, -1)
    ]
    assert (run / "checkpoints" / "latest").read_text() == "000008\n"
    assert file_names(run) == {*FILES, "README.md", "latest"}


def test_a_checkpoint_of_an_earlier_iteration_is_not_pruned_by_damaged_later_ones(tmp_path):
    run = run_with(tmp_path / "run", 1, *range(11, 15))
    for later in checkpoint.checkpoints(run)[:-1]:
        (later / "model.safetensors").write_bytes(b"")
    save_checkpoint(run, TINY, state_at(2))
    with pytest.warns(UserWarning, match="damaged"):
        assert load_checkpoint(run)[1].iteration == 2


def test_saving_an_iteration_again_replaces_it(tmp_path):
    run = run_with(tmp_path / "run", 2)
    again = dataclasses.replace(state_at(2), env_steps=7)
    save_checkpoint(run, TINY, again)
    assert_same_state(load_checkpoint(run)[1], again)


def test_the_optimiser_of_another_configuration_is_refused(tmp_path):
    run = run_with(tmp_path / "run", 2)
    other = dataclasses.replace(state_at(2), optimizer=state_at(2, RATES_AND_ADAM).optimizer)
    save_checkpoint(run, TINY, other)
    message = refused(run)
    assert "training.safetensors" in message
    assert "optimizer.adam.first.weight_0" in message


def test_a_missing_iteration_is_named_with_those_that_exist(tmp_path):
    run = run_with(tmp_path / "run", 2, 5)
    assert "000005, 000002" in refused(run, 3)


def test_other_versions_of_what_decides_the_numbers_are_warned_of(tmp_path, monkeypatch):
    run = run_with(tmp_path / "run", 1)
    monkeypatch.setattr(training_files, "versions", lambda: {"mujoco": "9.9"})
    with pytest.warns(UserWarning, match=r"mujoco .* \(now 9\.9\)"):
        load_checkpoint(run)


# ---- interrupted writes --------------------------------------------------------------------------


@pytest.mark.parametrize("iteration", [4, 3], ids=["a new one", "one that exists"])
def test_a_kill_between_any_two_writes_loses_nothing(tmp_path, monkeypatch, iteration):
    real = {"replace": os.replace, "fsync": os.fsync}
    for fatal in range(1, 100):
        folder = tmp_path / f"kill{fatal}"
        run = run_with(folder, 2, 3)
        calls = 0

        def step(name, *arguments, fatal=fatal):
            nonlocal calls
            calls += 1
            if calls == fatal:
                raise Killed
            return real[name](*arguments)

        new = dataclasses.replace(state_at(iteration), env_steps=12345)
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "replace", lambda *a: step("replace", *a))
            patch.setattr(files.os, "fsync", lambda *a: step("fsync", *a))
            try:
                save_checkpoint(run, TINY, new)
                finished = True
            except Killed:
                finished = False
        _, found = load_checkpoint(run)
        if found.env_steps == 12345:
            assert_same_state(found, new)
        else:
            assert not finished
            assert found.iteration in (2, 3)
            assert_same_state(found, state_at(found.iteration))
        save_checkpoint(run, TINY, new)  # what a resumed run does next
        assert_same_state(load_checkpoint(run)[1], new)
        assert file_names(run) == {*FILES, "README.md", "latest"}
        if finished:
            assert fatal > 6  # all of the writes were tried
            return
    pytest.fail("the save never finished")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint_and_no_half_one(tmp_path, monkeypatch, failing):
    run = run_with(tmp_path / "run", 1)
    before = sorted(run.rglob("*"))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, failing, full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(run, TINY, state_at(2))
    monkeypatch.undo()
    assert sorted(run.rglob("*")) == before
    assert_same_state(load_checkpoint(run)[1], state_at(1))


# ---- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_one_flipped_bit_is_found(tmp_path, name):
    run = run_with(tmp_path / "run", 1, 2)
    path = run / "checkpoints" / "000002" / name
    whole = path.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 60)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(RunError) as caught:
            load_checkpoint(run, 2)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_a_truncated_file_is_refused(tmp_path, name, share):
    run = run_with(tmp_path / "run", 1, 2)
    path = run / "checkpoints" / "000002" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(run)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(tmp_path, name):
    run = run_with(tmp_path / "run", 1, 2)
    (run / "checkpoints" / "000002" / name).unlink()
    assert name in refused(run)


@pytest.mark.parametrize("names", [FILES[:1], FILES[:2], FILES[2:3], FILES[3:], FILES[2:], FILES])
def test_files_swapped_between_checkpoints_are_refused(tmp_path, names):
    run = run_with(tmp_path / "run", 1, 2)
    for name in names:
        shutil.copy(run / "checkpoints" / "000001" / name, run / "checkpoints" / "000002" / name)
    refused(run)


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(tmp_path):
    run = run_with(tmp_path / "run", 1, 2)
    (run / "checkpoints" / "000002" / "model.safetensors").write_bytes(b"12345678")
    with pytest.warns(UserWarning, match=r"skipped .*000002.*truncated"):
        _, state = load_checkpoint(run)
    assert_same_state(state, state_at(1))
    with pytest.warns(UserWarning, match="skipped"):
        assert load_policy(run).metadata["iteration"] == 1


def test_a_run_with_only_damaged_checkpoints_is_refused(tmp_path):
    run = run_with(tmp_path / "run", 1)
    (run / "checkpoints" / "000001" / "training.json").write_text("{")
    with pytest.raises(RunError, match="none of its checkpoints can be used"):
        load_checkpoint(run)


def test_a_half_written_checkpoint_is_not_one(tmp_path):
    run = run_with(tmp_path / "run", 1)
    shutil.copytree(run / "checkpoints" / "000001", run / "checkpoints" / "000002.tmp")
    assert load_checkpoint(run)[1].iteration == 1


def test_a_newer_schema_is_refused_with_the_version_that_wrote_it(tmp_path):
    run = run_with(tmp_path / "run", 2)
    for name in ("config.json", "training.json"):
        path = run / "checkpoints" / "000002" / name
        # A future version may well seal its files otherwise.
        edit_json(path, schema=policy_folder.SCHEMA + 1, versions={"metarl": "9.9"})
        message = refused(run)
        assert "metarl 9.9" in message
        assert "pip install -U metarl-robotics" in message


def test_an_older_schema_is_refused_with_its_number(tmp_path):
    run = run_with(tmp_path / "run", 2)
    edit_json(run / "checkpoints" / "000002" / "config.json", schema=1)
    assert "schema = 1: must be 2" in refused(run)


# ---- kills, power cuts and moved folders ---------------------------------------------------------


def test_the_log_is_on_the_disk_before_a_checkpoint_that_counts_on_it(tmp_path, monkeypatch):
    run = run_with(tmp_path / "run")
    log = run / "metrics.jsonl"
    log.write_text("{}")
    steps, real = [], {"fsync": os.fsync, "replace": os.replace}

    def fsync(descriptor):
        steps.append("log" if os.path.sameopenfile(descriptor, opened.fileno()) else "other")
        real["fsync"](descriptor)

    def replace(old, new):
        steps.append(os.path.basename(new))
        real["replace"](old, new)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(files.os, "replace", replace)
    with log.open() as opened:
        save_checkpoint(run, TINY, state_at(1))
    assert steps.index("log") < steps.index("000001")


def test_what_killed_processes_left_is_cleared_away_and_latest_is_the_newest(tmp_path):
    run = run_with(tmp_path / "run", 1, 2)
    expected = sorted(run.rglob("*"))
    (run / "checkpoints" / "000003.1234abcd.tmp").mkdir()
    (run / "best.1234abcd.tmp").mkdir()
    for name in ("config.json.1234abcd.tmp", "metrics.jsonl.1234abcd.tmp"):
        (run / name).write_text("{")
    (run / "checkpoints" / "latest").write_text("000001\n")
    checkpoint.tidy(run)
    assert sorted(run.rglob("*")) == expected
    assert (run / "checkpoints" / "latest").read_text() == "000002\n"


def test_a_run_that_was_moved_while_it_is_trained_is_not_made_anew(tmp_path):
    run = run_with(tmp_path / "run", 1)
    run.rename(tmp_path / "moved")
    for save in (
        lambda: save_checkpoint(run, TINY, state_at(2)),
        lambda: checkpoint.save_best(run, TINY, state_at(2), 1.0),
    ):
        with pytest.raises(RunError, match=f"metarl resume {run}"):
            save()
    assert not run.exists()
    assert load_checkpoint(tmp_path / "moved")[1].iteration == 1
