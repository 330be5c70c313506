"""A policy as a folder that can be shared: weights, what they mean, and a model card."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

import safetensors.torch
import torch
from torch import Generator

from metarl.errors import RunError
from metarl.methods.baselines import origins
from metarl.methods.config import TrainConfig, from_json, to_json
from metarl.methods.setup import family_of, policy_of
from metarl.outer.state import initial_params
from metarl.policies.base import Policy
from metarl.policies.belief import Belief
from metarl.policies.params import Params, expand
from metarl.runs.files import (
    json_bytes,
    new_folder,
    plain,
    read_json,
    read_tensors,
    sha256,
    with_checksum,
    write_synced,
)
from metarl.runs.model_card import model_card
from metarl.versions import __version__, git_commit, versions
from metarl_envs import FAMILIES, InputError, TaskFamily, unknown_name
from metarl_envs.interfaces.entry_names import action_names, observation_names

SCHEMA = 2
"""Version of every file that this module and `metarl.runs.checkpoint` write."""
FORMAT = "metarl-policy"
WEIGHTS = "model.safetensors"
BELIEF = "belief.safetensors"
"""Of a policy that goes on from a belief; other folders have none."""
CONFIG = "config.json"
CARD = "README.md"


@dataclass(frozen=True)
class SavedPolicy:
    """A policy as it is read from disk and written to it."""

    policy: Policy
    params: Params
    """Float32, on the CPU, without axis M."""
    config: TrainConfig
    """Settings of its training."""
    metadata: dict[str, Any]
    """JSON values: iteration, returns, the task adapted to; once read from disk also `versions`,
    `commit` and the weights' `sha256`."""
    family: dict[str, Any] = field(default_factory=dict)
    """Its family as `describe_family` gives it, whether or not the family itself is at hand."""
    belief: Belief = field(default_factory=dict)
    """Belief about one robot, each entry without axes M and E, from which its trials go on; {}:
    they begin."""

    def begin(self, num_robots: int) -> Belief:
        """The belief of N robots at the start, each (N, ...); {} of a policy without."""
        return expand(self.belief, num_robots) or self.policy.begin(self.params, num_robots)


