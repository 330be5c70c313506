"""Fuzzed files: checkpoints, logs, episodes and exports."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from torch import Generator

import metarl
from experiments.faults.damage import ITERATIONS, Loaded, fingerprint, kinds
from experiments.faults.fuzz_values import changed_tree
from experiments.faults.trying import Attempts, WrongOkError
from experiments.run_onnx import OnnxPolicy
from metarl.api.run import results
from metarl.deploy import MetaPolicy
from metarl.deploy.onnx import export_onnx
from metarl.methods.families import recipe
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.runs.checkpoint import SavedPolicy, load_checkpoint, load_policy, load_run_config
from metarl.runs.files import sha256


@dataclasses.dataclass(frozen=True)
class Files:
    """A folder with a file of each kind, and their contents, which every attempt restores."""

    folder: Path
    kinds: Mapping[str, Loaded]
    contents: Mapping[Path, bytes]

    def restore(self) -> None:
        for path, content in self.contents.items():
            if path.read_bytes() != content:
                path.write_bytes(content)


@cache
def files() -> Files:
    """One of each, as long as the process lives."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    made = kinds(folder)
    return Files(folder, made, {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()})


JSON_KINDS = ("config.json of a policy", "config.json of a run", "training.json")
TENSORS = ("weights of a policy", "belief of a policy", "training.safetensors")


@st.composite
def checkpoints(draw: st.DrawFn) -> tuple[str, Any]:
    """A kind of file, and its new content: JSON without a checksum, or a header and data."""
    name = draw(st.sampled_from([*JSON_KINDS, *TENSORS]))
    content = files().contents[files().kinds[name].path]
    if name in JSON_KINDS:
        data = json.loads(content)
        del data["crc32"]
        return name, draw(changed_tree(data))[0]
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    text = json.dumps(draw(changed_tree(header))[0]).encode()
    length = draw(st.one_of(st.just(len(text)), st.integers(0, 2**64 - 1)))
    extra = draw(st.sampled_from([b"", b"\x00", b"PK\x03\x04"]))
    return name, struct.pack("<Q", length) + text + data + extra


def use_checkpoint(given: tuple[str, Any]) -> None:
    """Load a changed file; what is accepted can be shown, acts, and is the same when saved."""
    name, content = given
    kind = files().kinds[name]
    try:
        if isinstance(content, bytes):
            kind.path.write_bytes(content)
            _note_digest(kind.path, sha256(content))
        else:
            kind.path.write_text(json.dumps(content))
        kind.load()
        if name == "config.json of a run":
            load_run_config(kind.path.parent)
            return
        if kind.path.parent.name != "policy":
            load_checkpoint(files().folder / "run", ITERATIONS)
        _use_policy(load_policy(kind.path.parent))
    finally:
        files().restore()


def _use_policy(saved: SavedPolicy) -> None:
    policy = MetaPolicy(saved)
    str(policy)
    size = saved.policy.observation_size
    action, _ = policy.predict(np.zeros(size, np.float32))
    if action.shape != (saved.policy.action_size,) or not np.isfinite(action).all():
        raise WrongOkError(f"action = {action}")
    again = load_policy(policy.save(files().folder / "again"))
    for part in ("policy", "params", "config", "belief"):
        if fingerprint(getattr(again, part)) != fingerprint(getattr(saved, part)):
            raise WrongOkError(f"{part} is another one when saved again")


def _note_digest(path: Path, digest: str) -> None:
    """As somebody who tampers with a file does: its new digest beside it."""
    beside, key = {
        "model.safetensors": ("config.json", "sha256"),
        "belief.safetensors": ("config.json", "belief_sha256"),
        "training.safetensors": ("training.json", "sha256"),
    }[path.name]
    data = json.loads(files().contents[path.with_name(beside)])
    del data["crc32"]
    path.with_name(beside).write_text(json.dumps(data | {key: digest}))


LINE = {"iteration": 1, "rollout/env_steps": 12, "rollout/return_pre": -2.0,
        "rollout/return_post": -1.0, "rollout/adaptation_gain": 1.0, "time/update_s": 0.1,
        "time/collect_s": 0.2, "train/phase": 0.0}  # fmt: skip
log_lines = st.lists(
    st.one_of(changed_tree(LINE).map(lambda made: json.dumps(made[0])), st.text(max_size=9)),
    max_size=4,
)


