"""The campaign of damaged files, in a few flips of each kind; and its own checks."""

from __future__ import annotations

import warnings

import pytest

from experiments.faults.bit_flips import Options, damaged, measure
from experiments.faults.damage import Loaded, fingerprint, kinds, outcome
from metarl.errors import RunError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return kinds(tmp_path_factory.mktemp("kinds"))


def test_damages_of_every_kind_of_file_are_seen_or_without_effect(made):
    rows = {name: measure(kind, Options(flips=12, cuts=3)) for name, kind in made.items()}
    assert {name: row["faults"] for name, row in rows.items()} == {name: [] for name in made}
    for name in ("weights of a policy", "training.safetensors", "ONNX export"):
        assert rows[name]["flips"] == {"refused": 12}
        assert rows[name]["cuts"] == {"refused": 3}
    assert rows["metrics.jsonl"]["flips"] == {"warned": 12}


def test_a_flip_changes_one_bit_and_a_cut_keeps_the_beginning():
    content = bytes(range(50))
    found = dict(damaged(content, Options(flips=20, cuts=5)))
    assert len(found) == 25
    for damage, changed in found.items():
        if damage.startswith("bit"):
            difference = int.from_bytes(content) ^ int.from_bytes(changed)
            assert difference.bit_count() == 1
        else:
            assert content.startswith(changed)
            assert damage == f"cut to {len(changed)} bytes"


def test_the_campaign_tells_what_loading_comes_to(tmp_path):
    path = tmp_path / "file"

    def warn(value):
        warnings.warn(f"{path} is damaged", stacklevel=1)
        return value

    def fail(error):
        raise error

    expected = fingerprint({"a": 1.0})
    for load, wanted in (
        (lambda: {"a": 1.0}, "no effect"),
        (lambda: {"a": 1.0 + 2**-52}, "fault: unseen"),
        (lambda: {"a": -1.0}, "fault: unseen"),
        (lambda: warn({"a": 2.0}), "warned"),
        (lambda: fail(RunError(f"{path}: damaged")), "refused"),
        (lambda: fail(RunError("damaged")), "fault: unclear: damaged"),
        (lambda: fail(KeyError("a")), "fault: KeyError: 'a'"),
    ):
        assert outcome(Loaded(path, load), expected) == wanted
