"""The complete configuration of a training run: frozen dataclasses, saved as JSON."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch

from metarl.adaptation.gradient import GradientAdaptationConfig
from metarl.algorithms.maml_trpo import TrpoConfig
from metarl.policies import PolicyConfig
from metarl.process import available_cores
from metarl_envs import InputError

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a run. With the same machine and versions it fixes every bit."""

    family: str
    """Name of the task family."""
    horizon: int
    """Steps per episode, >= 1."""
    iterations: int = 150
    """Meta-iterations in all, >= 1."""
    meta_batch_size: int = 40
    """M, tasks per meta-iteration, >= 1."""
    episodes_per_task: int = 20
    """E, episodes per task and collection, >= 1."""
    seed: int = 0
    """Root of all random streams, >= 0."""
    device: Device = "auto"
    """Where meta-updates run; `auto` takes a GPU if there is one."""
    sim_threads: int = field(default_factory=available_cores)
    """Simulator threads, >= 1. Results do not depend on it."""
    checkpoint_every: int = 10
    """Iterations between checkpoints, >= 1."""
    max_fault_share: float = 0.2
    """Stop if more than this share of an iteration's episodes diverges, in (0, 1]."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """The policy network."""
    inner: GradientAdaptationConfig = field(default_factory=GradientAdaptationConfig)
    """The inner loop: how the policy adapts."""
    outer: TrpoConfig = field(default_factory=TrpoConfig)
    """The outer loop: how the meta-parameters learn."""

    def __post_init__(self) -> None:
        for name in (
            "horizon",
            "iterations",
            "meta_batch_size",
            "episodes_per_task",
            "sim_threads",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: must be at least 1")
        if self.seed < 0:
            raise InputError(f"seed = {self.seed}: must be at least 0")
        if not 0 < self.max_fault_share <= 1:
            raise InputError(f"max_fault_share = {self.max_fault_share}: must be in (0, 1]")
        if self.device not in typing.get_args(Device):
            raise InputError(
                f"device = '{self.device}': allowed are {', '.join(typing.get_args(Device))}"
            )

    def torch_device(self) -> torch.device:
        """The device that meta-updates run on.

        Raises:
            InputError: if CUDA is asked for and absent.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device = 'cuda': torch finds no CUDA device; use --device cpu")
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


def to_json(config: TrainConfig) -> dict[str, Any]:
    """Plain JSON values, one object per dataclass."""
    return dataclasses.asdict(config)


def from_json(data: Mapping[str, Any]) -> TrainConfig:
    """The inverse of `to_json`.

    Raises:
        InputError: for missing, unknown or ill-typed fields.
    """
    return _build(TrainConfig, data, "config")


T = TypeVar("T")


def _build(cls: type[T], data: Any, where: str) -> T:  # noqa: ANN401
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: expected an object, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    unknown = set(data) - set(hints)
    if unknown:
        raise InputError(f"{where}: unknown fields {sorted(unknown)}; another version wrote it?")
    missing = set(hints) - set(data)
    if missing:
        raise InputError(f"{where}: missing fields {sorted(missing)}; another version wrote it?")
    return cls(
        **{name: _convert(hint, data[name], f"{where}.{name}") for name, hint in hints.items()}
    )


def _convert(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    origin = typing.get_origin(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    if origin is Literal:
        if value not in typing.get_args(hint):
            raise InputError(f"{where} = {value!r}: allowed are {typing.get_args(hint)}")
        return value
    if origin is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where} = {value!r}: expected a list")
        return tuple(_convert(item, v, where) for v in value)
    if origin in (typing.Union, types.UnionType):
        raise TypeError(f"{where}: config fields never have union types")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise InputError(f"{where} = {value!r}: expected {hint.__name__}")
    return value