def use_log(lines: list[str]) -> None:
    """Read a run's log, and show its results."""
    run = files().folder / "run"
    try:
        (run / "metrics.jsonl").write_text("\n".join(lines) + "\n", errors="surrogatepass")
        for line in metarl.Run(run, False).metrics:
            if not all(v is None or math.isfinite(v) for v in line.values()):
                raise WrongOkError(f"{line} is not finite")
        results(run, recipe("navigation"))
    finally:
        files().restore()


arrays = st.one_of(
    st.integers(0, 4).map(lambda n: np.ones((n, 2))),
    st.integers(0, 4).map(np.ones),
    st.sampled_from(
        [np.array("x"), np.array([1j]), np.full(3, np.nan), np.zeros((2, 0)), np.array(True),
         np.array(["a", "b"]), np.zeros(3, dtype="M8[s]"), np.zeros(2, dtype=[("a", "f8")]),
         np.ones(2, dtype=np.float16), np.array([b"\xff"])]
    ),
)  # fmt: skip
ENTRIES = ("observations", "actions", "rewards", "outputs", "terminated", "truncated", "stopped",
           "diverged", "final_observation", "other")  # fmt: skip
entry_names = st.one_of(
    st.tuples(st.integers(0, 2).map(str), st.sampled_from(ENTRIES)).map(".".join),
    st.sampled_from(["../0.rewards", "/0.rewards", "0", ".rewards", "٣.rewards", "9" * 9 + ".x"]),
)
SOUND = {"0.observations": np.ones((3, 2)), "0.actions": np.zeros((2, 2)), "0.rewards": np.ones(2)}


def use_episodes(entries: Mapping[str, np.ndarray]) -> None:
    """Load episodes from an archive with changed entries, and save them again."""
    path = files().folder / "fuzzed.npz"
    np.savez(path, **{**SOUND, **entries})
    loaded = metarl.load_episodes(path)
    again = metarl.load_episodes(metarl.save_episodes(path, loaded))
    if fingerprint(loaded) != fingerprint(again):
        raise WrongOkError("other episodes when saved again")
    for episode in loaded:
        if not episode.diverged and len(episode.observations) != episode.steps + 1:
            raise WrongOkError(f"{len(episode.observations)} observations, {episode.steps} steps")


bounds = st.tuples(
    st.floats(-1e30, 1e30, allow_subnormal=False), st.floats(1e-6, 1e30, allow_subnormal=False)
)
exports = st.tuples(
    st.integers(1, 5),
    st.lists(bounds, min_size=1, max_size=3),
    st.lists(st.integers(1, 6), min_size=1, max_size=2),
    st.sampled_from(["tanh", "relu"]),
    st.booleans(),
    st.floats(1e-3, 1e3),
    st.floats(1e-3, 1e9),
    st.text(max_size=6),
)


def use_export(given: tuple[Any, ...]) -> None:
    """Export a policy of any size; the file must act as it does."""
    size, ranges, hidden, activation, normalised, scale, weight, noted = given
    network = MlpConfig(
        hidden_sizes=tuple(hidden),
        activation=activation,
        normalize_observations=normalised,
        action_scale=scale,
    )
    low = tuple(a for a, _ in ranges)
    high = tuple(a + width for a, width in ranges)
    policy = GaussianMlpPolicy(network, size, low, high)
    params = {
        name: weight * value if name.startswith("weight") else value
        for name, value in policy.init(Generator().manual_seed(0)).items()
    }
    config = dataclasses.replace(recipe("navigation"), policy=network)
    meta = MetaPolicy(SavedPolicy(policy, params, config, {"noted": noted}))
    exported = export_onnx(meta, files().folder / "fuzzed.onnx")
    rows = np.random.default_rng(0).normal(size=(4, size)).astype(np.float32)
    found, expected = OnnxPolicy(str(exported.path))(rows), meta.predict(rows)[0]
    spans = np.array(high) - np.array(low)
    if not (np.abs(found - expected) <= 1e-4 * spans).all():
        raise WrongOkError(f"{found} from the file, {expected} from the policy")


KINDS = {
    "checkpoints": Attempts(checkpoints(), use_checkpoint),
    "logs": Attempts(log_lines, use_log),
    "episodes": Attempts(st.dictionaries(entry_names, arrays, max_size=3), use_episodes),
    "ONNX exports": Attempts(exports, use_export),
}