def save_policy(folder: Path, saved: SavedPolicy) -> Path:
    """Write a policy folder, whole or not at all, over an older policy of that name.

    Raises:
        RunError: if `folder` is there and holds anything but a policy's files.
    """
    # What replaces a folder deletes what is in it.
    ours = {WEIGHTS, BELIEF, CONFIG, CARD}
    if folder.exists() and not (folder.is_dir() and _names(folder) <= ours):
        raise RunError(f"{folder}: exists and holds other files; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(folder) as temporary:
        write_policy(temporary, saved)
    return folder


def write_policy(folder: Path, saved: SavedPolicy) -> str:
    """Write a policy's files into an existing folder; the SHA-256 of the weights."""
    policy, config, metadata, family = saved.policy, saved.config, saved.metadata, saved.family
    tensors = {name: value.detach().cpu().contiguous() for name, value in saved.params.items()}
    content = safetensors.torch.save(tensors)
    digest, metadata = sha256(content), plain(metadata)
    belief = {name: value.detach().cpu().contiguous() for name, value in saved.belief.items()}
    believed = safetensors.torch.save(belief) if belief else b""
    if not family or config.family in FAMILIES:
        family = describe_family(family_of(config))
    data = {
        "format": FORMAT,
        "schema": SCHEMA,
        "versions": versions(),
        "commit": git_commit(),
        "sha256": digest,
        "belief_sha256": sha256(believed) if belief else None,
        "config": to_json(config),
        "spaces": {
            "observation_size": policy.observation_size,
            "action_low": policy.action_low,
            "action_high": policy.action_high,
            "control_limits": policy.control_limits,
            "action_middle": policy.action_middle,
        },
        "family": family,
        "metadata": metadata,
    }
    write_synced(folder / WEIGHTS, content)
    if belief:
        write_synced(folder / BELIEF, believed)
    write_synced(folder / CONFIG, json_bytes(with_checksum(data)))
    write_synced(folder / CARD, model_card(config, family, metadata).encode())
    return digest


def read_policy(folder: Path) -> SavedPolicy:
    """The policy in a folder. Nothing in the files can run code, and all of them are checked.

    Raises:
        RunError: in one line, for a folder that is not a policy, is damaged, or is too new.
    """
    path = folder / CONFIG
    data = read_json(path)
    check_format(path, data, FORMAT)
    config = read_config(path, data)
    policy = _read_spaces(path, data, config)
    try:
        with torch.device("meta"):  # names, shapes and dtypes without memory
            like = initial_params(policy, config.inner, Generator("cpu"))
            begun = policy.begin(like, 1)
    except (RuntimeError, OverflowError) as error:
        raise RunError(f"{path}: impossible network ({str(error).splitlines()[0]})") from None
    params = read_tensors(folder / WEIGHTS, like, str(data.get("sha256")))
    belief: Belief = {}
    if (digest := data.get("belief_sha256")) is not None:
        one = {name: value[0] for name, value in begun.items()}
        belief = read_tensors(folder / BELIEF, one, str(digest))
    noted = data.get("metadata")
    metadata = dict(noted) if isinstance(noted, dict) else {}
    metadata |= {key: data.get(key) for key in ("versions", "commit", "sha256")}
    family = data.get("family")
    family = family if _is_described(family) else {}
    return SavedPolicy(policy, params, config, metadata, family, belief)


def check_middle(saved: SavedPolicy, family: TaskFamily) -> None:
    """Refuse to train a policy whose output 0 means another control than the family's does now.

    Raises:
        InputError: with both middles, and how to keep the policy's.
    """
    policy = saved.policy
    if policy.action_middle == family.action_middle():
        return
    central = [(a + b) / 2 for a, b in zip(policy.action_low, policy.action_high, strict=True)]
    theirs, ours = (list(m or central) for m in (policy.action_middle, family.action_middle()))
    raise InputError(
        f"the policy's output 0 means the controls {theirs}, that of {family.name} now {ours}: "
        f"give the robot action_middle={theirs}, or train from scratch"
    )


def check_format(path: Path, data: dict[str, Any], expected: str) -> None:
    """Refuse a JSON file of another kind, of another version, or damaged.

    Raises:
        RunError: naming the file, and for a newer schema the version that wrote it.
    """
    if data.get("format") != expected:
        raise RunError(f"{path}: not a {expected} file")
    schema = data.get("schema")
    if not isinstance(schema, int) or schema < SCHEMA:
        raise RunError(f"{path}: schema = {schema!r}: must be {SCHEMA}; train the policy again")
    if schema > SCHEMA:
        wrote = data.get("versions")
        version = wrote.get("metarl", "unknown") if isinstance(wrote, dict) else "unknown"
        raise RunError(
            f"{path}: written by metarl {version} with schema {schema}; this metarl "
            f"{__version__} reads up to {SCHEMA}: pip install -U metarl-robotics"
        )


def read_config(path: Path, data: dict[str, Any]) -> TrainConfig:
    """The training configuration in a file's object.

    Raises:
        RunError: if it is missing or holds values that this version does not allow.
    """
    try:
        read = from_json(data.get("config", {}))
        if read.method not in (known := origins()):
            raise unknown_name("method", read.method, known)
    except InputError as error:
        raise RunError(f"{path}: {error}") from None
    return read


def is_policy(folder: Path) -> bool:
    """True if the folder looks like a policy; nothing is read."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def describe_family(family: TaskFamily) -> dict[str, Any]:
    """A task family in JSON, for readers of a policy that was trained on it."""
    return {
        "name": family.name,
        "robot": family.robot.name,
        "horizon": family.horizon,
        "dt_s": family.dt_s,
        "quantity": family.quantity,
        "observation_names": observation_names(family),
        "action_names": action_names(family),
        "parameters": [
            {
                "name": parameter.name,
                "unit": parameter.unit,
                "description": parameter.description,
                "nominal": parameter.nominal,
                "train": parameter.train.describe(),
                "extrapolation": parameter.extrapolation and parameter.extrapolation.describe(),
            }
            for parameter in family.parameters
        ],
    }


def _read_spaces(path: Path, data: dict[str, Any], config: TrainConfig) -> Policy:
    spaces: Any = data.get("spaces")
    try:
        policy = config.policy.policy_type()(
            config.policy,
            int(spaces["observation_size"]),
            tuple(float(low) for low in spaces["action_low"]),
            tuple(float(high) for high in spaces["action_high"]),
            _read_limits(spaces.get("control_limits"), len(spaces["action_low"])),
            _read_middle(spaces.get("action_middle"), spaces["action_low"], spaces["action_high"]),
        )
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{path}: spaces = {spaces!r} is not readable") from None
    if config.family not in FAMILIES and policy.needs_family:
        try:
            family_of(config)
        except InputError as error:
            raise RunError(f"{path}: {error}") from None
    if config.family in FAMILIES:
        _warn_of_another_file(path, config)
        current = policy_of(config)
        # Its middle is the policy's own: what its outputs mean does not change with the family.
        own = {"control_limits": policy.control_limits, "action_middle": policy.action_middle}
        known = replace(current, **own)
        if (known.observation_size, known.action_low, known.action_high) != (
            policy.observation_size,
            policy.action_low,
            policy.action_high,
        ):
            raise RunError(
                f"{path}: the spaces of {config.family} have changed since this policy was "
                f"written ({policy.observation_size} observations and {policy.action_size} "
                f"actions, now {current.observation_size} and {current.action_size})"
            )
        return known
    return policy


def _read_limits(
    limits: Any,  # noqa: ANN401
    size: int,
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if limits is None:
        return None
    low, high = (tuple(float(value) for value in bounds) for bounds in limits)
    if not len(low) == len(high) == size or not all(a <= b for a, b in zip(low, high, strict=True)):
        raise ValueError(limits)
    return low, high


def _read_middle(middle: Any, low: Any, high: Any) -> tuple[float, ...] | None:  # noqa: ANN401
    """None: the middle of the range, as in old folders."""
    if middle is None:
        return None
    values = tuple(float(value) for value in middle)
    if not all(a <= value <= b for a, value, b in zip(low, values, high, strict=True)):
        raise ValueError(middle)
    return values


def _is_described(family: Any) -> TypeGuard[dict[str, Any]]:  # noqa: ANN401
    """True for output of `describe_family`, as far as a model card reads it."""
    if not isinstance(family, dict) or not isinstance(family.get("parameters"), list):
        return False
    texts = [family.get("name")]
    for parameter in family["parameters"]:
        if not isinstance(parameter, dict):
            return False
        texts += [parameter.get(key) for key in ("name", "unit", "train", "description")]
        texts.append(parameter.get("extrapolation") or "")
    return all(isinstance(text, str) for text in texts)


def _warn_of_another_file(path: Path, config: TrainConfig) -> None:
    """Warn if a family's file has changed since training, as results may differ."""
    current = FAMILIES[config.family].origin
    if config.origin.sha256 and current.sha256 != config.origin.sha256:
        warnings.warn(
            f"{path.parent}: {current.reference or config.family} or its model has changed since "
            "this policy was trained on it; results may differ",
            stacklevel=5,
        )


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
