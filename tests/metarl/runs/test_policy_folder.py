"""A policy folder can be shared, and one that somebody tampered with is refused."""

from __future__ import annotations

import dataclasses
import json
import re
import struct

import pytest
import safetensors.torch
import torch
from support.tiny_memory import tiny_memory
from support.tiny_runs import TINY, edit_json, state_at

from metarl.adaptation.learned_rates import MetaSgd
from metarl.adaptation.none import Unadapted
from metarl.errors import RunError
from metarl.methods.config import to_json
from metarl.outer.rl2 import Rl2
from metarl.policies.mlp import GaussianMlpPolicy
from metarl.runs import files
from metarl.runs.checkpoint import SavedPolicy, load_policy, save_policy
from metarl_envs import get_family

POLICY = GaussianMlpPolicy.for_family(get_family("navigation"), TINY.policy)


def with_weights(folder, content):
    """A policy folder whose weights file is `content`, with a fitting sha256."""
    save_policy(folder, SavedPolicy(POLICY, state_at(1).params, TINY, {}))
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
        (tensors(weight_0=torch.zeros(2, 4).double()), "weight_0 has dtype torch.float64"),
        (tensors(weight_0=torch.zeros(2, 4).bfloat16()), "weight_0 has dtype torch.bfloat16"),
        (tensors(extra=torch.zeros(1)), "unexpected tensors"),
        (safetensors.torch.save({"weight_0": torch.zeros(2, 4)}), "missing"),
        (tensors() + b"more", "truncated|expected"),
        (struct.pack("<Q", 2**62) + b"{}", "header too large"),
        (struct.pack("<Q", 4) + b"[1] ", "invalid"),
        (struct.pack("<Q", 4) + b"\xff\xff\xff\xff", "invalid UTF-8"),
        (header({"weight_0": {"dtype": "F32", "shape": [10**9, 10**9]}}), "missing"),
        (header(dict.fromkeys(state_at(1).params, 3)), "invalid"),
        (
            header({name: {"shape": [2**40], "dtype": "F32"} for name in state_at(1).params}),
            "invalid",
        ),
        (b"", "truncated"),
        (b"PK\x03\x04 not a safetensors file at all", "header too large"),
    ],
)
def test_wrong_weights_are_refused(tmp_path, content, complaint):
    message = policy_refused(with_weights(tmp_path / "policy", content))
    assert re.search(complaint, message), message


@pytest.mark.parametrize("schema", [0, -1, "1", None, 1.5, [1]])
def test_a_schema_that_is_no_version_is_refused(tmp_path, schema):
    save_policy(tmp_path / "policy", SavedPolicy(POLICY, state_at(1).params, TINY, {}))
    edit_json(tmp_path / "policy" / "config.json", schema=schema)
    assert "schema" in policy_refused(tmp_path / "policy")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"config": None}, "config"),
        ({"config": to_json(TINY) | {"unheard_of": 1}}, "unheard_of"),
        ({"config": to_json(TINY) | {"horizon": 0}}, "horizon = 0"),
        ({"config": to_json(TINY) | {"horizon": "long"}}, "horizon"),
        ({"config": to_json(TINY) | {"method": "magic"}}, "unknown method 'magic'"),
        ({"config": to_json(TINY) | {"inner": {"kind": "magic"}}}, "config.inner.kind = 'magic'"),
        ({"config": to_json(TINY) | {"outer": 3}}, "config.outer.kind = None"),
        ({"schema": 1}, "schema = 1: must be 2"),
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
    save_policy(tmp_path / "policy", SavedPolicy(POLICY, state_at(1).params, TINY, {}))
    edit_json(tmp_path / "policy" / "config.json", **changes)
    assert complaint in policy_refused(tmp_path / "policy")


def test_settings_that_were_changed_by_hand_are_refused_until_their_checksum_is_deleted(tmp_path):
    folder = save_policy(tmp_path / "policy", SavedPolicy(POLICY, state_at(1).params, TINY, {}))
    path = folder / "config.json"
    data = json.loads(path.read_bytes())
    path.write_text(json.dumps(dict(reversed(data.items()))))  # another layout and order
    assert load_policy(folder).config.discount == 0.99
    data["config"]["discount"] = 0.9
    path.write_text(json.dumps(data))
    message = policy_refused(folder)
    assert message.startswith(f"{path}: its values have changed since metarl wrote them")
    assert message.endswith('if you changed them on purpose, delete the entry "crc32"')
    del data["crc32"]
    path.write_text(json.dumps(data))
    assert load_policy(folder).config.discount == 0.9


def test_a_policy_folder_without_its_weights_says_so(tmp_path):
    folder = save_policy(tmp_path / "policy", SavedPolicy(POLICY, state_at(1).params, TINY, {}))
    (folder / "model.safetensors").unlink()
    assert policy_refused(folder) == f"{folder / 'model.safetensors'}: no such file"


