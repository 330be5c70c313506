"""Options that commands share: the settings of a run as typed flags, where to compute, and more."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypedDict,
    TypeVar,
)

from tyro.conf import FlagConversionOff, Positional, SuppressFixed, arg

if TYPE_CHECKING:
    from metarl.methods.config import TrainConfig

C = TypeVar("C")
Shows = Literal["", "help", "help-all"]
"""Help that was asked for: none, one screen, or all."""
FAMILY_TEXT = "Name of a task family (`metarl families` lists them), or FILE.py:NAME."
OWN_FAMILY_TEXT = (
    "The Python file with the runs' family, if it is one of your own; the file is run."
)
THREADS_TEXT = "Simulator threads; the result does not depend on it."
SEED_TEXT = "Fixes tasks, resets and actions; not those of training."
DEFAULT_FAMILY, DEFAULT_METHOD = "half-cheetah-direction", "maml-trpo"


def option(metavar: str, hint: str = "", text: str | None = None) -> object:
    """How an option shows in the help: its placeholder, what holds without it, its text."""
    return arg(metavar=metavar, help_behavior_hint=hint, help=text)


FamilyName = Annotated[Positional[str], option("FAMILY", "(required)", FAMILY_TEXT)]
OwnFamily = Annotated[str | None, option("FILE.py:NAME", text=OWN_FAMILY_TEXT)]
SimThreads = Annotated[int | None, option("N", "(default: all cores)", THREADS_TEXT)]
Seed = Annotated[int, arg(metavar="S", help=SEED_TEXT)]
Quiet = Annotated[bool, option("", text="No progress, and nothing printed but where results are.")]


@dataclass(frozen=True)
class Compute:
    """Where a command computes."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where gradients are computed; auto is a GPU if there is one."""
    engine: Literal["auto", "cpu", "warp"] = "auto"
    """What simulates; auto is warp on a GPU."""
    sim_threads: SimThreads = None

    def machine(self) -> dict[str, Any]:
        """The same as keywords of functions that take a torch device and a number of threads.

        Raises:
            InputError: for CUDA on a machine without it, or less than one thread.
        """
        from metarl.methods.setup import device_named, simulator_threads

        threads = simulator_threads(self.sim_threads)
        return {**vars(self), "device": device_named(self.device), "sim_threads": threads}


@dataclass(frozen=True)
class NewRuns:
    """What commands that make runs have besides settings."""

    seeds: Annotated[tuple[int, ...], option("S ...")] = ()
    """Train a run for each, one after the other."""
    wandb: Annotated[str | None, option("PROJECT")] = None
    """Log to Weights & Biases, too."""
    run: Annotated[Path | None, option("DIR", "(default: runs/FAMILY-METHOD-SEED)")] = None
    """The folder to make; of several seeds, -SEED is added."""
    quiet: Annotated[bool, option("")] = False
    """Print nothing but the run folder."""
    help_all: Annotated[bool, option("")] = False
    """Show every setting, and exit."""


ComputeOptions = Annotated[Compute, arg(name="")]
NewRunsOptions = Annotated[NewRuns, arg(name="")]
Settings = Annotated[SuppressFixed[Mapping[str, Any]], arg(name="")]
"""Settings that were given, by dotted name; `with_setting_flags` makes flags of them."""


def with_setting_flags(
    command: type[C],
    config: TrainConfig,
    shows: Shows,
    *,
    names: Collection[str] | None = None,
    default: str | None = None,
) -> type[C]:
    """A command whose field `settings` is filled by a typed flag for each setting.

    What is not given is not in the mapping, so it is known what a person chose; the default that
    the help shows is the configuration's.

    Args:
        command: a dataclass with a field `settings`.
        config: the recipe; its inner and outer loop decide which settings there are.
        shows: help that was asked for; "help" is one screen of the settings that are common.
        names: of the settings that are offered, where the configuration has them; None: all.
        default: shown in place of the configuration's values.
    """
    from metarl.methods.setting_texts import described
    from metarl.methods.settings import COMMON, shown

    brief, flags = shows == "help", {}
    for name, setting in described(config).items():
        if (names is not None and name not in names) or (brief and name not in COMMON):
            continue
        first = setting.text.split(". ")[0].rstrip(".")
        about = arg(
            help=f"{first}." if brief else setting.text,
            help_behavior_hint=f"(default: {default or shown(setting.value)})",
            metavar="N ..." if isinstance(setting.value, tuple) else None,
        )
        flags[name] = FlagConversionOff[Annotated[setting.type, about]]
    given = TypedDict("Settings", flags, total=False)  # pyright: ignore
    fields = [("settings", Annotated[given, arg(name="")])]
    made = make_dataclass(command.__name__, fields, bases=(command,), frozen=True, kw_only=True)
    recipe = f"\n\nDefaults shown: the recipe of {config.method} on {config.family}."
    made.__doc__ = inspect.cleandoc(str(command.__doc__)) + ("" if default else recipe)
    return made


def option_value(words: Sequence[str], option: str) -> str | None:
    """What stands behind an option on a command line, as --option VALUE or --option=VALUE."""
    found = None
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option:
            found = value if equals else next(iter(words[i + 1 :]), None)
    return found
