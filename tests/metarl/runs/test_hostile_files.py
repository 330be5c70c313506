"""Files from strangers: none of them runs code, leads elsewhere, or takes memory that it claims."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_memory import tiny_memory
from support.tiny_runs import TINY, edit_json, run_with

import metarl
from metarl.deploy import episode_files
from metarl.errors import RunError
from metarl.methods.config import to_json
from metarl.runs.checkpoint import (
    load_checkpoint,
    load_policy,
    locked,
    save_checkpoint,
    save_policy,
)
from metarl.runs.files import read_json, write_json
from metarl.runs.metrics_log import read_metrics
from metarl_envs import InputError


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def proof(tmp_path):
    """A folder that is not there unless a payload has run."""
    return tmp_path / "executed"


def archive(**entries):
    content = io.BytesIO()
    np.savez(content, **{name.replace("__", "."): value for name, value in entries.items()})
    return content.getvalue()


def poisons(proof):
    """Files whose readers in other libraries would run the payload."""
    payload, torch_file = Payload(proof), io.BytesIO()
    torch.save({"weight_0": payload}, torch_file)
    objects = np.array([payload], dtype=object)
    npy = io.BytesIO()
    np.save(npy, objects)
    return {
        "pickle": pickle.dumps(payload),
        "torch.save": torch_file.getvalue(),
        "object array": npy.getvalue(),
        "archive of object arrays": archive(__0__rewards=objects, weight_0=objects),
        "python": f"import os\nos.mkdir({str(proof)!r})\n".encode(),
        "json with a constructor": b'{"__reduce__": ["os.mkdir", ["%s"]], "py/object": "os.mkdir"}'
        % str(proof).encode(),
    }


POISONS = tuple(poisons(Path("nowhere")))


def test_the_payloads_are_sharp(proof):
    pickle.loads(poisons(proof)["pickle"])
    assert proof.is_dir()
    proof.rmdir()
    np.load(io.BytesIO(poisons(proof)["object array"]), allow_pickle=True)
    assert proof.is_dir()
    proof.rmdir()
    torch.load(io.BytesIO(poisons(proof)["torch.save"]), weights_only=False)
    assert proof.is_dir()


@pytest.mark.parametrize("poison", POISONS)
def test_no_file_of_a_policy_or_a_run_is_executed(tmp_path, proof, poison):
    content = poisons(proof)[poison]
    saved = tiny_memory()
    belief = {name: value[0] for name, value in saved.begin(1).items()}
    policy = save_policy(
        tmp_path / "policy", type(saved)(saved.policy, saved.params, saved.config, {}, {}, belief)
    )
    run = run_with(tmp_path / "run", 1)
    for name in ("policy.pkl", "metarl.py", "sitecustomize.py", "model.pt"):  # beside the files
        (policy / name).write_bytes(content)
    load_policy(policy)
    checkpoint = run / "checkpoints" / "000001"
    cases = [(policy / name, load_policy, policy) for name in os.listdir(policy) if "." in name]
    cases += [(checkpoint / name, load_checkpoint, run) for name in os.listdir(checkpoint)]
    read = ("config.json", "model.safetensors", "belief.safetensors", "training.json")
    read += ("training.safetensors",)
    for path, load, folder in cases:
        whole = path.read_bytes()
        path.write_bytes(content)
        if path.name in read:
            with pytest.raises(RunError, match=path.name):
                load(folder)
        else:
            load(folder)
        path.write_bytes(whole)
    assert not proof.exists()


@pytest.mark.parametrize("poison", POISONS)
def test_no_log_is_executed(tmp_path, proof, poison):
    content = poisons(proof)[poison]
    (tmp_path / "episodes.npz").write_bytes(content)
    with pytest.raises(RunError, match=r"episodes\.npz: not a readable file of episodes"):
        metarl.load_episodes(tmp_path / "episodes.npz")
    with zipfile.ZipFile(tmp_path / "inside.npz", "w") as packed:
        packed.writestr("0.rewards.npy", content)
    with pytest.raises(RunError, match=r"inside\.npz: not a readable file of episodes"):
        metarl.load_episodes(tmp_path / "inside.npz")
    (tmp_path / "metrics.jsonl").write_bytes(content + b"\n")
    with pytest.warns(UserWarning, match=r"metrics\.jsonl: line 1 is damaged"):
        assert read_metrics(tmp_path) == []
    assert not proof.exists()


def test_names_in_files_are_no_paths(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for name in ("../thesis.npy", "/thesis.npy", "0.rewards/../../thesis.npy"):
        with zipfile.ZipFile(home / "log.npz", "w") as packed:
            packed.writestr(name, archive(x=np.ones(1)))
        with pytest.raises(RunError, match=r"log\.npz: "):
            metarl.load_episodes(home / "log.npz")
    policy = save_policy(home / "policy", tiny_memory())
    edit_json(policy / "config.json", config=to_json(TINY) | {"family": "../../thesis"})
    with pytest.raises(RunError, match=r"config\.json|weights|model\.safetensors"):
        load_policy(policy)
    run = run_with(home / "run", 1)
    checkpoint = run / "checkpoints" / "000001"
    for name in ("config.json", "training.json"):
        data = read_json(checkpoint / name)
        if name == "config.json":
            data["config"]["family"] = "../../thesis"
        edit_json(checkpoint / name, **data)
    with pytest.raises(InputError, match="thesis"):
        load_checkpoint(run)  # no such family: nothing is written for it
    assert sorted(os.listdir(tmp_path)) == ["home"]


def test_what_has_no_end_is_not_read(tmp_path):
    policy = save_policy(tmp_path / "policy", tiny_memory())
    for name in ("config.json", "model.safetensors"):
        whole = (policy / name).read_bytes()
        for make in (lambda path: path.symlink_to("/dev/zero"), os.mkfifo, os.mkdir):
            (policy / name).unlink()
            make(policy / name)
            with pytest.raises(
                RunError, match=r"neither a run nor a policy|model\.safetensors: is not a file"
            ):
                load_policy(policy)
            (policy / name).rmdir() if make is os.mkdir else (policy / name).unlink()
            (policy / name).write_bytes(whole)
    run = run_with(tmp_path / "run", 1)
    training = run / "checkpoints" / "000001" / "training.safetensors"
    training.unlink()
    training.symlink_to("/dev/zero")
    with pytest.raises(RunError, match=r"training\.safetensors: is not a file"):
        load_checkpoint(run)
    (run / "metrics.jsonl").symlink_to("/dev/zero")
    with pytest.raises(RunError, match=r"metrics\.jsonl: is not a file"):
        read_metrics(run)
    os.mkfifo(tmp_path / "log.npz")
    with pytest.raises(RunError, match=r"log\.npz: is not a file"):
        metarl.load_episodes(tmp_path / "log.npz")


def test_links_in_a_run_lead_no_writing_out_of_it(tmp_path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "text").write_text("years of work")
    run = run_with(tmp_path / "run", 1)
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(thesis / "text")
    (run / "config.json.tmp").symlink_to(thesis / "text")
    (run / "checkpoints" / "000000").symlink_to(thesis, target_is_directory=True)
    (run / "checkpoints" / "latest.tmp").symlink_to(thesis / "text")
    with locked(run):
        write_json(run / "config.json", read_json(run / "config.json"))
        state = load_checkpoint(run, 1)[1]
        save_checkpoint(run, TINY, state, keep=1)
    assert sorted(os.listdir(run / "checkpoints")) == ["000001", "latest"]
    assert not (run / "config.json").is_symlink()
    assert (thesis / "text").read_text() == "years of work"


def test_archives_that_unpack_to_more_than_their_size_says_are_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "log.npz"
    monkeypatch.setattr(episode_files, "MOST_BYTES", 2**20)

    def bomb(claimed):
        """32 MiB of zeros in 32 KiB, of another size by its directory."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("0.rewards.npy", bytes(2**25))
        content = bytearray(path.read_bytes())
        at = content.index(b"PK\x01\x02") + 24
        content[at : at + 4] = struct.pack("<I", claimed)
        path.write_bytes(content)

    for claimed, complaint in ((2**25, "unpacks to more than 1,048,576 bytes"), (100, "episodes")):
        bomb(claimed)
        tracemalloc.start()
        with pytest.raises(RunError, match=complaint):
            metarl.load_episodes(path)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 2**22
    path.write_bytes(bytes(2**20 + 1))
    with pytest.raises(RunError, match=r"log\.npz: larger than 1,048,576 bytes"):
        metarl.load_episodes(path)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<U999999999', 'fortran_order': False, 'shape': (9,)}",
        "(" * 5000,
        "[" * 300 + "]" * 300,
        "__import__('os').mkdir('executed')",
    ],
    ids=["huge", "negative", "objects", "long text", "open", "deep", "call"],
)
def test_headers_of_arrays_are_checked_before_memory_is_taken(tmp_path, monkeypatch, header):
    monkeypatch.chdir(tmp_path)
    text = header.encode() + b"\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(8)
    with zipfile.ZipFile("log.npz", "w") as packed:
        packed.writestr("0.rewards.npy", npy)
    with pytest.raises(RunError, match=r"log\.npz: not a readable file of episodes"):
        metarl.load_episodes("log.npz")
    assert not Path("executed").exists()


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, 100_000_001])
def test_giant_headers_of_tensors_are_refused(tmp_path, length):
    run = run_with(tmp_path / "run", 1)
    path = run / "checkpoints" / "000001" / "training.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    with pytest.raises(RunError, match=r"training\.safetensors: .*header"):
        load_checkpoint(run)


@pytest.mark.parametrize(
    "value",
    ["9" * 5000, "1e999", "-1e999", "NaN", "[" * 900 + "]" * 900, '"\\ud800"', '{"a": ' * 2000],
    ids=["long", "infinite", "minus infinite", "NaN", "deep", "surrogate", "open"],
)
@pytest.mark.parametrize("field", ["schema", "iteration", "crc32"])
def test_json_of_odd_values_is_refused(tmp_path, field, value):
    run = run_with(tmp_path / "run", 1)
    path = run / "checkpoints" / "000001" / "training.json"
    data = read_json(path) | {field: "HERE"}
    path.write_text(json.dumps(data).replace('"HERE"', value))
    with pytest.raises(RunError, match=r"training\.json: ") as told:
        load_checkpoint(run)
    assert "\n" not in str(told.value)
