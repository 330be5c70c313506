"""The complete configuration of a training run: frozen dataclasses, saved as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import cattrs

from metarl.adaptation import ADAPTATIONS
from metarl.adaptation.base import Adaptation
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.losses import InnerLoss
from metarl.outer import OUTER_UPDATES
from metarl.outer.learner import LearnerSettings
from metarl.outer.task_choice import Choice
from metarl.outer.trpo import Trpo
from metarl.policies import POLICIES
from metarl.policies.base import PolicyConfig
from metarl.policies.mlp import MlpConfig
from metarl.process import available_cores
from metarl_envs import EngineName, InputError, Origin, unknown_name
from metarl_envs.inputs.numbers import Count, Natural, PositiveShare, Share
from metarl_envs.inputs.plain import PlainFields

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainConfig(PlainFields):
    """Everything that determines a run, bit for bit on the same machine and versions."""

    family: str
    """Name of the task family."""
    method: str
    """Name of the method of the recipe; `inner` and `outer` determine what runs."""
    horizon: Count
    """Steps per episode, >= 1."""
    iterations: Count = 150
    """Meta-iterations in total, >= 1."""
    meta_batch_size: Count = 40
    """M, tasks per meta-iteration, >= 1."""
    episodes_per_task: Count = 20
    """E, episodes per task and collection, >= 1."""
    seed: Natural = 0
    """Root of all random streams, >= 0."""
    observe_task: bool = False
    """Task-conditioned policy: every observation ends with the task's features."""
    device: Device = "auto"
    """Device of the meta-updates; `auto`: a GPU if there is one."""
    engine: EngineName = "auto"
    """Simulator; `auto`: warp on a GPU, else cpu. `cpu` computes in double precision; `warp` in
    single precision, on the device of the meta-updates."""
    sim_threads: Count = field(default_factory=available_cores)
    """Simulator threads, >= 1. Results do not depend on it."""
    checkpoint_every: Count = 10
    """Iterations between checkpoints, >= 1."""
    task_choice: Choice = "uniform"
    """Tasks of an iteration: fresh draws (uniform), or of a small set that covers the family, all
    in turn (representative), those with the worst returns most often (worst), or those whose
    returns change most (progress)."""
    representatives: Count = 32
    """Tasks in the small set, >= 1."""
    evaluate_every: Natural = 20
    """Iterations between evaluations on validation tasks, >= 0; 0: none. Training does not depend
    on it; at the defaults it costs 5 % more environment steps."""
    evaluation_tasks: Count = 10
    """Validation tasks, held out and fixed, >= 1; the control, parameters adapted to another task,
    needs 2."""
    max_fault_share: PositiveShare = 0.2
    """Stop if more than this share of an iteration's episodes diverges, in (0, 1]."""
    adaptation_steps: Count = 1
    """K, adaptation steps per task in meta-training, each on fresh rollouts, >= 1."""
    inner_loss: InnerLoss = "log_prob"
    """Loss of an adaptation step. `log_prob`: -log pi A (MAML); `ratio`: -pi/pi_old A (ProMP's
    low-variance curvature); at the behaviour policy they differ in second derivatives only.
    `clipped`: PPO's bound, for several steps per collection."""
    discount: PositiveShare = 0.99
    """Discount factor (gamma), in (0, 1]."""
    gae_lambda: Share = 1.0
    """Lambda of GAE, in [0, 1]: 1 relies on observed returns, 0 on the baseline's prediction of
    the next step."""
    policy: PolicyConfig = field(default_factory=MlpConfig)
    """The policy network."""
    inner: Adaptation = field(default_factory=GradientStep)
    """The inner loop: adaptation of the policy."""
    outer: LearnerSettings = field(default_factory=Trpo)
    """The outer loop: update of the meta-parameters."""
    origin: Origin = field(default_factory=Origin)
    """Python file that defines the family; empty for a shipped one."""

    def __post_init__(self) -> None:
        self.outer.num_distinct_tasks(self.meta_batch_size)
        self.outer.check(self.inner)
        if self.task_choice != "uniform" and (named := self.outer.runs_other_tasks):
            raise InputError(
                f"task_choice = '{self.task_choice}': needs the return of each chosen task, and by "
                f"{named} above 0 trials run other tasks; set to 0, or use task_choice uniform"
            )


KIND = "kind"
"""Key of a JSON object that names the class of its policy, adaptation or outer update."""
KINDS: Mapping[type, Mapping[str, type]] = {
    PolicyConfig: POLICIES,
    Adaptation: ADAPTATIONS,
    LearnerSettings: OUTER_UPDATES,
}
PARTS = ("policy", "inner", "outer")
"""Fields of `TrainConfig` with settings of their own, such as `outer.clip`."""


