"""Options that commands share, and the settings of a run as typed flags."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, TypeVar

from tyro.conf import FlagConversionOff, Positional, SuppressFixed, arg

if TYPE_CHECKING:
    from metarl.methods.config import TrainConfig

C = TypeVar("C")
Shows = Literal["", "help", "help-all"]
"""Requested help: none, one screen, or every setting."""
FAMILY_TEXT = "Name of a task family (`metarl families` lists them), or FILE.py:NAME."
OWN_FAMILY_TEXT = "File that defines the family, if it is your own; the file is run."
THREADS_TEXT = "Simulator threads; results do not depend on it."
SEED_TEXT = "Seed of tasks, resets and actions, independent of training."
DEFAULT_FAMILY, DEFAULT_METHOD = "half-cheetah-direction", "maml-trpo"


def option(metavar: str, hint: str = "", text: str | None = None) -> object:
    """An option's placeholder, default and text in the help."""
    return arg(metavar=metavar, help_behavior_hint=hint, help=text)


FamilyName = Annotated[Positional[str], option("FAMILY", "(required)", FAMILY_TEXT)]
OwnFamily = Annotated[str | None, option("FILE.py:NAME", text=OWN_FAMILY_TEXT)]
SimThreads = Annotated[int | None, option("N", "(default: all cores)", THREADS_TEXT)]
Seed = Annotated[int, arg(metavar="S", help=SEED_TEXT)]
ON_TOP_TEXT = (
    "Gradient steps besides the memory of methods that adapt within the episode: on the last "
    "layer, or on all weights, plain or by Adam."
)
StepsOnTop = Annotated[
    Literal["head", "gradient", "adam"] | None, option("KIND", "{head,gradient,adam}", ON_TOP_TEXT)
]
Quiet = Annotated[bool, option("", text="Show no progress; print only the results.")]


@dataclass(frozen=True)
class Compute:
    """Device, engine and threads of a command."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the gradients; auto: a GPU if there is one."""
    engine: Literal["auto", "cpu", "warp"] = "auto"
    """Simulator; auto: warp on a GPU, else cpu."""
    sim_threads: SimThreads = None

    def machine(self) -> dict[str, Any]:
        """These options as keywords, with a torch device and a number of threads.

        Raises:
            InputError: for CUDA on a machine without it, or less than one thread.
        """
        from metarl.methods.setup import device_named, simulator_threads

        threads = simulator_threads(self.sim_threads)
        return {**vars(self), "device": device_named(self.device), "sim_threads": threads}


@dataclass(frozen=True)
class NewRuns:
    """Options of commands that make runs, besides the settings."""

    seeds: Annotated[tuple[int, ...], option("S ...")] = ()
    """Train one run per seed, one after the other."""
    wandb: Annotated[str | None, option("PROJECT")] = None
    """Also log to Weights & Biases."""
    run: Annotated[Path | None, option("DIR", "(default: runs/FAMILY-METHOD-SEED)")] = None
    """Folder to make; with --seeds, -SEED is appended."""
    quiet: Annotated[bool, option("")] = False
    """Print only the run folder."""
    help_all: Annotated[bool, option("")] = False
    """Show every setting and exit."""


ComputeOptions = Annotated[Compute, arg(name="")]
NewRunsOptions = Annotated[NewRuns, arg(name="")]
Settings = Annotated[SuppressFixed[Mapping[str, Any]], arg(name="")]
"""Settings on the command line, by dotted name; `with_setting_flags` adds their flags."""


def with_setting_flags(
    command: type[C],
    config: TrainConfig,
    shows: Shows,
    *,
    names: Collection[str] | None = None,
    default: str | None = None,
) -> type[C]:
    """A command with a typed flag for each setting, collected in its field `settings`.

    Settings left out are not in the mapping; the help shows the configuration's values.

    Args:
        command: a dataclass with a field `settings`.
        config: the recipe; its inner and outer loop decide which settings there are.
        shows: requested help; "help" is one screen with the common settings.
        names: settings to offer, where the configuration has them; None: all.
        default: text shown instead of the configuration's values.
    """
    from metarl.methods.settings import COMMON, described, shown

    brief, flags = shows == "help", {}
    for name, setting in described(config).items():
        if (names is not None and name not in names) or (brief and name not in COMMON):
            continue
        first = setting.text.split(". ")[0].rstrip(".")
        help_entry = arg(
            help=f"{first}." if brief else setting.text,
            help_behavior_hint=f"(default: {default or shown(setting.value)})",
            metavar="N ..." if isinstance(setting.value, tuple) else None,
        )
        flags[name] = FlagConversionOff[Annotated[setting.type, help_entry]]
    settings = TypedDict("Settings", flags, total=False)  # pyright: ignore
    fields = [("settings", Annotated[settings, arg(name="")])]
    made = make_dataclass(command.__name__, fields, bases=(command,), frozen=True, kw_only=True)
    recipe = f"\n\nDefaults: the recipe of {config.method} on {config.family}."
    made.__doc__ = inspect.cleandoc(str(command.__doc__)) + ("" if default else recipe)
    return made


def option_value(words: Sequence[str], option: str) -> str | None:
    """The value of an option on a command line: --option VALUE or --option=VALUE."""
    last = None
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option:
            last = value if equals else next(iter(words[i + 1 :]), None)
    return last
