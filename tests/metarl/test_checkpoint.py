"""Checkpoints are whole or absent, and nothing that is damaged is loaded."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shutil
import struct
from collections import namedtuple

import pytest
import safetensors.torch
import torch
from runs import TINY, assert_same_state, run_with, state_at

from metarl import checkpoint, files, policy_folder, run_folder
from metarl.checkpoint import (
    create_run,
    load_checkpoint,
    load_policy,
    load_run_config,
    locked,
    save_checkpoint,
    save_policy,
    update_run,
)
from metarl.config import to_json
from metarl.errors import RunError
from metarl.policies import GaussianMlpPolicy
from metarl_envs import get_family

POLICY = GaussianMlpPolicy.for_family(get_family("navigation"), TINY.policy)
FILES = ("model.safetensors", "config.json", "training.safetensors", "training.json")


class Killed(BaseException):
    """Ends a process without running any clean-up for ordinary errors."""


def refused(folder, iteration=2):
    """The one line with which a checkpoint is refused."""
    with pytest.raises(RunError) as caught:
        load_checkpoint(folder, iteration)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def edit_json(path, reseal=True, **changes):
    """Change a file's object the way another version of this code might have written it."""
    data = {k: v for k, v in json.loads(path.read_bytes()).items() if k != files.SEAL} | changes
    path.write_bytes(files.sealed_json(data) if reseal else json.dumps(data).encode())


# ---- what is saved comes back --------------------------------------------------------------------


def test_a_checkpoint_brings_back_every_bit(tmp_path):
    run = run_with(tmp_path / "run", 3)
    config, state = load_checkpoint(run)
    assert config == TINY
    assert_same_state(state, state_at(3))


def test_restored_random_streams_go_on_where_they_were(tmp_path):
    original = state_at(3)
    run = run_with(tmp_path / "run", 3)
    _, restored = load_checkpoint(run)
    for name in ("tasks", "resets", "actions", "evaluation"):
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
    assert not list(run.rglob("*.tmp"))


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


def test_a_missing_iteration_is_named_with_those_that_exist(tmp_path):
    run = run_with(tmp_path / "run", 2, 5)
    assert "000005, 000002" in refused(run, 3)


def test_other_versions_of_what_decides_the_numbers_are_warned_of(tmp_path, monkeypatch):
    run = run_with(tmp_path / "run", 1)
    monkeypatch.setattr(checkpoint, "versions", lambda: {"mujoco": "9.9"})
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
        assert not list(run.rglob("*.tmp"))
        if finished:
            assert fatal > 6  # all of the writes were tried
            return
    pytest.fail("the save never finished")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint_and_no_half_one(tmp_path, monkeypatch, failing):
    run = run_with(tmp_path / "run", 1)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, failing, full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(run, TINY, state_at(2))
    monkeypatch.undo()
    assert not list(run.rglob("*.tmp"))
    assert_same_state(load_checkpoint(run)[1], state_at(1))


# ---- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_found(tmp_path, name):
    run = run_with(tmp_path / "run", 1, 2)
    path = run / "checkpoints" / "000002" / name
    whole = path.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 60)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            _, state = load_checkpoint(run, 2)
        except RunError as error:
            assert "\n" not in str(error)
        else:  # white space between JSON tokens
            assert name.endswith(".json")
            assert_same_state(state, state_at(2))


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
    with pytest.raises(RunError, match="none of its checkpoints can be read"):
        load_checkpoint(run)


def test_a_half_written_checkpoint_is_not_one(tmp_path):
    run = run_with(tmp_path / "run", 1)
    shutil.copytree(run / "checkpoints" / "000001", run / "checkpoints" / "000002.tmp")
    assert load_checkpoint(run)[1].iteration == 1


# ---- hostile and foreign files -------------------------------------------------------------------


def with_weights(folder, content):
    """A policy folder whose weights file is `content`, with a fitting sha256."""
    save_policy(folder, TINY, POLICY, state_at(1).params, {})
    (folder / "model.safetensors").write_bytes(content)
    edit_json(folder / "config.json", sha256=files.sha256(content))
    return folder