@pytest.mark.parametrize("sizes", [[10**12, 10**12], [10**6, 10**6], [2**62]])
def test_a_network_that_fits_no_memory_is_refused_before_any_is_taken(tmp_path, sizes):
    save_policy(tmp_path / "policy", SavedPolicy(POLICY, state_at(1).params, TINY, {}))
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
    save_policy(tmp_path / "policy", SavedPolicy(POLICY, state_at(1).params, TINY, {}))
    (tmp_path / "policy" / "config.json").write_bytes(content)
    assert "config.json" in policy_refused(tmp_path / "policy")


def test_a_policy_folder_keeps_weights_and_metadata_and_can_be_moved(tmp_path):
    params = state_at(1).params
    noted = {"adapted": {"task": {"goal": [0.1, 0.2]}, "returns": [-9.5, float("nan")]}}
    save_policy(tmp_path / "a" / "policy", SavedPolicy(POLICY, params, TINY, noted))
    (tmp_path / "a" / "policy").rename(tmp_path / "moved")
    saved = load_policy(tmp_path / "moved")
    assert saved.policy == POLICY
    assert saved.config == TINY
    assert all(torch.equal(saved.params[name], value) for name, value in params.items())
    assert saved.metadata["adapted"] == {"task": {"goal": [0.1, 0.2]}, "returns": [-9.5, None]}
    assert {"metarl", "torch", "mujoco", "gymnasium", "numpy"} <= set(saved.metadata["versions"])
    assert len(saved.metadata["sha256"]) == 64


def test_a_policy_folder_says_what_it_was_trained_on(tmp_path):
    folder = save_policy(
        tmp_path / "policy", SavedPolicy(POLICY, state_at(1).params, TINY, {"iteration": 7})
    )
    family = json.loads((folder / "config.json").read_bytes())["family"]
    assert family["name"] == "navigation"
    assert family["parameters"][0]["name"] == "goal"
    assert "[-0.5, 0.5]" in family["parameters"][0]["train"]
    card = (folder / "README.md").read_text()
    assert "goal" in card
    assert "iteration: 7" in card


def test_learned_rates_are_part_of_the_policy(tmp_path):
    config = dataclasses.replace(TINY, inner=MetaSgd())
    params = state_at(1, config).params
    folder = save_policy(tmp_path / "policy", SavedPolicy(POLICY, params, config, {}))
    saved = load_policy(folder)
    assert torch.equal(saved.params["adaptation.rate.weight_0"], torch.full((2, 4), 0.1))
    # A policy that holds them belongs to an adaptation that reads them.
    edit_json(folder / "config.json", config=to_json(TINY))
    assert "adaptation.rate.weight_0" in policy_refused(folder)


def test_the_card_names_the_method(tmp_path):
    for method, title in (("maml-trpo", "MAML-TRPO"), ("maml++", "MAML++")):
        config = dataclasses.replace(TINY, method=method, adaptation_steps=2)
        folder = save_policy(tmp_path / method, SavedPolicy(POLICY, state_at(1).params, config, {}))
        card = (folder / "README.md").read_text()
        assert f"meta-trained with {title} (2 adaptation" in card


def test_the_card_of_a_policy_that_takes_no_steps_says_when_it_adapts(tmp_path):
    config = dataclasses.replace(TINY, method="rl2", inner=Unadapted(), outer=Rl2())
    saved = SavedPolicy(POLICY, state_at(1).params, config, {})
    card = (save_policy(tmp_path / "policy", saved) / "README.md").read_text()
    assert "meta-trained with RL^2 (adapts within\nthe episode)" in card


def test_a_policy_is_not_written_over_anything_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="other files"):
        save_policy(tmp_path, SavedPolicy(POLICY, state_at(1).params, TINY, {}))
    assert (tmp_path / "thesis.txt").exists()


def test_a_policy_is_written_over_an_older_one(tmp_path):
    for iteration in (1, 2):
        save_policy(
            tmp_path / "p", SavedPolicy(POLICY, state_at(iteration).params, TINY, {"n": iteration})
        )
    assert load_policy(tmp_path / "p").metadata["n"] == 2


def test_a_belief_is_saved_checked_and_replaced_with_its_policy(tmp_path):
    saved = tiny_memory()
    belief = {name: torch.rand(value.shape[1:]) for name, value in saved.begin(1).items()}
    folder = save_policy(tmp_path / "policy", dataclasses.replace(saved, belief=belief))
    read = load_policy(folder).belief
    assert read.keys() == belief.keys()
    assert all(torch.equal(read[name], value) for name, value in belief.items())
    path = folder / "belief.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x01")
    with pytest.raises(RunError, match=r"belief\.safetensors: its sha256 is not the recorded one"):
        load_policy(folder)
    path.unlink()
    with pytest.raises(RunError, match=r"belief\.safetensors: no such file"):
        load_policy(folder)
    path.write_bytes(whole)
    save_policy(folder, saved)
    assert not path.exists()
    assert load_policy(folder).belief == {}
