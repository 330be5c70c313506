"""From arguments to a command: tyro over the commands' dataclasses, its errors in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import re
from collections.abc import Sequence
from typing import Annotated, Protocol

import tyro
from tyro.conf import subcommand

from metarl.cli.adapt import Adapt, Record
from metarl.cli.baseline import Baseline
from metarl.cli.benchmark import Benchmark
from metarl.cli.check import Check
from metarl.cli.diagnose import Diagnose
from metarl.cli.evaluate import Evaluate
from metarl.cli.export import Export
from metarl.cli.listing import Demo, Doctor, Families, Methods
from metarl.cli.report import Report
from metarl.cli.train import Resume, Train

DESCRIPTION = """Meta-reinforcement learning for robotics: policies that adapt to a new task.

Start with `metarl demo`, or train: `metarl train half-cheetah-direction`."""

COMMANDS = {
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
AnyCommand = (
    Annotated[Families, subcommand("families")]
    | Annotated[Methods, subcommand("methods")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Baseline, subcommand("baseline")]
    | Annotated[Diagnose, subcommand("diagnose")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Adapt, subcommand("adapt")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Record, subcommand("record")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Resume, subcommand("resume")]
    | Annotated[Demo, subcommand("demo")]
    | Annotated[Doctor, subcommand("doctor")]
    | Annotated[Benchmark, subcommand("benchmark")]
    | Annotated[Check, subcommand("check")]
)


class Command(Protocol):
    """What `metarl NAME ...` runs."""

    def run(self) -> int:
        """Do it; the exit code."""
        ...


class UsageError(ValueError):
    """Arguments that make no command."""


def parse(arguments: Sequence[str]) -> Command | None:
    """The command that the arguments ask for; None if they asked for help and got it.

    Raises:
        UsageError: in one line, with the nearest option or command.
    """
    if not arguments:
        raise UsageError(f"a command is missing: {', '.join(COMMANDS)} (see metarl --help)")
    name = arguments[0]
    if name not in COMMANDS and not name.startswith("-"):
        near = difflib.get_close_matches(name, COMMANDS, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(COMMANDS)}"
        raise UsageError(f"unknown command '{name}': {hint}")
    if name == "resume":
        refuse_fixed(arguments)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                AnyCommand,  # pyright: ignore[reportArgumentType]  # a union is a type to tyro
                prog="metarl",
                description=DESCRIPTION,
                args=list(arguments),
                config=(
                    tyro.conf.DisallowNone,
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.PositionalMetavarFromFieldName,
                ),
            )
    except SystemExit as end:
        if end.code in (None, 0):
            return None
        asked = f"metarl {name}" if name in COMMANDS else "metarl"
        told = unknown_option(complaint.getvalue(), name) or one_line(complaint.getvalue())
        raise UsageError(f"{told} (see {asked} --help)") from None


def refuse_fixed(arguments: Sequence[str]) -> None:
    """Refuse options of a run that stay as they were when it began.

    Raises:
        UsageError: saying what can be changed.
    """
    changeable = option_names(Resume) - {"--run"}  # which has no name here
    fixed = (option_names(Train) | option_names(Baseline)) - changeable
    for argument in arguments:
        option = argument.partition("=")[0]
        if option in fixed:
            raise UsageError(
                f"{option}: fixed when the run began; resume can change "
                f"{', '.join(sorted(changeable - {'--quiet', '--family'}))}. For other settings "
                "begin a new run, which --start can give this one's policy"
            )


def option_names(command: type) -> set[str]:
    """The options of a command, as they are typed."""
    named = {"settings": "set", "run_folder": "run"}
    return {f"--{named.get(f.name, f.name).replace('_', '-')}" for f in dataclasses.fields(command)}


def unknown_option(box: str, command: str) -> str:
    """What to say of an option that a command does not have; "": the box is about something else.

    tyro looks for similar options in all commands; named are only those of this one.
    """
    message = one_line(box)
    unknown = re.match(r"Unrecognized (?:or misplaced )?options: (\S+)", message)
    if command not in COMMANDS or not unknown:
        return ""
    option = unknown[1].rstrip(",").partition("=")[0]
    if not option.startswith("-"):
        return f"metarl {command}: nothing is expected at '{option}'"
    _, _, near = message.rpartition("; did you mean ")
    hint = f"; did you mean {near}" if near[:-1] in option_names(COMMANDS[command]) else ""
    return f"metarl {command} has no option {option}" + hint


def one_line(box: str) -> str:
    """What tyro says in a box of several lines, in one.

    A box has a title, a rule, the message, a rule and hints; the title is part of the upper edge
    where the terminal's encoding has characters for it.
    """
    sections: list[list[str]] = [[]]
    for line in (raw.strip(" │") for raw in box.splitlines()):
        if line.startswith("╭") or (line and set(line) <= set("─-")):
            sections.append([])
        elif line and not line.startswith("╰"):
            sections[-1].append(line)
    _, *sections = sections if len(sections) > 1 else [[], *sections]
    message = plain_words(" ".join(sections[0]))
    nearest = [s[1].split()[0] for s in sections[1:] if len(s) > 1 and s[0].startswith("Perhaps")]
    return message + (f"; did you mean {nearest[0]}?" if nearest else "")


def plain_words(message: str) -> str:
    """The commonest of tyro's messages in the form of ours: option, value, what is allowed."""
    message = message.partition(" Got errors:")[0]
    kinds = {"INT": "a whole number", "int": "a whole number", "FLOAT": "a number"}
    kinds["float"] = kinds["FLOAT"]
    if missing := re.match(r"Missing from .*?: (\S+) ", message):
        return f"{missing[1]} is missing"
    if wrong := re.match(r"invalid choice '(.*)' for argument '(.*)'\. .* \((.*)\)", message):
        value, option, choices = wrong.groups()
        allowed = sorted(set(re.findall(r"'(.*?)'", choices)) - {"None"})  # None: option left out
        return f"{option} = '{value}': allowed are {', '.join(allowed)}"
    for form in (
        r"Error parsing (\S+): .*?(INT|FLOAT) could be .* from \['(.*)'\]",
        r"Error parsing (\S+): .*?\b(int|float)\b.*: '(.*)'",
    ):
        if wrong := re.match(form, message):
            option, kind, value = wrong.groups()
            return f"{option} = {value}: must be {kinds[kind]}"
    return message
