"""From arguments to a command: tyro over the commands' dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import make_dataclass
from typing import Any, Protocol

import tyro

from metarl.cli.adapt import Adapt, Record
from metarl.cli.baseline import Baseline
from metarl.cli.benchmark import Benchmark
from metarl.cli.check import Check
from metarl.cli.diagnose import Diagnose
from metarl.cli.doctor import Doctor
from metarl.cli.evaluate import Evaluate
from metarl.cli.export import Export
from metarl.cli.listing import Demo, Families, Methods
from metarl.cli.options import Shows
from metarl.cli.report import Report
from metarl.cli.train import Resume, Train

DESCRIPTION = """Meta-reinforcement learning for robotics: policies that adapt to a new task.

Start with `metarl demo`, or train: `metarl train half-cheetah-direction`."""


class Command(Protocol):
    """A parsed command line."""

    def run(self) -> int:
        """Run it and return the exit code."""
        ...


COMMANDS: dict[str, type[Command]] = {
    "families": Families,
    "methods": Methods,
    "train": Train,
    "baseline": Baseline,
    "diagnose": Diagnose,
    "evaluate": Evaluate,
    "adapt": Adapt,
    "export": Export,
    "record": Record,
    "report": Report,
    "resume": Resume,
    "demo": Demo,
    "doctor": Doctor,
    "benchmark": Benchmark,
    "check": Check,
}
STYLE = (
    tyro.conf.DisallowNone,
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.PositionalMetavarFromFieldName,
)


def _summary(command: type[Command]) -> type:
    """A command without options, described by the first line of its docstring."""
    made = make_dataclass(command.__name__, ())
    made.__doc__ = str(command.__doc__).partition("\n")[0]
    return made


def parse(arguments: Sequence[str]) -> Command:
    """The command that the arguments ask for.

    Raises:
        SystemExit: 0 after help; 2 after an error, which tyro prints with the nearest option.
        InputError: for an unknown family or method, whose settings are the options.
    """
    name, *words = arguments or [""]
    if name not in COMMANDS:  # help, or no command
        about = {key: _summary(command) for key, command in COMMANDS.items()}
        return tyro.extras.subcommand_cli_from_dict(
            about, prog="metarl", description=DESCRIPTION, args=arguments[:1], config=STYLE
        )
    asked = [word for word in ("--help-all", "--help", "-h") if word in words]
    command: Any = COMMANDS[name]
    if command in (Train, Baseline, Resume):
        shows: Shows = "help-all" if "--help-all" in asked else "help" if asked else ""
        command = command.with_flags(words, shows)
        words = ["--help"] if asked else words
    return tyro.cli(command, prog=f"metarl {name}", args=words, config=STYLE)