def to_json(config: TrainConfig) -> dict[str, Any]:
    """Plain JSON values, one object per dataclass."""
    data = dataclasses.asdict(config)
    for part, registry in zip(PARTS, KINDS.values(), strict=True):
        kinds = {cls: kind for kind, cls in registry.items()}
        data[part] = {KIND: kinds[type(getattr(config, part))]} | data[part]
    return data


def from_json(data: Any) -> TrainConfig:  # noqa: ANN401 - any JSON value
    """The inverse of `to_json`; a missing field takes its default.

    So the default of a new field must be the behaviour before the field existed.

    Raises:
        InputError: naming the field by its path, for a missing, unknown or ill-typed one.
    """
    try:
        return READER.structure(data, TrainConfig)
    except (cattrs.BaseValidationError, AttributeError, TypeError) as error:
        raise InputError(_problem(error, "config")) from None


def settings(config: TrainConfig) -> dict[str, Any]:
    """Every setting by its dotted name, such as `outer.clip`, without family, method and origin."""
    flat: dict[str, Any] = {}
    for name, value in to_json(config).items():
        if name in ("family", "method", "origin"):
            continue
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": entry for key, entry in value.items() if key != KIND}
        else:
            flat[name] = value
    return flat


def with_settings(config: TrainConfig, chosen: Mapping[str, Any]) -> TrainConfig:
    """The configuration with other values for some settings, by their dotted names.

    A new `policy.init_std` scales the adaptation step by the square of its change, unless a setting
    of `inner` is chosen too: the gradient with respect to a mean action falls with the standard
    deviation, and a shift of the mean counts in standard deviations. So the step changes the policy
    as much as before. (On half-cheetah-payload-velocity with a deviation of 3 and MAML's rate of
    0.1 the step was 0.004 nats, and nothing was learned in 0.8 million steps.)

    Raises:
        InputError: for an unknown name, with the nearest, or a value that is not allowed.
    """
    known, changes = settings(config), {part: {} for part in ("", *PARTS)}
    for name, value in chosen.items():
        if name not in known:
            raise unknown_name(f"setting of {config.method}", name, known)
        part, _, field_name = name.rpartition(".")
        changes[part][field_name] = value
    fields = changes.pop("")
    for part, values in changes.items():
        try:
            fields[part] = dataclasses.replace(getattr(config, part), **values)
        except InputError as error:
            raise InputError(f"{part}.{error}") from None
    changed = dataclasses.replace(config, **fields)
    wider = changed.policy.init_std / config.policy.init_std
    if wider != 1 and not any(name.startswith("inner.") for name in chosen):
        changed = dataclasses.replace(changed, inner=changed.inner.scaled(wider**2))
    return changed


def _reader() -> cattrs.Converter:
    """A converter from JSON to the dataclasses of a configuration, which check their fields."""
    reader = cattrs.Converter(forbid_extra_keys=True)

    def unchanged(value: Any, _: type) -> Any:  # noqa: ANN401
        return value

    reader.register_structure_hook_func(lambda hint: not dataclasses.is_dataclass(hint), unchanged)
    for plain in (int, float, bool, str):  # else cattrs would convert, such as int("7")
        reader.register_structure_hook(plain, unchanged)

    def of_its_kind(data: Any, base: type) -> Any:  # noqa: ANN401
        kind = data.get(KIND) if isinstance(data, Mapping) else None
        if not isinstance(kind, str) or kind not in KINDS[base]:
            raise InputError(f"{KIND} = {kind!r}: allowed are {', '.join(KINDS[base])}")
        values = {name: value for name, value in data.items() if name != KIND}
        return reader.structure(values, KINDS[base][kind])

    for base in KINDS:
        reader.register_structure_hook_func(lambda hint, base=base: hint is base, of_its_kind)
    return reader


READER = _reader()


def _problem(error: BaseException, path: str) -> str:
    """The first problem that cattrs found, with the path of its field."""
    match error:
        case cattrs.ClassValidationError():
            of_fields, others = error.group_exceptions()
            if others:
                return _problem(others[0], path)
            first, note = of_fields[0]
            return _problem(first, f"{path}.{note.name}")
        case cattrs.ForbiddenExtraKeysError():
            return f"{path}: unknown fields {sorted(error.extra_fields)}; another version wrote it?"
        case KeyError():
            return f"{path}: missing; another version wrote it?"
        case InputError():
            return f"{path}.{error}"
        case _:
            return f"{path}: must be an object"
