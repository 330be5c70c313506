"""`metarl families`, `metarl demo` and `metarl doctor`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from metarl.process import typed

if TYPE_CHECKING:
    from metarl.methods.meta import Method
    from metarl_envs import TaskFamily


@dataclass(frozen=True)
class Families:
    """List the task families and what varies, or describe one."""

    family: Annotated[Positional[str | None], arg(metavar="[FAMILY]", help_behavior_hint="")] = None
    """Describe this one, or FILE.py:NAME: its source, its parameters, its recipe."""

    def run(self) -> int:
        """Print the table; 0."""
        from metarl_envs import FAMILIES, load_family

        if self.family is None:
            print(table(list(FAMILIES.values())))
            print("\nmore about one of them: metarl families FAMILY")
        else:
            print(description(load_family(self.family)))
        return 0


@dataclass(frozen=True)
class Methods:
    """List the methods and who proposed them, or describe one."""

    method: Annotated[Positional[str | None], arg(metavar="[METHOD]", help_behavior_hint="")] = None
    """Describe this method or baseline."""

    def run(self) -> int:
        """Print the table; 0."""
        from metarl.methods.baselines import BASELINES
        from metarl.methods.meta import METHODS

        if self.method is None:
            for header, methods in (
                (("method", "adapts", "meta-learns by", "paper"), METHODS),
                (("baseline", "adapts", "learns by", "paper"), BASELINES),
            ):
                rows = [(name, m.adapts, m.learns, m.paper) for name, m in methods.items()]
                print(f"{aligned([header, *rows])}\n")
            for name, method in METHODS.items():
                if method.learns_nothing_on:
                    print(f"{name} {nothing_on(method)}\n")
            print("train a baseline: metarl baseline NAME FAMILY")
            print("more about one of them: metarl methods METHOD")
        else:
            print(method_description(self.method))
        return 0


@dataclass(frozen=True)
class Demo:
    """See a bundled policy adapt, in under a minute; no training."""

    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/bundled-demo")
    """Folder for the video, the figure and the adapted policy."""

    def run(self) -> int:
        """Run it; 0."""
        from metarl.cli.demo import main

        main(self.out)
        return 0


@dataclass(frozen=True)
class Doctor:
    """Check this machine, and say how to mend what is missing."""

    def run(self) -> int:
        """Print the findings; 0 if metarl can work here, else 1."""
        from metarl.cli.doctor import main

        return main()


def table(families: Sequence[TaskFamily]) -> str:
    """One row per task parameter."""
    rows = [("family", "parameter", "unit", "train", "extrapolation")]
    for family in families:
        for i, parameter in enumerate(family.parameters):
            beyond = parameter.extrapolation
            rows.append(
                (
                    family.name if i == 0 else "",
                    parameter.name + (f"[{parameter.shape[0]}]" if parameter.shape else ""),
                    parameter.unit,
                    parameter.train.describe(),
                    beyond.describe() if beyond else "-",
                )
            )
    return aligned(rows)


def method_description(name: str) -> str:
    """What a method or a baseline adapts and learns by, its source, and how its settings are shown.

    Raises:
        InputError: for an unknown name, with the nearest.
    """
    from metarl.methods.baselines import BASELINES
    from metarl.methods.meta import METHODS
    from metarl_envs import unknown_name

    methods = {**METHODS, **BASELINES}
    if name not in methods:
        raise unknown_name("method", name, methods)
    method = methods[name]
    command = f"baseline {name} FAMILY" if name in BASELINES else f"train FAMILY --method {name}"
    learns = "learns by" if name in BASELINES else "meta-learns by"
    lines = [
        f"{name}: {method.title} ({method.paper})",
        f"  adapts: {method.adapts}",
        f"  {learns}: {method.learns}",
        *([f"  note: {nothing_on(method)}"] if method.learns_nothing_on else []),
        "",
        f"train:    metarl {command}",
        f"settings: metarl {command} --help-all",
    ]
    return "\n".join(lines)


def nothing_on(method: Method) -> str:
    """Where a method should not be tried, in words."""
    return f"learned nothing, whatever was tried, on: {', '.join(method.learns_nothing_on)}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def description(family: TaskFamily) -> str:
    """Everything that a person wants to know before training on a family."""
    from metarl.cli.tasks import example_task

    actions = len(family.action_bounds()[0])
    parameters = [
        textwrap.indent(
            f"{p.name}{f'[{p.shape[0]}]' if p.shape else ''}, {p.unit}: {p.description}"
            f"{', observed by the policy' if p.observed else ''}\n"
            f"    {p.describe_range()}",
            "  ",
        )
        for p in family.parameters
    ]
    return "\n".join(
        [
            f"{family.name}: {family.robot.name}, {family.observation_size} observations, "
            f"{actions} actions, {family.horizon} steps of {family.dt_s:g} s",
            "",
            *([textwrap.fill(family.source, 88), ""] if family.source else []),
            "task parameters:",
            *parameters,
            "",
            f"train:  {typed('metarl', 'train', family.reference)}",
            f"recipe: {typed('metarl', 'train', family.reference, '--help')}",
            f"a task: --task {typed(example_task(family))}",
        ]
    )
