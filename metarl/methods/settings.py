"""Settings of a run by dotted name, such as `outer.clip`: texts, and those of each command."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple, get_type_hints

from metarl.adaptation.none import Unadapted
from metarl.methods.config import PARTS, TrainConfig, settings

COMMON = (
    "iterations",
    "meta_batch_size",
    "episodes_per_task",
    "horizon",
    "adaptation_steps",
    "inner.inner_lr",
    "inner.init_rate",
    "outer.learning_rate",
    "outer.outer_lr",
    "outer.sigma",
    "outer.max_kl",
    "outer.clip",
    "outer.trial_episodes",
    "outer.teacher_share",
    "outer.reinforcement_share",
    "policy.encoder",
    "policy.memory_size",
    "policy.observe_reward",
    "policy.frames",
    "policy.hidden_sizes",
    "seed",
    "device",
    "engine",
    "sim_threads",
)
"""Settings in `--help`, those that people change most; `--help-all` shows all."""
BASELINE_SETTINGS = (
    "horizon",
    "seed",
    "sim_threads",
    "checkpoint_every",
    "max_fault_share",
    "discount",
    "gae_lambda",
    "policy.frames",
    "policy.observe_reward",
    "policy.hidden_sizes",
    "policy.activation",
    "policy.init_std",
    "policy.normalize_observations",
    "inner.learning_rate",
    "inner.epochs",
    "outer.learning_rate",
    "outer.final_rate",
    "outer.epochs",
    "outer.minibatches",
    "outer.clip",
    "outer.max_kl",
)
"""Settings of `metarl baseline`: those of Stable-Baselines3's PPO and of fine-tuning."""
INNER_LOOP = ("adaptation_steps", "inner_loss")
"""Settings that only a training with an inner loop reads."""
MACHINE = ("device", "engine", "sim_threads")
"""Settings that a machine asks for, not a training."""
RESUMABLE = ("iterations", *MACHINE)
"""Settings that `metarl resume` can change."""


def flag(name: str) -> str:
    """A setting as a flag, such as --outer.max-kl."""
    return f"--{name.replace('_', '-')}"


def shown(value: object) -> str:
    """A setting's value as it follows its flag, such as 64 64."""
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


class Setting(NamedTuple):
    """One setting of a configuration: value, type, and the docstring of its field."""

    value: Any
    type: Any
    text: str


def described(config: TrainConfig) -> dict[str, Setting]:
    """Every setting of a configuration by its dotted name, such as `outer.clip`.

    Those of an inner loop are left out where there is none.
    """
    unread = INNER_LOOP if isinstance(config.inner, Unadapted) else ()
    fields = {}
    for part in ("", *PARTS):
        cls = type(getattr(config, part) if part else config)
        texts, types = field_texts(cls), get_type_hints(cls)
        fields |= {f"{part}.{name}".lstrip("."): (types[name], texts[name]) for name in texts}
    return {
        name: Setting(value, *fields[name])
        for name, value in settings(config).items()
        if name not in unread
    }


@functools.cache
def field_texts(cls: type) -> Mapping[str, str]:
    """Docstrings of a dataclass's fields, inherited ones too, each in one line."""
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__[:-1]):  # object has none
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        (definition,) = tree.body
        assert isinstance(definition, ast.ClassDef)
        for field, below in zip(definition.body, definition.body[1:], strict=False):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    texts[name] = " ".join(text.split())
                case _:
                    pass
    return texts