def header(entries, data=b""):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def policy_refused(folder):
    with pytest.raises(RunError) as caught:
        load_policy(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tensors(**changes):
    return safetensors.torch.save(
        {k: v.contiguous() for k, v in (state_at(1).params | changes).items()}
    )


def test_sound_weights_are_read(tmp_path):
    saved = load_policy(with_weights(tmp_path / "policy", tensors()))
    assert torch.equal(saved.params["weight_0"], state_at(1).params["weight_0"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (tensors(weight_0=torch.full((2, 4), torch.nan)), "weight_0 holds NaN"),
        (tensors(bias_0=torch.full((4,), -torch.inf)), "bias_0 holds NaN or infinite"),
        (tensors(weight_0=torch.zeros(2, 5)), r"weight_0 has shape \[2, 5\], expected \[2, 4\]"),
        (tensors(weight_0=torch.zeros(2, 4).double()), "weight_0 has dtype F64"),
        (tensors(weight_0=torch.zeros(2, 4).bfloat16()), "weight_0 has dtype BF16"),
        (tensors(extra=torch.zeros(1)), "unexpected tensors"),
        (safetensors.torch.save({"weight_0": torch.zeros(2, 4)}), "missing"),
        (tensors() + b"more", "truncated|expected"),
        (struct.pack("<Q", 2**62) + b"{}", "header does not fit"),
        (struct.pack("<Q", 4) + b"[1] ", "unreadable header"),
        (struct.pack("<Q", 4) + b"\xff\xff\xff\xff", "unreadable header"),
        (header({"weight_0": {"dtype": "F32", "shape": [10**9, 10**9]}}), "missing"),
        (header(dict.fromkeys(state_at(1).params, 3)), "shape None"),
        (
            header({name: {"shape": [2**40], "dtype": "F32"} for name in state_at(1).params}),
            "shape",
        ),
        (b"", "truncated"),
        (b"PK\x03\x04 not a safetensors file at all", "header does not fit"),
    ],
)
def test_wrong_weights_are_refused(tmp_path, content, complaint):
    message = policy_refused(with_weights(tmp_path / "policy", content))
    assert re.search(complaint, message), message


def test_a_newer_schema_is_refused_with_the_version_that_wrote_it(tmp_path):
    run = run_with(tmp_path / "run", 2)
    for name in ("config.json", "training.json"):
        path = run / "checkpoints" / "000002" / name
        # A future version may well seal its files otherwise.
        edit_json(path, reseal=False, schema=policy_folder.SCHEMA + 1, versions={"metarl": "9.9"})
        message = refused(run)
        assert "metarl 9.9" in message
        assert "pip install -U metarl-robotics" in message


@pytest.mark.parametrize("schema", [0, -1, "1", None, 1.5, [1]])
def test_a_schema_that_is_no_version_is_refused(tmp_path, schema):
    save_policy(tmp_path / "policy", TINY, POLICY, state_at(1).params, {})
    edit_json(tmp_path / "policy" / "config.json", schema=schema)
    assert "schema" in policy_refused(tmp_path / "policy")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"config": None}, "config"),
        ({"config": to_json(TINY) | {"unheard_of": 1}}, "unheard_of"),
        ({"config": to_json(TINY) | {"horizon": 0}}, "horizon = 0"),
        ({"config": to_json(TINY) | {"horizon": "long"}}, "horizon"),
        ({"spaces": None}, "spaces"),
        ({"spaces": {"observation_size": 2, "action_low": 1, "action_high": [1]}}, "spaces"),
        (
            {"spaces": {"observation_size": 3, "action_low": [-1, -1], "action_high": [1, 1]}},
            "spaces of navigation have changed",
        ),
        ({"sha256": None}, "sha256"),
        ({"format": "metarl-run"}, "not a metarl-policy"),
    ],
)
def test_a_foreign_config_is_refused(tmp_path, changes, complaint):
    save_policy(tmp_path / "policy", TINY, POLICY, state_at(1).params, {})
    edit_json(tmp_path / "policy" / "config.json", **changes)
    assert complaint in policy_refused(tmp_path / "policy")


@pytest.mark.parametrize("sizes", [[10**12, 10**12], [10**6, 10**6], [2**62]])
def test_a_network_that_fits_no_memory_is_refused_before_any_is_taken(tmp_path, sizes):
    save_policy(tmp_path / "policy", TINY, POLICY, state_at(1).params, {})
    config = to_json(TINY)
    config["policy"] = dict(config["policy"]) | {"hidden_sizes": sizes}
    edit_json(tmp_path / "policy" / "config.json", config=config)
    policy_refused(tmp_path / "policy")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"{}" + b" " * 5_000_000],
    ids=["empty", "open", "list", "null", "binary", "deep", "large"],
)
def test_what_is_not_our_json_is_refused(tmp_path, content):
    save_policy(tmp_path / "policy", TINY, POLICY, state_at(1).params, {})
    (tmp_path / "policy" / "config.json").write_bytes(content)
    assert "config.json" in policy_refused(tmp_path / "policy")


# ---- policy folders ------------------------------------------------------------------------------


def test_a_policy_folder_keeps_weights_and_metadata_and_can_be_moved(tmp_path):
    params = state_at(1).params
    noted = {"adapted": {"task": {"goal": [0.1, 0.2]}, "returns": [-9.5, float("nan")]}}
    save_policy(tmp_path / "a" / "policy", TINY, POLICY, params, noted)
    (tmp_path / "a" / "policy").rename(tmp_path / "moved")
    saved = load_policy(tmp_path / "moved")
    assert saved.policy == POLICY
    assert saved.config == TINY
    assert all(torch.equal(saved.params[name], value) for name, value in params.items())
    assert saved.metadata["adapted"] == {"task": {"goal": [0.1, 0.2]}, "returns": [-9.5, None]}
    assert {"metarl", "torch", "mujoco", "gymnasium", "numpy"} <= set(saved.metadata["versions"])
    assert len(saved.metadata["sha256"]) == 64


def test_a_policy_folder_says_what_it_was_trained_on(tmp_path):
    folder = save_policy(tmp_path / "policy", TINY, POLICY, state_at(1).params, {"iteration": 7})
    family = json.loads((folder / "config.json").read_bytes())["family"]
    assert family["name"] == "navigation"
    assert family["parameters"][0]["name"] == "goal"
    assert "[-0.5, 0.5]" in family["parameters"][0]["train"]
    card = (folder / "README.md").read_text()
    assert "goal" in card
    assert "iteration: 7" in card


def test_a_policy_is_not_written_over_anything_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="other files"):
        save_policy(tmp_path, TINY, POLICY, state_at(1).params, {})
    assert (tmp_path / "thesis.txt").exists()


def test_a_policy_is_written_over_an_older_one(tmp_path):
    for iteration in (1, 2):
        save_policy(tmp_path / "p", TINY, POLICY, state_at(iteration).params, {"n": iteration})
    assert load_policy(tmp_path / "p").metadata["n"] == 2


# ---- run folders ---------------------------------------------------------------------------------


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

    monkeypatch.setattr(run_folder, "replace_file", read_only)
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
