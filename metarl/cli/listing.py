"""`metarl families`, `metarl methods` and `metarl demo`."""

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
    from metarl_envs import Parameter, TaskFamily


@dataclass(frozen=True)
class Families:
    """List the task families and their parameters, or describe one."""

    family: Annotated[Positional[str | None], arg(metavar="[FAMILY]", help_behavior_hint="")] = None
    """Describe this one, or FILE.py:NAME: source, parameters, recipe."""

    def run(self) -> int:
        """Print the table or the description; 0."""
        from metarl_envs import FAMILIES, ON_DEMAND, load_family

        if self.family is None:
            print(table(list(FAMILIES.values())))
            print("\nmade when named:")
            for families in ON_DEMAND.values():
                print(textwrap.indent(textwrap.fill(families.names, 96), "  "))
            print("\ndetails of one: metarl families FAMILY")
        else:
            print(description(load_family(self.family)))
        return 0


@dataclass(frozen=True)
class Methods:
    """List the methods and their papers, or describe one."""

    method: Annotated[Positional[str | None], arg(metavar="[METHOD]", help_behavior_hint="")] = None
    """Describe this method or baseline."""

    def run(self) -> int:
        """Print the tables or the description; 0."""
        from metarl.methods.baselines import BASELINES
        from metarl.methods.meta import METHODS

        if self.method is None:
            for header, methods in (
                (("method", "adapts", "outer update", "paper"), METHODS),
                (("baseline", "adapts", "trained by", "paper"), BASELINES),
            ):
                rows = [(name, m.adapts, m.learns, m.paper) for name, m in methods.items()]
                print(f"{aligned([header, *rows])}\n")
            for name, method in METHODS.items():
                if method.learns_nothing_on:
                    print(f"{name}: {failures(method)}")
            print("\ntrain a baseline: metarl baseline NAME FAMILY")
            print("details of one: metarl methods METHOD")
        else:
            print(method_description(self.method))
        return 0


@dataclass(frozen=True)
class Demo:
    """Watch bundled policies adapt without training, within the episode and between episodes.

    About a minute.
    """

    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/bundled-demo")
    """Folder for the videos, the figures and the adapted policy."""

    def run(self) -> int:
        """Adapt and print; 0."""
        from metarl.cli.demo import main

        main(self.out)
        return 0


def table(families: Sequence[TaskFamily]) -> str:
    """One row per task parameter."""
    rows = [("family", "parameter", "unit", "train", "extrapolation")]
    for family in families:
        first = family.name
        for parameter in family.parameters:
            outside = parameter.extrapolation.describe() if parameter.extrapolation else "-"
            train = parameter.train.describe()
            rows.append((first, sized_name(parameter), parameter.unit, train, outside))
            first = ""
    return aligned(rows)


def sized_name(parameter: Parameter) -> str:
    """A parameter's name, of a vector with its length: goal[2]."""
    return parameter.name + (f"[{parameter.shape[0]}]" if parameter.shape else "")


def method_description(name: str) -> str:
    """Inner loop, outer update and paper of a method or baseline, and the commands for it.

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
    learns = "trained by" if name in BASELINES else "outer update"
    lines = [
        f"{name}: {method.title} ({method.paper})",
        f"  adapts: {method.adapts}",
        f"  {learns}: {method.learns}",
        *([f"  note: {failures(method)}"] if method.learns_nothing_on else []),
        "",
        f"train:    metarl {command}",
        f"settings: metarl {command} --help-all",
    ]
    return "\n".join(lines)


def failures(method: Method) -> str:
    """The families on which a method did not learn."""
    families = ", ".join(method.learns_nothing_on)
    return f"learned nothing with any setting tried on {families}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def description(family: TaskFamily) -> str:
    """Spaces, source, parameters and first commands of a family."""
    from metarl.cli.tasks import example_task

    actions = len(family.action_bounds()[0])
    parameters = [
        textwrap.indent(
            f"{sized_name(p)}, {p.unit}: {p.description}"
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
