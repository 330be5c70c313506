"""The complete configuration of a training run: frozen dataclasses, saved as JSON."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch

from metarl.adaptation import ADAPTATIONS
from metarl.adaptation.base import Adaptation
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import InnerLoopConfig
from metarl.adaptation.losses import InnerLoss
from metarl.outer import OUTER_UPDATES
from metarl.outer.learner import LearnerSettings
from metarl.outer.trpo import Trpo
from metarl.policies import POLICIES
from metarl.policies.base import PolicyConfig
from metarl.policies.mlp import MlpConfig
from metarl.process import available_cores
from metarl_envs import (
    FAMILIES,
    EngineName,
    InputError,
    Origin,
    TaskFamily,
    chosen_engine,
    get_family,
    unknown_name,
)
from metarl_envs.inputs.plain import PlainFields, as_annotated

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainConfig(PlainFields):
    """Everything that determines a run. With the same machine and versions it fixes every bit."""

    family: str
    """Name of the task family."""
    method: str
    """Name of the method whose recipe this began as; what runs is `inner` and `outer`."""
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
    observe_task: bool = False
    """Whether the policy observes the task: its features end every observation."""
    device: Device = "auto"
    """Where meta-updates run; `auto` takes a GPU if there is one."""
    engine: EngineName = "auto"
    """What simulates: `cpu`, exact and in double precision; `warp`, in single precision, on the
    device of the meta-updates; `auto` is warp on a GPU, cpu otherwise."""
    sim_threads: int = field(default_factory=available_cores)
    """Simulator threads, >= 1. Results do not depend on it."""
    checkpoint_every: int = 10
    """Iterations between checkpoints, >= 1."""
    evaluate_every: int = 20
    """Iterations between evaluations on validation tasks, >= 0; 0: none. Training does not depend
    on it, not in a bit; at the defaults it costs 5 % more environment steps."""
    evaluation_tasks: int = 10
    """Validation tasks, held out and the same every time, >= 1; with one there is no other task
    whose adapted parameters could be the control."""
    max_fault_share: float = 0.2
    """Stop if more than this share of an iteration's episodes diverges, in (0, 1]."""
    adaptation_steps: int = 1
    """K, adaptation steps per task in meta-training, each on fresh rollouts, >= 1."""
    inner_loss: InnerLoss = "log_prob"
    """What an adaptation step descends. `log_prob`: -log pi A (MAML); `ratio`: -pi/pi_old A
    (ProMP's low-variance curvature). Equal first derivatives at the behaviour policy, unequal
    second ones. `clipped`: PPO's bound, for an adaptation of several steps per collection."""
    discount: float = 0.99
    """Weight of a reward against the same one a step earlier (gamma), in (0, 1]."""
    gae_lambda: float = 1.0
    """Bias-variance balance of the advantages (lambda of GAE), in [0, 1]: 1 relies on the returns
    that were seen, 0 on the baseline's prediction of the next step."""
    policy: PolicyConfig = field(default_factory=MlpConfig)
    """The policy network."""
    inner: Adaptation = field(default_factory=GradientStep)
    """The inner loop: how the policy adapts."""
    outer: LearnerSettings = field(default_factory=Trpo)
    """The outer loop: how the meta-parameters learn."""
    origin: Origin = field(default_factory=Origin)
    """The Python file that defines the family; of a shipped one, none."""

    def __post_init__(self) -> None:
        for name in (
            "horizon",
            "iterations",
            "meta_batch_size",
            "episodes_per_task",
            "adaptation_steps",
            "sim_threads",
            "checkpoint_every",
            "evaluation_tasks",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: must be at least 1")
        for name in ("seed", "evaluate_every"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} = {getattr(self, name)}: must be at least 0")
        if not 0 < self.discount <= 1:
            raise InputError(f"discount = {self.discount}: must be in (0, 1]")
        if not 0 <= self.gae_lambda <= 1:
            raise InputError(f"gae_lambda = {self.gae_lambda}: must be in [0, 1]")
        if not 0 < self.max_fault_share <= 1:
            raise InputError(f"max_fault_share = {self.max_fault_share}: must be in (0, 1]")
        self.outer.num_distinct_tasks(self.meta_batch_size)
        self.outer.check(self.inner)

    def task_family(self) -> TaskFamily:
        """The family, shipped or loaded, with its task observed if the policy observes it.

        Raises:
            InputError: for one in a file that nobody has named: reading a run runs no code.
        """
        reference = self.origin.reference
        if reference and self.family not in FAMILIES:
            raise InputError(
                f"family '{self.family}' is defined in {reference}, and a Python file runs only "
                f"if you name it: add --family {reference} (in Python: "
                f'metarl_envs.load_family("{reference}"))'
            )
        family = get_family(self.family)
        return dataclasses.replace(family, observes_task=True) if self.observe_task else family

    def inner_loop(self, progress: float) -> InnerLoopConfig:
        """How the policy adapts when this share of meta-training, in [0, 1], is over."""
        return InnerLoopConfig(
            self.inner.at(progress), self.inner_loss, self.discount, self.gae_lambda
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

    def check_machine(self) -> None:
        """Refuse a device or an engine that this machine does not have.

        Raises:
            InputError: naming it, with the mend.
        """
        chosen_engine(self.engine, self.torch_device())


LATER_FIELDS: Mapping[type, Mapping[str, Any]] = {
    TrainConfig: {
        "engine": "cpu",
        "evaluate_every": 0,
        "evaluation_tasks": 10,
        "observe_task": False,
        "origin": dataclasses.asdict(Origin()),
    },
}
"""What files of schema 2 may lack, with what held before it could be chosen."""
KIND = "kind"
"""The registered name of a policy, an adaptation or an outer update in its JSON object."""
KINDS: dict[type, Mapping[str, type]] = {
    PolicyConfig: POLICIES,
    Adaptation: ADAPTATIONS,
    LearnerSettings: OUTER_UPDATES,
}
OLD_KIND = {PolicyConfig: "mlp"}
"""Of objects from before there was a choice."""


def to_json(config: TrainConfig) -> dict[str, Any]:
    """Plain JSON values, one object per dataclass."""
    return dataclasses.asdict(config) | {
        "policy": {KIND: _kind(POLICIES, config.policy)} | dataclasses.asdict(config.policy),
        "inner": {KIND: _kind(ADAPTATIONS, config.inner)} | dataclasses.asdict(config.inner),
        "outer": {KIND: _kind(OUTER_UPDATES, config.outer)} | dataclasses.asdict(config.outer),
    }


def from_json(data: Mapping[str, Any]) -> TrainConfig:
    """The inverse of `to_json`; also reads what was written before the newest fields were there.

    Raises:
        InputError: for missing, unknown or ill-typed fields.
    """
    return _build(TrainConfig, data, "config")


def settings(config: TrainConfig) -> dict[str, Any]:
    """Every setting by its dotted name, such as `outer.clip`; what defines a run is left out."""
    flat: dict[str, Any] = {}
    for name, value in to_json(config).items():
        if name in ("family", "method", "origin"):
            continue
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": entry for key, entry in value.items() if key != KIND}
        else:
            flat[name] = value
    return flat


def with_settings(config: TrainConfig, given: Mapping[str, Any]) -> TrainConfig:
    """The configuration with other values for some settings, by their dotted names.

    With another `policy.init_std` the adaptation's steps change in proportion to its square, unless
    a setting of the adaptation is given too: the gradient with respect to a mean action falls with
    the deviation, and what a shift of the mean does is measured in deviations. So a step changes
    the policy as much as before (on half-cheetah-payload-velocity with a deviation of 3 and
    MAML's rate of 0.1 the step was 0.004 nats and nothing was learned in 0.8 million steps).

    Raises:
        InputError: for a name that it does not have, with the nearest ones, or a value not allowed.
    """
    data = to_json(config)
    known = settings(config)
    for name, value in given.items():
        if name not in known:
            raise unknown_name(f"setting of {config.method}", name, known)
        *where, last = name.split(".")
        (data[where[0]] if where else data)[last] = value
    changed = from_json(data)
    wider = changed.policy.init_std / config.policy.init_std
    if wider != 1 and not any(name.startswith("inner.") for name in given):
        changed = dataclasses.replace(changed, inner=changed.inner.scaled(wider**2))
    return changed


def upgraded(data: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of schema 1, from before there was more than one method, in today's form.

    Raises:
        InputError: if it is not one.
    """
    try:
        inner, outer, policy = (dict(data[name]) for name in ("inner", "outer", "policy"))
        moved = {
            name: inner.pop(name)
            for name in ("adaptation_steps", "inner_loss", "discount", "gae_lambda")
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"config: not of schema 1 ({error})") from None
    return dict(data) | {
        "method": "maml-trpo",
        "policy": policy | {"context_size": 0},
        "inner": {KIND: "gradient"} | inner,
        "outer": {KIND: "trpo"} | outer | {"adaptation_lr": 1e-3},
        **moved,
    }


def _kind(registry: Mapping[str, type], value: object) -> str:
    """The name that a class is registered under."""
    return next(name for name, cls in registry.items() if type(value) is cls)


T = TypeVar("T")


def _build(cls: type[T], data: Any, where: str) -> T:  # noqa: ANN401
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: expected an object, got {type(data).__name__}")
    data = {**LATER_FIELDS.get(cls, {}), **data}
    types_of = typing.get_type_hints(cls)
    hints = {f.name: types_of[f.name] for f in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
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
    if hint in KINDS:
        kind = str(value.get(KIND, OLD_KIND.get(hint))) if isinstance(value, Mapping) else "nothing"
        if kind not in KINDS[hint]:
            raise InputError(f"{where}.{KIND} = {kind!r}: allowed are {', '.join(KINDS[hint])}")
        settings = {name: entry for name, entry in value.items() if name != KIND}
        return _build(KINDS[hint][kind], settings, where)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    return as_annotated(where, value, hint)
